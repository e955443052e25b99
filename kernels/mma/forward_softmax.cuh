// From S to P: members of Forward.
#pragma once

#include "kernels/mma/forward_block.cuh"

namespace fcsa::kernels::mma {

template <Traits T, ForwardConfig C>
template <bool edge>
FCSA_DEVICE void Forward<T, C>::logits(Step at, int chunk, Scores& s) const {
  const int first = warp_n * C.warp_keys() + chunk * C.chunk + 2 * t;
#pragma unroll
  for (int n = 0; n < kKeyTiles; ++n) {
    float4 factor{1, -offset, 1, -offset};
    if constexpr (kFactors) factor = ptx::load_shared_4(factor_stage(at.slot) + 8 * (first + 8 * n));
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float &x = s[m][n][2 * h], &y = s[m][n][2 * h + 1];
        x = fmaf(x, kNormalise ? factor.x : row_scale[m][h], factor.y);
        y = fmaf(y, kNormalise ? factor.z : row_scale[m][h], factor.w);
        const int key = at.tile * C.block_n + first + 8 * n;
        if constexpr (T.bias != Bias::none) {
          const float2 bias = bias_at(m, h, key);
          // Where the mask hides the key, the bias has no say.
          x = T.key_mask && factor.y == minus_infinity() ? factor.y : x + bias.x;
          y = T.key_mask && factor.w == minus_infinity() ? factor.w : y + bias.y;
        }
        if constexpr (T.key_mask && T.causal && T.bias == Bias::none) {
          // Selected: a row that sees nothing may hold anything.
          if (factor.y == minus_infinity()) x = minus_infinity();
          if (factor.w == minus_infinity()) y = minus_infinity();
        }
        if constexpr (edge) {
          const int limit = key_limit(row_at(m, h));
          if (key >= limit) x = minus_infinity();
          if (key + 1 >= limit) y = minus_infinity();
        }
      }
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::subtract_maximum(Scores& s) {
  float largest[kRowTiles][2];
  bool raises = false;
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      largest[m][h] = minus_infinity();
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n)
        largest[m][h] = fmaxf(largest[m][h], fmaxf(s[m][n][2 * h], s[m][n][2 * h + 1]));
      raises = raises || largest[m][h] > row_max[m][h] + kHeadroom / logit_unit(T);
    }
  if (__any_sync(0xffffffffu, raises)) raise_maximum(largest);
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      // No key seen yet: keep exp2 away from inf - inf.
      const float reference = row_max[m][h] == minus_infinity() ? 0.0f : row_max[m][h];
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n) {
        s[m][n][2 * h] = above<T>(s[m][n][2 * h], reference);
        s[m][n][2 * h + 1] = above<T>(s[m][n][2 * h + 1], reference);
      }
    }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::raise_maximum(const float (&largest)[kRowTiles][2]) {
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float raised = fmaxf(row_max[m][h], largest[m][h]);
      raised = fmaxf(raised, __shfl_xor_sync(0xffffffffu, raised, 1));
      raised = fmaxf(raised, __shfl_xor_sync(0xffffffffu, raised, 2));
      const float factor =
          raised == minus_infinity() ? 1.0f : ptx::exp2_approximate(above<T>(row_max[m][h], raised));
      row_max[m][h] = raised;
      row_sum[m][h] *= factor;
      tensor_sum[m][2 * h] *= factor;
#pragma unroll
      for (int c = 0; c < kChannelTiles; ++c) {
        o[m][c][2 * h] *= factor;
        o[m][c][2 * h + 1] *= factor;
      }
    }
}

template <Traits T, ForwardConfig C>
template <bool edge>
FCSA_DEVICE void Forward<T, C>::softmax(Step at, int chunk, Scores& s) {
  logits<edge>(at, chunk, s);
  if constexpr (!kFixed) subtract_maximum(s);
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float& x = s[m][n][i];
        x = (4 * n + i) % 8 < C.polynomial ? exp2_polynomial<T.dtype != DType::bf16>(x)
                                           : ptx::exp2_approximate(x);
        if constexpr (!C.tensor_sums) row_sum[m][i / 2] += x;
      }
}

}  // namespace fcsa::kernels::mma
