// The backward pass of the wgmma family: search space, constraints, baseline.
#pragma once

#include <string>
#include <vector>

#include "kernels/family.h"
#include "kernels/wgmma/backward_config.h"

namespace fcsa::kernels::wgmma {

BackwardConfig backward_config_of(const Configuration& configuration);
std::vector<Parameter> backward_parameters();
std::vector<Constraint> backward_constraints();
// Empty when the backward pass serves the problem, on a device that has wgmma.
std::string backward_unsupported(const Problem& problem);
Configuration backward_baseline(const Problem& problem, const Target& target);

}  // namespace fcsa::kernels::wgmma
