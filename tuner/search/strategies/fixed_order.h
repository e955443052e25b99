// Everything, in an order fixed beforehand.
#pragma once

#include <memory>

#include "tuner/search/strategy.h"

namespace fcsa::tuner {

std::unique_ptr<Method> make_exhaustive();  // in the order of the positions
std::unique_ptr<Method> make_random(std::uint64_t seed);

}  // namespace fcsa::tuner
