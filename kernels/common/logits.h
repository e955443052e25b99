// How kernels keep logits in range where biases and scales are up to the largest float, and norms are near
// zero. Includes nothing but interface.h: for g++, clang++, nvcc and NVRTC alike.
#pragma once

#include "kernels/common/interface.h"

namespace fcsa::kernels {

// Kernels hold logits in base 2 over this. With a bias and no bound in base e: the bias is then added as it
// is, where times log2(e) one near the largest float would be infinite.
FCSA_HD constexpr float logit_unit(const Traits& traits) {
  return traits.bias != Bias::none && traits.softmax == Softmax::running_maximum ? 1.44269504f : 1.0f;
}

// The scale that kernels without a bound and without a bias compute with. From 2^60 on, products of rows that
// differ in f32 at all differ by more than exponentials tell apart: a larger scale gives the same softmax,
// and times 1/|q| would be infinite. lse is multiplied by scale / safe_scale(scale) afterwards.
FCSA_HD constexpr float safe_scale(const Traits& traits, float scale) {
  if (traits.bias != Bias::none || traits.softmax == Softmax::fixed_bound) return scale;
  constexpr float kLargest = 1152921504606846976.0f;
  return scale > kLargest ? kLargest : scale < -kLargest ? -kLargest : scale;
}

// Whether there may be keys that a row doesn't see, and rows that see none.
FCSA_HD constexpr bool hides_pairs(const Traits& traits) {
  return traits.causal || traits.key_mask || traits.bias != Bias::none;
}

// Norms are clamped to at least this, however small eps is, so that their reciprocals, and products of two of
// them where kernels on a GPU need those, are finite: infinity times a zero row is not a number. The squares
// of smaller norms are zero in f32 anyway, in which kernels on a GPU add them up.
constexpr float kLeastEps = 1.17549435e-38f;     // 2^-126
constexpr float kLeastEpsGpu = 8.67361738e-19f;  // 2^-60

FCSA_HD constexpr float usable_eps(float eps) {
  return eps > kLeastEps ? eps : kLeastEps;
}
FCSA_HD constexpr float usable_eps_gpu(float eps) {
  return eps > kLeastEpsGpu ? eps : kLeastEpsGpu;
}

}  // namespace fcsa::kernels
