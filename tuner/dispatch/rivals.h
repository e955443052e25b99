// Everything that was measured in a class, chosen or not, with a rule of its own.
#pragma once

#include <string>
#include <vector>

#include "tuner/dispatch/rule.h"
#include "tuner/dispatch/shape_times.h"

namespace fcsa::tuner {

struct Rivals {
  std::vector<std::string> configurations;
  DispatchRule rule;  // over them and the shapes

  // Predicted time of each on a shape of the class.
  std::vector<double> predicted_ms(const kernels::Problem& problem, int multiprocessors) const;
};

// Precondition: shapes of one class, at least one.
Rivals rivals_of(const std::vector<ShapeTimes>& shapes, int multiprocessors);

}  // namespace fcsa::tuner
