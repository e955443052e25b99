// From S to P: members of Consumer.
#pragma once

#include "kernels/wgmma/consumer.cuh"

namespace fcsa::kernels::wgmma {

template <Traits T, ForwardConfig C>
FCSA_DEVICE auto Consumer<T, C>::load_factors(int slice, int slot) const -> Factors {
  Factors factors;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float4& factor = factors.of[i];
    factor = {1, -offset, 1, -offset};
    const unsigned from = shared.factor_tile(slot) + 4 * C.factor_floats(T) * (16 * slice + 8 * i + 2 * t);
    if constexpr (T.key_mask && C.scales_scores(T)) {
      const float4 both = ptx::load_shared_4(from);
      factor.x = both.x;
      factor.z = both.z;
      factors.most[i] = {both.y, both.w};
    } else if constexpr (T.key_mask) {
      factors.most[i] = ptx::load_shared_2(from);
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
FCSA_DEVICE void Consumer<T, C>::logits(int slice, int tile, int slot) {
  const Factors now = factors;
  if (slice + 1 < kSlices) factors = load_factors(slice + 1, slot);
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
      if constexpr (!kLateScale) {
        const float row = kScaleQueries ? 1.0f : row_scale[h];
        float2 added{factor.y, factor.w};
        if constexpr (kBias) added = load_bias(8 * i, h);
        x = fmaf(x, C.scales_scores(T) ? row * factor.x : row, added.x);
        y = fmaf(y, C.scales_scores(T) ? row * factor.z : row, added.y);
      }
      if constexpr (T.key_mask) {
        // The lesser of -inf and NaN is -inf: of a key that nobody sees, x may be anything.
        x = fminf(x, now.most[i - 2 * slice].x);
        y = fminf(y, now.most[i - 2 * slice].y);
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
FCSA_DEVICE void Consumer<T, C>::make_scale_positive() {
  if (row_scale[0] > 0 && row_scale[1] > 0) return;
#pragma unroll
  for (int i = 0; i < C.block_n / 2; ++i) {
    const float row = row_scale[i / 2 % 2];
    s[i] *= row < 0 ? -1.0f : row == 0 ? 0.0f : 1.0f;
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::subtract_maximum() {
  float largest[2] = {minus_infinity(), minus_infinity()}, scale[2] = {logit_unit(T), logit_unit(T)};
#pragma unroll
  for (int i = 0; i < C.block_n / 2; ++i) largest[i / 2 % 2] = fmaxf(largest[i / 2 % 2], s[i]);
  if constexpr (kLateScale)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      scale[h] = row_scale[h] == 0 ? 1.0f : fabsf(row_scale[h]);
      largest[h] *= scale[h];
    }
  constexpr float kAbove = kHeadroom / logit_unit(T);
  raised = __any_sync(0xffffffffu, largest[0] > row_max[0] + kAbove || largest[1] > row_max[1] + kAbove);
  if (raised) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float top = fmaxf(row_max[h], largest[h]);
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
      rescale[h] = top == minus_infinity() ? 1.0f : ptx::exp2_approximate(above<T>(row_max[h], top));
      row_max[h] = top;
      row_sum[h] *= rescale[h];
    }
  }
  // No key seen yet: keep exp2 away from inf - inf.
  const float reference[2] = {row_max[0] == minus_infinity() ? 0.0f : row_max[0],
                              row_max[1] == minus_infinity() ? 0.0f : row_max[1]};
  if constexpr (kLateScale || kBias) {
    // Of large logits the rounding of the reference alone would be more than exp2 bears: rounded alike, the
    // largest gives 0. With a bias the reference is rounded again, in base 2.
    constexpr float kLarge = kBias ? 1024.0f : 1048576.0f;
    if (__any_sync(0xffffffffu, fabsf(reference[0]) > kLarge || fabsf(reference[1]) > kLarge)) {
#pragma unroll
      for (int i = 0; i < C.block_n / 2; ++i)
        s[i] = kBias ? above<T>(s[i], reference[i / 2 % 2])
                     : __fmul_rn(s[i], scale[i / 2 % 2]) - reference[i / 2 % 2];
      return;
    }
  }
#pragma unroll
  for (int i = 0; i < C.block_n / 2; ++i) {
    const float subtracted = kBias ? reference[i / 2 % 2] * logit_unit(T) : reference[i / 2 % 2];
    s[i] = kLateScale || kBias ? fmaf(s[i], scale[i / 2 % 2], -subtracted) : s[i] - subtracted;
  }
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
FCSA_DEVICE void Consumer<T, C>::softmax(int tile, int slot) {
  if constexpr (kLateScale) make_scale_positive();
  if constexpr (kBias) wait_bias(tile);
#pragma unroll
  for (int slice = 0; slice < kSlices; ++slice) {
    logits<edge>(slice, tile, slot);
    if constexpr (kFixed) exponentials(slice);
  }
  if constexpr (kBias) release_bias();
  if constexpr (!kFixed) {
    subtract_maximum();
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice) exponentials(slice);
  }
}

}  // namespace fcsa::kernels::wgmma
