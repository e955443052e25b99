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

}  // namespace fcsa::kernels::cpu
