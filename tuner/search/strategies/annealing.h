// Simulated annealing: steps to a neighbour, slower ones the less likely the slower and the later.
#pragma once

#include <memory>

#include "tuner/search/strategy.h"

namespace fcsa::tuner {

std::unique_ptr<Method> make_annealing(std::uint64_t seed);

}  // namespace fcsa::tuner
