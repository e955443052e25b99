// Drawing values of parameters by their place in the list.
#pragma once

#include <random>

#include "tuner/search/space.h"

namespace fcsa::tuner {

inline int random_digit(const Space& space, std::size_t parameter, std::mt19937_64& random) {
  return static_cast<int>(random() % space.parameters()[parameter].values.size());
}

// In [0, 1), the same on every machine.
inline double random_unit(std::mt19937_64& random) {
  return static_cast<double>(random() >> 11) * 0x1p-53;
}

}  // namespace fcsa::tuner
