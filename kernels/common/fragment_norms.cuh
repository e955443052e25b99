// Norms of the rows of an A fragment of mma.m16n8k16, which wgmma takes too.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/key_factors.cuh"
#include "kernels/common/normalise.cuh"

namespace fcsa::kernels {

// Multiplies by 1 / max(norm, eps) of the two rows that a thread has in a fragment, rows g and g + 8, whose
// words of a step of channels `load(step)` gives. By whole warps.
template <DType dtype, int steps, typename Load>
FCSA_DEVICE void multiply_by_inverse_norms(float (&scale)[2], float eps, const Load& load) {
  float squares[2] = {0, 0};
#pragma unroll
  for (int step = 0; step < steps; ++step) {
    const uint4 a = load(step);
    squares[0] = add_squares<dtype>(a.x, add_squares<dtype>(a.z, squares[0]));
    squares[1] = add_squares<dtype>(a.y, add_squares<dtype>(a.w, squares[1]));
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    squares[h] += __shfl_xor_sync(0xffffffffu, squares[h], 1);
    squares[h] += __shfl_xor_sync(0xffffffffu, squares[h], 2);
    scale[h] *= inverse_norm(squares[h], eps);
  }
}

}  // namespace fcsa::kernels
