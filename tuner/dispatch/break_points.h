// Where the winner changes between tuned shapes, and which shapes to measure to know it better.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "tuner/dispatch/dispatch.h"

namespace fcsa::tuner {

// Between two tuned shapes: the choice of one costs more than epsilon on the other, or wasn't measured there.
struct BreakPoint {
  std::size_t from = 0, to = 0;  // entries of the class
  kernels::Problem between;      // halfway on a logarithmic scale, none of the entries
};

// Among neighbours: no other entry lies in the sphere between them (in log2 of queries, keys and tiles of
// queries per multiprocessor). Not those closer than a factor of 1.25, and not those of which one was chosen
// by the rule within epsilon when it was left out, if it was measured because of a break point. The widest
// first.
std::vector<BreakPoint> break_points(const DispatchClass& dispatch,
                                     const std::vector<kernels::Problem>& probed, double epsilon);

// Halfway between two shapes of a class: lengths are multiples of 64 (of 16 below 256) where that leaves them
// between. None when that is one of the two.
std::optional<kernels::Problem> halfway(const kernels::Problem& a, const kernels::Problem& b);

// For each class the shape with the shortest lengths and the fewest heads of any, which fills a device least,
// where it isn't among the problems.
std::vector<kernels::Problem> emptiest_shapes(const std::vector<kernels::Problem>& problems);

}  // namespace fcsa::tuner
