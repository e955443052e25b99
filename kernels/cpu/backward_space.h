// What is tuned of the backward pass of the cpu family.
#pragma once

#include <vector>

#include "kernels/cpu/backward_config.h"
#include "kernels/family.h"

namespace fcsa::kernels::cpu {

std::vector<Parameter> backward_parameters();
std::vector<Constraint> backward_constraints();
// `kernel`: "cpu.backward". The tiles of baseline.h, and as few parts of the keys as keep the cores busy.
Configuration backward_baseline(std::string kernel, const Problem& problem, const Target& target);
BackwardConfig backward_config_of(const Configuration& configuration);
// With key_splits the walk that computes dK and dV adds to dQ on its way.
inline GradientKernels gradient_kernels(const BackwardConfig& config) {
  return config.key_splits > 0 ? GradientKernels{} : GradientKernels{.keys = 1, .queries = 2};
}

}  // namespace fcsa::kernels::cpu
