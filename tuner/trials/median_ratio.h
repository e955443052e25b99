// Ratios of medians with intervals.
#pragma once

#include <span>

#include "tuner/trials/trial.h"

namespace fcsa::tuner {

// With a 95% interval: infinite where a median has no interval.
struct Ratio {
  double value = 1, low = 1, high = 1;
};

// Product of the medians above over the product of those below. The intervals of the medians, in logarithms,
// are combined as independent errors: each median must be of samples of its own. Intervals of fewer than six
// samples, which cover less than 95%, are widened to that. Precondition: medians above 0.
Ratio ratio_of_medians(std::span<const Measurement> above, std::span<const Measurement> below);

}  // namespace fcsa::tuner
