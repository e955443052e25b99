// 2^x on the CUDA cores.
#pragma once

#include "kernels/common/ptx.cuh"

namespace fcsa::kernels {

// Polynomial 2^x, relative error 1.1e-4 (degree 3) or 3e-6 (degree 4, for f16): for a share of the
// exponentials where the MUFU, 16 a clock, is what limits.
template <bool accurate>
FCSA_DEVICE float exp2_polynomial(float x) {
  constexpr float kMagic = 12582912.0f;  // adding it leaves the nearest integer in the low bits
  x = fmaxf(x, -127.0f);
  const float shifted = x + kMagic;
  const float f = x - (shifted - kMagic);
  float p;
  if constexpr (accurate) {
    p = fmaf(f, 0.0095706340f, 0.0559088189f);
    p = fmaf(p, f, 0.2402431684f);
    p = fmaf(p, f, 0.6931240114f);
  } else {
    p = fmaf(f, 0.0550184180f, 0.2422084385f);
    p = fmaf(p, f, 0.6932785578f);
  }
  p = fmaf(p, f, 1.0f);
  return __int_as_float(__float_as_int(p) + (__float_as_int(shifted) << 23));
}

}  // namespace fcsa::kernels
