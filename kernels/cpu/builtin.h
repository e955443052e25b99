// Kernels of the cpu family that are part of the program: for where there is no compiler, and before one has
// been used. The instruction set is chosen at run time.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kernels/cpu/backward_config.h"
#include "kernels/cpu/backward_space.h"
#include "kernels/cpu/config.h"
#include "kernels/cpu/parallel.h"
#include "kernels/problem.h"

namespace fcsa::kernels::cpu {

struct Builtin {
  std::string instruction_set;          // the one it was compiled for
  std::vector<TaskFunction> functions;  // in the order that Launch::kernel counts
  Traits traits;  // what the functions are: more general than asked for in mask, head scale and softmax
  std::variant<ForwardConfig, BackwardConfig> config;

  LaunchPlan plan(const BackwardArgs& args) const {
    return std::visit([&](const auto& c) { return c.plan(traits, args); }, config);
  }
  // Precondition: of a backward pass.
  GradientKernels gradient_kernels() const { return cpu::gradient_kernels(std::get<BackwardConfig>(config)); }
};

// Serves every dtype and the head dimensions 16, 32, 64, 80, 96 and 128, but no bias and no groups: kernels
// for those are compiled when they are needed. The contract is that of the kernels that are compiled at run
// time; `instruction_set` must be one that this processor has. Throws std::invalid_argument for what it
// doesn't serve.
Builtin builtin_kernels(Op op, const Traits& traits, std::string_view instruction_set);
Builtin builtin_kernels(Op op, const Traits& traits);  // for the best instruction set

}  // namespace fcsa::kernels::cpu
