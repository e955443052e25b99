// NVIDIA GPUs through the driver API.
#pragma once

#include <memory>
#include <string>

#include "runner/cuda/driver.h"
#include "runner/cuda/nvml.h"
#include "runner/device/device.h"

namespace fcsa::runner::cuda {

// What the kernels of a compute capability are compiled for: 90 -> "sm_90a", 89 -> "sm_89". The "a" targets,
// where there are any, have the tensor-core instructions of exactly that GPU.
std::string arch_name(int compute_capability);

// Describes a GPU without creating a context on it. `nvml` may be null. DeviceInfo::compiler is left empty.
kernels::DeviceInfo describe(const Driver& driver, const Nvml* nvml, int ordinal);

// Opens GPU `ordinal` in its primary context with a stream of its own. The thread that launches may be any,
// one at a time. Launches are kernels with kernels::BackwardArgs as their only parameter. Peak memory counts
// what allocate() gives out, which is all that fcsa kernels use: it leaves out the context, module code and
// local memory. Throws std::runtime_error when there is no such device, DeviceError when it doesn't work.
std::unique_ptr<Device> open_cuda_device(int ordinal, std::string compiler_version);

}  // namespace fcsa::runner::cuda
