// Iterated local search: from the best known configuration to a better neighbour, until there is none; then
// from a configuration a few random changes away from the best.
#pragma once

#include <memory>

#include "tuner/search/strategy.h"

namespace fcsa::tuner {

// Three neighbourhoods, each when the one before has nothing new: one step in one parameter, any step in one
// parameter, and one step in each of two. Within one, neighbours come in the order of a guess of their time:
// the mean of what was told, weighted by closeness. Ends when the history's patience is used.
std::unique_ptr<Method> make_local_search(std::uint64_t seed);

}  // namespace fcsa::tuner
