// What `auto` is: the model decides, a walk around the winner checks it, and both together know when to stop.
#pragma once

#include <memory>

#include "tuner/search/strategy.h"

namespace fcsa::tuner {

// Small spaces end up tried completely. Otherwise the search ends when the best hasn't improved for long
// (history.h) and all that differ from it in one step of one parameter were tried.
std::unique_ptr<Method> make_portfolio(const Space& space, std::uint64_t seed);

}  // namespace fcsa::tuner
