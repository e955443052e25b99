// What is known to be good on a device like this one, as a start for a search.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "tuner/dispatch/dispatch.h"

namespace fcsa::tuner {

// Distance of two shapes: of log2 nq, log2 nk and log2 (batch * heads), squared.
double shape_distance(const kernels::Problem& a, const kernels::Problem& b);
// How many fields differ, sizes aside: 0 within a class. None where kernels have another structure: another
// operation, head dim or size of elements.
std::optional<int> class_distance(const kernels::Problem& a, const kernels::Problem& b);

// What the table chooses for the shapes of the problem's class, or where it has none for those of the nearest
// class, the nearest shape first, each once; at most `count`.
std::vector<kernels::Configuration> known_configurations(const DispatchTable& table,
                                                         const kernels::Problem& problem, std::size_t count);

}  // namespace fcsa::tuner
