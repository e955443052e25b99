// From S to P: members of Consumer.
#pragma once

#include "kernels/wgmma/consumer.cuh"

namespace fcsa::kernels::wgmma {

template <Traits T, ForwardConfig C>
FCSA_DEVICE auto Consumer<T, C>::load_factors(int slice, int stage) const -> Factors {
  Factors factors;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float4& factor = factors.of[i];
    factor = {1, -offset, 1, -offset};
    const unsigned from = shared.factor_tile(stage) + 4 * C.factor_floats(T) * (16 * slice + 8 * i + 2 * t);
    if constexpr (T.key_mask) {
      factor = ptx::load_shared_4(from);
    } else if constexpr (kFactors) {
      const float2 inverse = ptx::load_shared_2(from);
      factor.x = inverse.x;
      factor.z = inverse.y;
    }
  }
  return factors;
}

template <Traits T, ForwardConfig C>
template <bool edge>
FCSA_DEVICE void Consumer<T, C>::logits(int slice, int tile, int stage) {
  const Factors now = factors;
  if (slice + 1 < kSlices) factors = load_factors(slice + 1, stage);
  int limit[2] = {0, 0};
  if constexpr (edge) {
    const Rows place = rows(queries);
#pragma unroll
    for (int h = 0; h < 2; ++h)
      limit[h] = place.key_limit(args, row_at(place, h)) - first_key_of(tile) - 2 * t;
  }
#pragma unroll
  for (int i = 2 * slice; i < 2 * slice + 2; ++i) {
    const float4& factor = now.of[i - 2 * slice];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float &x = s[4 * i + 2 * h], &y = s[4 * i + 2 * h + 1];
      const float row = kScaleQueries ? 1.0f : row_scale[h];
      x = fmaf(x, C.scales_scores(T) ? row * factor.x : row, factor.y);
      y = fmaf(y, C.scales_scores(T) ? row * factor.z : row, factor.w);
      if constexpr (T.key_mask) {
        // Selected: of a key that nobody sees, x may be anything.
        if (factor.y == minus_infinity()) x = minus_infinity();
        if (factor.w == minus_infinity()) y = minus_infinity();
      }
      if constexpr (edge) {
        if (8 * i >= limit[h]) x = minus_infinity();
        if (8 * i + 1 >= limit[h]) y = minus_infinity();
      }
    }
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::exponentials(int slice) {
#pragma unroll
  for (int i = 8 * slice; i < 8 * slice + 8; ++i) {
    s[i] = i % 8 < C.polynomial ? exp2_polynomial<T.dtype != DType::bf16>(s[i]) : ptx::exp2_approximate(s[i]);
    if constexpr (!C.tensor_sums) row_sum[i / 2 % 2] += s[i];
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::subtract_maximum() {
  float largest[2] = {minus_infinity(), minus_infinity()};
#pragma unroll
  for (int i = 0; i < C.block_n / 2; ++i) largest[i / 2 % 2] = fmaxf(largest[i / 2 % 2], s[i]);
  raised =
      __any_sync(0xffffffffu, largest[0] > row_max[0] + kHeadroom || largest[1] > row_max[1] + kHeadroom);
  if (raised) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float top = fmaxf(row_max[h], largest[h]);
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
      rescale[h] = top == minus_infinity() ? 1.0f : ptx::exp2_approximate(row_max[h] - top);
      row_max[h] = top;
      row_sum[h] *= rescale[h];
    }
  }
  // No key seen yet: keep exp2 away from inf - inf.
  const float reference[2] = {row_max[0] == minus_infinity() ? 0.0f : row_max[0],
                              row_max[1] == minus_infinity() ? 0.0f : row_max[1]};
#pragma unroll
  for (int i = 0; i < C.block_n / 2; ++i) s[i] -= reference[i / 2 % 2];
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::rescale_output() {
  if constexpr (!kFixed) {
    if (!raised) return;
#pragma unroll
    for (int i = 0; i < C.output_columns(T) / 2; ++i) o[i] *= rescale[i / 2 % 2];
  }
}

template <Traits T, ForwardConfig C>
template <bool edge>
FCSA_DEVICE void Consumer<T, C>::softmax(int tile, int stage) {
#pragma unroll
  for (int slice = 0; slice < kSlices; ++slice) {
    logits<edge>(slice, tile, stage);
    if constexpr (kFixed) exponentials(slice);
  }
  if constexpr (!kFixed) {
    subtract_maximum();
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice) exponentials(slice);
  }
}

}  // namespace fcsa::kernels::wgmma
