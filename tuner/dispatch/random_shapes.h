// Shapes at random, within the range of those that were tuned.
#pragma once

#include <random>
#include <vector>

#include "kernels/problem.h"

namespace fcsa::tuner {

// Of the class of the tuned problems, which aren't empty: lengths (equal ones where all tuned are) and batch
// * heads drawn on a logarithmic scale between the smallest and the largest, heads from a quarter of the
// fewest on, key/value heads in the proportion of one of the tuned problems, and no more elements of q, k and
// v than the largest of them has. Equal states of the generator give equal shapes on every platform.
kernels::Problem random_shape(const std::vector<kernels::Problem>& tuned, std::mt19937_64& random);

}  // namespace fcsa::tuner
