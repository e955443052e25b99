// What a run expects to lose on shapes that it hasn't searched yet.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "tuner/dispatch/dispatch.h"

namespace fcsa::tuner {

// By a table of the shapes that were tuned, that is, raced: with baselines alone nothing is known of the
// best.
class ExpectedLosses {
 public:
  // `current`: whether a trial's source is what would be measured now; other races don't count.
  ExpectedLosses(std::vector<StoredTrial> trials, const kernels::DeviceInfo& device, double epsilon,
                 const std::function<bool(const Trial&)>& current);

  // Against the best that a search would find: 0.1 is 10%. Infinite where nothing like it was tuned.
  double of(const kernels::Problem& problem) const;

 private:
  kernels::DeviceInfo device_;
  std::optional<DispatchTable> table_;
};

}  // namespace fcsa::tuner
