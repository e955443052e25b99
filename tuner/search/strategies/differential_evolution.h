// Differential evolution: a member is moved by the difference of two others, and replaced when that is
// faster.
#pragma once

#include <memory>

#include "tuner/search/strategy.h"

namespace fcsa::tuner {

std::unique_ptr<Method> make_differential_evolution(std::uint64_t seed);

}  // namespace fcsa::tuner
