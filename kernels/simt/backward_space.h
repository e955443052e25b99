// Search space, constraints and baseline of the backward pass of the simt family.
#pragma once

#include <vector>

#include "kernels/config_fields.h"
#include "kernels/family.h"
#include "kernels/simt/backward_config.h"

namespace fcsa::kernels::simt {

const std::vector<ConfigField<BackwardConfig>>& backward_fields();

std::vector<Constraint> backward_constraints();

// Valid for every problem and every target from sm_75 on.
BackwardConfig backward_baseline(const Problem& problem, const Target& target);

}  // namespace fcsa::kernels::simt
