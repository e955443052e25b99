// What to try next. A strategy never sees the device: it is asked for configurations and told their times.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tuner/search/space.h"

namespace fcsa::tuner {

class Strategy {
 public:
  virtual ~Strategy() = default;
  // Up to `count` distinct configurations that were not told yet. The first is what to measure next; the rest
  // are what will follow if nothing improves, for compiling ahead: after a tell they may change. Asking again
  // without a tell gives the same. Empty when nothing is left to try, or more search isn't worth its time.
  virtual std::vector<kernels::Configuration> ask(std::size_t count) = 0;
  // Time in ms, or nullopt when the configuration failed. In any order, and also of configurations it never
  // asked for (the baseline, trials of an earlier session); those outside the space are ignored.
  virtual void tell(const kernels::Configuration& configuration, std::optional<double> time_ms) = 0;
};

// Throws std::invalid_argument listing the names there are.
void check_strategy_name(std::string_view name);

// "exhaustive", "random", "local", or "auto" (local, which ends up trying everything in a small space).
// Throws std::invalid_argument listing the names. Equal seeds give equal sequences for equal answers,
// whatever `count` is. The space must outlive the strategy.
std::unique_ptr<Strategy> make_strategy(std::string_view name, const Space& space, std::uint64_t seed);

}  // namespace fcsa::tuner
