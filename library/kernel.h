// A configuration for problems of one kind on one device: compiled and loaded once, shared by plans.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "kernels/cpu/builtin.h"
#include "library/binaries.h"
#include "library/selection.h"
#include "runner/device/launcher.h"

namespace fcsa::library {

class Kernel {
 public:
  Kernel(std::shared_ptr<runner::Launcher> launcher, std::shared_ptr<Binaries> binaries,
         const kernels::Problem& problem, Selection selection);

  // What is loaded when there is no compiler; empty when nothing can be.
  const std::optional<kernels::cpu::Builtin>& fallback() const { return fallback_; }

  struct Loaded {
    std::unique_ptr<runner::Module> module;
    bool is_fallback = false;
    std::string origin;  // for fcsa_describe
  };
  // Null until load() has returned. Never changes then.
  const Loaded* loaded() const { return loaded_.load(std::memory_order_acquire); }
  // Thread-safe; does nothing when that is done already. Throws Failure or DeviceError.
  const Loaded& load();

 private:
  std::unique_ptr<Loaded> compiled() const;
  std::unique_ptr<Loaded> built_in(const std::string& why) const;

  const std::shared_ptr<runner::Launcher> launcher_;
  const std::shared_ptr<Binaries> binaries_;
  const kernels::Problem problem_;
  const Selection selection_;
  const std::optional<kernels::cpu::Builtin> fallback_;
  std::mutex mutex_;
  std::unique_ptr<const Loaded> owned_;
  std::atomic<const Loaded*> loaded_{nullptr};
};

}  // namespace fcsa::library
