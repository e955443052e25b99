// One device (a CPU, a CUDA context): how kernels are chosen for it, and those that it has got.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "library/kernel.h"
#include "library/key_masks.h"
#include "library/selection.h"

namespace fcsa::library {

// Thread-safe.
class DeviceKernels {
 public:
  DeviceKernels(std::unique_ptr<runner::Launcher> launcher, std::vector<TunedTable> tables,
                std::shared_ptr<Binaries> binaries);

  runner::Launcher& launcher() const { return *launcher_; }
  const kernels::DeviceInfo& info() const { return launcher_->info(); }
  KeyMasks& key_masks() { return key_masks_; }
  // Throws Failure when no kernel serves the problem.
  Selection select(const kernels::Problem& problem) const;
  // The same object for problems of the same kind.
  std::shared_ptr<Kernel> kernel(const kernels::Problem& problem, const Selection& selection);

 private:
  const std::shared_ptr<runner::Launcher> launcher_;
  const std::vector<TunedTable> tables_;
  const std::shared_ptr<Binaries> binaries_;
  KeyMasks key_masks_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Kernel>> kernels_;
};

}  // namespace fcsa::library
