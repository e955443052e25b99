// How kernels on a GPU hold logits (logits.h): factors on the way in, lse on the way out.
#pragma once

#include "kernels/common/key_factors.cuh"
#include "kernels/common/logits.h"

namespace fcsa::kernels {

constexpr float kLargestFloat = 3.40282347e38f;

// Scale of a row of S, in base 2 over logit_unit.
template <Traits T>
FCSA_DEVICE float logit_factor(float scale) {
  return kLog2E / logit_unit(T) * safe_scale(T, scale);
}

// The same over |q|, which may be infinite where the row is (almost) zero.
template <Traits T>
FCSA_DEVICE float row_factor(float factor) {
  if constexpr (logit_unit(T) == 1.0f) return factor;
  return fmaxf(fminf(factor, kLargestFloat), -kLargestFloat);
}

// A logit over the reference, in base 2.
template <Traits T>
FCSA_DEVICE float above(float logit, float reference) {
  const float x = logit - reference;
  if constexpr (logit_unit(T) == 1.0f) return x;
  return x * logit_unit(T);
}

// What lse is multiplied by for the backward pass, which holds logits as the forward pass does.
template <Traits T>
FCSA_DEVICE float lse_factor(const Args& args, int head) {
  if constexpr (T.softmax == Softmax::fixed_bound || T.bias != Bias::none) return kLog2E / logit_unit(T);
  const float scale = T.head_scale ? args.head_scale[head] : args.scale, safe = safe_scale(T, scale);
  return scale == safe ? kLog2E : kLog2E * (safe / scale);
}

// P = exp2 of a logit over lse, which no logit exceeds but for the rounding of large ones.
template <Traits T>
FCSA_DEVICE float probability(float x) {
  if constexpr (T.softmax == Softmax::running_maximum) x = fminf(x * logit_unit(T), 0.0f);
  return ptx::exp2_approximate(x);
}

// lse of a row of this head from its sum, which is above 0, and its maximum or the offset of the bound.
template <Traits T>
FCSA_DEVICE float lse_of(const Args& args, int head, float sum, float top) {
  if constexpr (T.softmax == Softmax::fixed_bound) {
    return (log2f(sum) + top) * kLn2;
  } else if constexpr (T.bias != Bias::none) {
    return fmaf(top, logit_unit(T) * kLn2, log2f(sum) * kLn2);
  } else {
    const float scale = T.head_scale ? args.head_scale[head] : args.scale, safe = safe_scale(T, scale);
    return fmaf(top, scale == safe ? kLn2 : scale / safe * kLn2, log2f(sum) * kLn2);
  }
}

}  // namespace fcsa::kernels
