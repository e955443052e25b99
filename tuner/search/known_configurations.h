// What is known to be good on a device like this one, as a start for a search.
#pragma once

#include <cstddef>
#include <vector>

#include "tuner/dispatch/dispatch.h"

namespace fcsa::tuner {

// What the table chooses for the shapes of the problem's class, the nearest first, each once; at most
// `count`.
std::vector<kernels::Configuration> known_configurations(const DispatchTable& table,
                                                         const kernels::Problem& problem, std::size_t count);

}  // namespace fcsa::tuner
