#include "library/kernel.h"

#include <fmt/format.h>

#include <stdexcept>
#include <utility>

#include "library/failure.h"

namespace fcsa::library {
namespace {

std::optional<kernels::cpu::Builtin> builtin_of(kernels::DeviceKind kind, const kernels::Problem& problem) {
  if (kind != kernels::DeviceKind::cpu) return std::nullopt;
  try {
    return kernels::cpu::builtin_kernels(problem.op, kernels::traits_of(problem));
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
}

}  // namespace

Kernel::Kernel(std::shared_ptr<runner::Launcher> launcher, std::shared_ptr<Binaries> binaries,
               const kernels::Problem& problem, Selection selection)
    : launcher_(std::move(launcher)),
      binaries_(std::move(binaries)),
      problem_(problem),
      selection_(std::move(selection)),
      fallback_(builtin_of(launcher_->info().target.kind, problem)) {}

const Kernel::Loaded& Kernel::load() {
  const std::lock_guard lock(mutex_);
  if (!owned_) {
    try {
      owned_ = compiled();
    } catch (const std::exception& error) {
      if (!fallback_) throw;
      owned_ = built_in(error.what());
      binaries_->done_without(error.what());
    }
    loaded_.store(owned_.get(), std::memory_order_release);
  }
  return *owned_;
}

std::unique_ptr<Kernel::Loaded> Kernel::compiled() const {
  const auto source = selection_.family->source(problem_, selection_.configuration);
  auto [binary, compiler] = binaries_->compile(source, launcher_->info().target);
  auto module = launcher_->load(binary);
  return std::make_unique<Loaded>(
      Loaded{std::move(module), false, fmt::format("compiled by {}: {}", compiler, binary.path)});
}

std::unique_ptr<Kernel::Loaded> Kernel::built_in(const std::string& why) const {
  auto module = launcher_->load({"builtin:" + kernels::to_text(problem_), {}});
  return std::make_unique<Loaded>(
      Loaded{std::move(module), true,
             fmt::format("built-in baseline for {} in place of that, since it can't be compiled here: {}",
                         fallback_->instruction_set, why)});
}

}  // namespace fcsa::library
