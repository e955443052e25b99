// Runs a strategy on a recorded space: what it would have found, after how many evaluations and how long.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "tuner/search/recorded_space.h"

namespace fcsa::tuner {

struct ReplayOptions {
  std::string strategy = "auto";
  std::size_t pending = 1;         // configurations asked for and not told yet
  std::size_t compile_jobs = 1;    // processes, in the simulated time
  std::size_t evaluations = 1000;  // the run ends after so many
};

struct ReplayRun {
  struct Step {
    double best_ms = std::numeric_limits<double>::infinity();  // so far; infinite until one succeeds
    double at_s = 0;                                           // simulated time
  };
  std::vector<Step> steps;     // one for each evaluation, in the order told
  double device_waited_s = 0;  // of the simulated time, for a compiler
  std::size_t cancelled = 0;
  std::string finished;  // why the strategy ended before the last evaluation; empty when it didn't

  // Evaluations until the best is within `fraction` of the optimum; nullopt when it never is.
  std::optional<std::size_t> evaluations_to(double fraction, double optimum_ms) const;
};

// Compilations take the time they took when they were recorded, in the order asked, as many at a time as
// there are processes; the device measures what is compiled, one at a time, what was asked first first.
// Throws std::invalid_argument for an unknown strategy; when evaluations, pending or processes are none; when
// more are to be pending than the space has.
ReplayRun replay(const RecordedSpace& recorded, const ReplayOptions& options, std::uint64_t seed);

}  // namespace fcsa::tuner
