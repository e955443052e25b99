// A cubin loaded into a context, and how its kernels are launched.
#pragma once

#include <memory>
#include <vector>

#include "kernels/common/key_lengths.h"
#include "runner/cuda/context.h"
#include "runner/device/device.h"

namespace fcsa::runner::cuda {

// Thread-safe. Its kernels may use all the shared memory that the device lets a block have.
class CudaModule final : public Module {
 public:
  // Throws DeviceError when the driver refuses the binary.
  CudaModule(std::shared_ptr<const Context> context, const Binary& binary);
  ~CudaModule() override;

  // Enqueues every step of the plan in order; allocates and waits for nothing. Throws DeviceError.
  // Precondition: the module's context is current.
  void launch(const kernels::LaunchPlan& plan, const kernels::BackwardArgs& args, CUstream stream) const;
  // The same of a module whose only kernel is kernels/common/key_lengths.cuh.
  void write_mask(const kernels::KeyLengths& lengths, CUstream stream) const;

 private:
  void find_functions(const Binary& binary);
  void write_nothing(const kernels::LaunchPlan& plan, const kernels::BackwardArgs& args,
                     CUstream stream) const;
  void launch_step(const kernels::Launch& step, const kernels::BackwardArgs& args,
                   const kernels::TensorMaps& maps, CUstream stream) const;

  std::shared_ptr<const Context> context_;
  CUmodule module_ = nullptr;
  std::vector<CUfunction> functions_;  // in the order that Launch::kernel counts
};

}  // namespace fcsa::runner::cuda
