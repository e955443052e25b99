// The fewest configurations that are good enough on every shape: minimum set cover.
#pragma once

#include <cstddef>
#include <vector>

namespace fcsa::tuner {

// regrets[i][j]: how much slower than the best candidate i is on shape j (0: the best), infinity when
// unknown. Returns, ascending, candidates such that every shape has one with regret at most epsilon. The
// fewest when they can be found by trying all combinations of that size (then also with the least total
// regret); else greedily. Precondition: every shape has such a candidate.
std::vector<std::size_t> smallest_cover(const std::vector<std::vector<double>>& regrets, double epsilon);

}  // namespace fcsa::tuner
