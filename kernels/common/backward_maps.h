// Tensor maps of backward kernels: they may be of dout, too.
#pragma once

#include "kernels/common/backward.h"

namespace fcsa::kernels {

inline constexpr int kDoutTensor = 5;  // TensorMap::tensor

FCSA_HD inline const void* start_of(const TensorMap& map, const BackwardArgs& args) {
  if (map.tensor == kDoutTensor) return static_cast<const char*>(args.dout) + map.first_byte;
  return start_of(map, static_cast<const Args&>(args));
}

}  // namespace fcsa::kernels
