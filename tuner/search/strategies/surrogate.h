// Search by a model of the times: a Gaussian process is fitted to what was told, and the configuration that
// is expected to improve the best by most comes next.
#pragma once

#include <memory>

#include "tuner/search/strategy.h"

namespace fcsa::tuner {

std::unique_ptr<Method> make_surrogate(const Space& space, std::uint64_t seed);

}  // namespace fcsa::tuner
