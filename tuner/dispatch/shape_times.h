// From trials to times: what each configuration takes on each shape, as far as it can be believed.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tuner/trials/trial_history.h"

namespace fcsa::tuner {

using Times = std::map<std::string, double>;  // configuration -> ms

struct ShapeTimes {
  kernels::Problem problem;
  Times times;
  double best_ms = 0;
};

// Of the trials of one class in order of time: its shapes, sorted by nq, nk and batch * heads. Times are
// medians of the latest race of a shape. Configurations of earlier races are set in relation to it through
// those that took part in both, since only ratios inside a race are trusted; what took part in none has its
// time of the search, in the same way (a race is long, and a GPU may run slower at its power limit), though
// never less than the fastest of the race.
std::vector<ShapeTimes> times_of_shapes(const TrialList& trials);

}  // namespace fcsa::tuner
