#include "library/device_kernels.h"

#include <utility>

namespace fcsa::library {

DeviceKernels::DeviceKernels(std::unique_ptr<runner::Launcher> launcher, std::vector<TunedTable> tables,
                             std::shared_ptr<Binaries> binaries)
    : launcher_(std::move(launcher)),
      tables_(std::move(tables)),
      binaries_(std::move(binaries)),
      key_masks_(launcher_, binaries_) {}

Selection DeviceKernels::select(const kernels::Problem& problem) const {
  return library::select(problem, info(), tables_);
}

std::shared_ptr<Kernel> DeviceKernels::kernel(const kernels::Problem& problem, const Selection& selection) {
  const std::string key = kernels::traits_literal(kernels::traits_of(problem)) +
                          kernels::to_text(*selection.family, problem.op, selection.configuration);
  const std::lock_guard lock(mutex_);
  auto& kernel = kernels_[key];
  if (!kernel) kernel = std::make_shared<Kernel>(launcher_, binaries_, problem, selection);
  return kernel;
}

}  // namespace fcsa::library
