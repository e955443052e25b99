// Keeps a number of configurations pending while a strategy searches: some are being compiled while others
// are measured, in whatever order they get ready; the strategy is told in the order it asked.
#pragma once

#include <deque>
#include <limits>
#include <optional>
#include <unordered_map>
#include <vector>

#include "tuner/search/strategy.h"

namespace fcsa::tuner {

// After every tell the strategy may cancel what it no longer wants, but not what was asked longest ago (the
// first half), and is asked for as many as are missing. So what it is asked and told depends on the
// times measured alone, not on what was ready first.
class PendingQueue {
 public:
  struct Limits {
    std::size_t pending = 1;                                         // at a time, at least 1
    std::size_t measured = std::numeric_limits<std::size_t>::max();  // in all
  };
  // The strategy must outlive this.
  PendingQueue(Strategy& strategy, Limits limits);

  struct Change {
    std::vector<std::size_t> asked, cancelled;  // in order; a position can be in both, cancelled first
  };
  Change fill();
  // In the order asked. Empty after fill(): the strategy has finished.
  std::vector<std::size_t> unmeasured() const;
  // Precondition: one of unmeasured().
  Change measured(std::size_t position, std::optional<double> time_ms);
  std::size_t cancelled() const { return cancelled_; }  // so far

 private:
  void cancel(Change& change);
  void ask(Change& change);

  Strategy& strategy_;
  Limits limits_;
  std::size_t told_ = 0, cancelled_ = 0;
  std::deque<std::size_t> asked_;                                    // not told yet
  std::unordered_map<std::size_t, std::optional<double>> measured_;  // of those
};

}  // namespace fcsa::tuner
