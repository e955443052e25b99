// Kernels for the CPU: a shared object, or those that are part of the program.
#pragma once

#include <optional>
#include <vector>

#include "kernels/cpu/parallel.h"
#include "runner/device/device.h"
#include "runner/process/dynamic_library.h"

namespace fcsa::runner::cpu {

class CpuModule final : public Module {
 public:
  // Binary::path is a shared object whose entry points are kernels::cpu::TaskFunction, extern "C"; or
  // "builtin:" and the text of a problem: the kernels for its traits that are part of this program. Throws
  // DeviceError.
  explicit CpuModule(const Binary& binary);

  // Runs every step of the plan in order.
  void launch(kernels::cpu::ThreadPool& pool, const kernels::LaunchPlan& plan,
              const kernels::BackwardArgs& args) const;
  // The same, but every task finds NaN in its scratch and behind it. Throws DeviceError when one wrote behind
  // it.
  void launch_on_poison(kernels::cpu::ThreadPool& pool, const kernels::LaunchPlan& plan,
                        const kernels::BackwardArgs& args) const;

 private:
  void require_kernels_of(const kernels::LaunchPlan& plan) const;
  void load_library(const Binary& binary);

  std::optional<DynamicLibrary> library_;
  std::vector<kernels::cpu::TaskFunction> functions_;  // in the order that Launch::kernel counts
};

}  // namespace fcsa::runner::cpu
