// What several runs of a strategy on one recorded space have in common.
#pragma once

#include <vector>

#include "tuner/search/replay.h"

namespace fcsa::tuner {

struct ReplaySummary {
  struct Target {
    double fraction = 0;  // above the optimum
    // Evaluations, median and quartiles over the runs; a run that never got there counts as the most
    // evaluations there were.
    double median = 0, first_quartile = 0, third_quartile = 0;
    std::size_t missed = 0;
  };
  struct Point {
    double at = 0;    // evaluations, or simulated seconds
    double best = 0;  // the best so far over the optimum, median over the runs; infinite before there is one
  };
  std::vector<Target> targets;        // 10, 5 and 1%
  std::vector<Point> by_evaluations;  // at 10, 20, 50, 100, 200, 500, ... up to the most evaluations
  std::vector<Point> by_time;         // ten, evenly spaced over the median run
  double device_waited = 0;           // for a compiler: share of the simulated time
  double cancelled = 0;               // share of what was asked
};

// Precondition: at least one run.
ReplaySummary summarise(const RecordedSpace& recorded, const std::vector<ReplayRun>& runs,
                        const ReplayOptions& options);

}  // namespace fcsa::tuner
