// What a dispatch table loses on shapes that were never tuned: which to measure, against what, and the price.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tuner/dispatch/dispatch.h"

namespace fcsa::tuner {

struct UntunedShape {
  kernels::Problem problem;
  Choice choice;
  // The choice first, then the class's other configurations, then the fastest two on each of the three
  // nearest tuned shapes.
  std::vector<std::string> contenders;
};

struct UntunedShapes {
  std::set<std::string> classes = {};  // class texts; empty: all of the table
  std::size_t count = 0;
  std::uint64_t seed = 1;
};

// random_shape() of each of the classes in turn, none that was tuned. The trials are those of the table.
// Throws std::invalid_argument when the table has none of the classes.
std::vector<UntunedShape> draw_untuned_shapes(const std::vector<StoredTrial>& trials,
                                              const DispatchTable& table, const kernels::DeviceInfo& device,
                                              const UntunedShapes& wanted);

// Those of `problems` that were not tuned, in their order, at most `count`. Where a class was not
// tuned the choice meets the baselines of the families that serve it.
std::vector<UntunedShape> untuned_shapes_of(const std::vector<StoredTrial>& trials,
                                            const DispatchTable& table, const kernels::DeviceInfo& device,
                                            const std::vector<kernels::Problem>& problems, std::size_t count);

// Of one race.
struct Regret {
  double chosen_ms = 0, best_ms = 0;
  std::string best;                        // configuration
  double regret = 0;                       // chosen_ms / best_ms - 1
  double regret_low = 0, regret_high = 0;  // of the 95% intervals; 0 where the choice is the best
};

// Nothing when the choice failed.
std::optional<Regret> regret_of(const std::string& choice, const std::vector<Trial>& race);

struct RegretSummary {
  double median = 0, mean = 0, worst = 0;
};
// Precondition: not empty.
RegretSummary summary_of(std::vector<double> regrets);

}  // namespace fcsa::tuner
