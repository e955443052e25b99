// What a tuned header serves next to what was tuned.
#pragma once

#include "tuner/emit/plan.h"

namespace fcsa::tuner {

// Adds classes with one configuration each.
void add_neighbours(EmitPlan& plan, const kernels::Target& target);

}  // namespace fcsa::tuner
