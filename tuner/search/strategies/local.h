// Iterated local search: from the best known configuration to a better neighbour, until there is none; then
// from a configuration a few random changes away from the best.
#pragma once

#include <memory>

#include "tuner/search/strategy.h"

namespace fcsa::tuner {

// Neighbours are tried in the order of a guess of their time: the mean of everything told, weighted by
// closeness. Ends when the whole space was tried or when the best hasn't improved for long (three times as
// many configurations as it took to find it, and at least kPatience).
inline constexpr std::size_t kPatience = 300;
std::unique_ptr<Strategy> make_local_search(const Space& space, std::uint64_t seed);

}  // namespace fcsa::tuner
