// Configurations close to one, and what their times may be by those of others close to them.
#pragma once

#include <vector>

#include "tuner/search/history.h"

namespace fcsa::tuner {

// 0: one step of its list in one parameter; 1: any step in one; 2: one step in each of two.
inline constexpr std::size_t kNeighbourhoods = 3;
// Each once, none of them `position`.
std::vector<std::size_t> neighbours(const Space& space, std::size_t position, std::size_t neighbourhood);
std::vector<std::size_t> fresh_neighbours(const History& history, std::size_t position,
                                          std::size_t neighbourhood);

// The mean of the last `most` times told, weighted by closeness; failures count as the slowest success.
class Guess {
 public:
  Guess(const History& history, std::size_t most);
  double log_time(std::size_t position) const;

 private:
  struct Known {
    std::vector<int> digits;
    double log_time;
  };
  double distance(const std::vector<int>& a, const std::vector<int>& b) const;

  const Space& space_;
  std::vector<Known> known_;
};

}  // namespace fcsa::tuner
