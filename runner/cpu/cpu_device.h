// The CPU as a device: memory of this process, kernels in shared objects, launches on all usable cores.
#pragma once

#include <memory>
#include <string>

#include "runner/device/device.h"

namespace fcsa::runner::cpu {

kernels::DeviceInfo describe_cpu(std::string compiler_version);

// Modules are shared objects whose entry points are kernels::cpu::TaskFunction, extern "C", or Binary::path
// is "builtin:" and the text of a problem: then the kernels for its traits that are part of this program.
// Buffers are 256-byte aligned and resident from the start, so that a request beyond the available memory
// throws OutOfMemory instead of bringing the kernel's OOM killer later. launch() returns when the kernels
// have finished.
std::unique_ptr<Device> open_cpu_device(std::string compiler_version);

}  // namespace fcsa::runner::cpu
