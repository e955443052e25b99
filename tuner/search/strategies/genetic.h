// Genetic search: the fastest of the last generation are crossed, and some of their values changed.
#pragma once

#include <memory>

#include "tuner/search/strategy.h"

namespace fcsa::tuner {

std::unique_ptr<Method> make_genetic(std::uint64_t seed);

}  // namespace fcsa::tuner
