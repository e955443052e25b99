// Key masks that are written from lengths before kernels read them.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "library/binaries.h"
#include "runner/device/launcher.h"

namespace fcsa::library {

// Of one device. Thread-safe.
class KeyMasks {
 public:
  KeyMasks(std::shared_ptr<runner::Launcher> launcher, std::shared_ptr<Binaries> binaries);

  // Whether load() has returned, or has nothing to do.
  bool ready() const { return ready_.load(std::memory_order_acquire); }
  // Compiles and loads what writes them. Throws Failure or DeviceError.
  void load();
  // On the caller's stream. Precondition: ready().
  void write(const kernels::KeyLengths& lengths, void* stream) const;

 private:
  const std::shared_ptr<runner::Launcher> launcher_;
  const std::shared_ptr<Binaries> binaries_;
  std::mutex mutex_;
  std::unique_ptr<runner::Module> module_;  // null on a CPU
  std::atomic<bool> ready_;
};

}  // namespace fcsa::library
