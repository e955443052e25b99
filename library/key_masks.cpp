#include "library/key_masks.h"

#include <utility>

namespace fcsa::library {

KeyMasks::KeyMasks(std::shared_ptr<runner::Launcher> launcher, std::shared_ptr<Binaries> binaries)
    : launcher_(std::move(launcher)), binaries_(std::move(binaries)), ready_(!launcher_->mask_source()) {}

void KeyMasks::load() {
  const std::lock_guard lock(mutex_);
  if (ready()) return;
  module_ = launcher_->load(binaries_->compile(*launcher_->mask_source(), launcher_->info().target).binary);
  ready_.store(true, std::memory_order_release);
}

void KeyMasks::write(const kernels::KeyLengths& lengths, void* stream) const {
  launcher_->write_mask(module_.get(), lengths, stream);
}

}  // namespace fcsa::library
