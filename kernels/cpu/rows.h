// Rows of the tensors as floats: loaded, normalised, cleared.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/logits.h"
#include "kernels/cpu/vectors.h"

#pragma GCC diagnostic push
// Vectors are passed between functions that are inlined: their calling convention doesn't matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace fcsa::kernels::cpu::FCSA_CPU_ISA {

template <int Count, int W>
FCSA_CPU_INLINE float dot(const float* a, const float* b) {
  float sum = 0.0f;
  if constexpr (Count % W == 0) {
    using Vector = typename VectorTypes<W>::Vector;
    Vector products = {};
    for (int d = 0; d < Count; d += W) products += load<Vector>(a + d) * load<Vector>(b + d);
    sum = sum_of<W>(products);
  } else {
    for (int d = 0; d < Count; ++d) sum += a[d] * b[d];
  }
  return sum;
}

// 1 / max(|part|, eps) of `Count` floats, at most 2^126. The squares of very large and very small ones leave
// the range of f32.
template <int Count, int W>
FCSA_CPU_INLINE float inverse_norm(const float* part, float least) {
  const float eps = usable_eps(least);
  const float sum = dot<Count, W>(part, part);
  if (sum > 1e-20f && sum < 1e37f) [[likely]] {
    const float norm = __builtin_sqrtf(sum);
    return 1.0f / (norm > eps ? norm : eps);
  }
  double exact = 0;
  for (int d = 0; d < Count; ++d) exact += static_cast<double>(part[d]) * static_cast<double>(part[d]);
  const double norm = __builtin_sqrt(exact);
  return static_cast<float>(1.0 / (norm > static_cast<double>(eps) ? norm : static_cast<double>(eps)));
}

template <int Count, int W>
FCSA_CPU_INLINE void multiply_row(float* part, float factor) {
  using Vector = typename VectorTypes<W>::Vector;
  if constexpr (Count % W == 0) {
    for (int d = 0; d < Count; d += W) store(part + d, load<Vector>(part + d) * factor);
  } else {
    for (int d = 0; d < Count; ++d) part[d] *= factor;
  }
}

// By both factors, whose product may be infinite where the row is (almost) zero.
template <int Count, int W>
FCSA_CPU_INLINE void multiply_row_twice(float* part, float first, float second) {
  const float product = first * second;
  if (product < 0x1p127f && product > -0x1p127f) [[likely]]
    return multiply_row<Count, W>(part, product);
  multiply_row<Count, W>(part, first);
  multiply_row<Count, W>(part, second);
}

// Multiplies a row of q or k by `factor` and, where the problem normalises, each of its groups by its
// inverse norm.
template <Traits T, int W>
FCSA_CPU_INLINE void scale_row(float* row, float factor, float eps) {
  constexpr int kWidth = T.l2norm_qk ? T.head_dim / T.groups : T.head_dim;
  for (float* group = row; group < row + T.head_dim; group += kWidth) {
    if constexpr (T.l2norm_qk) {
      multiply_row_twice<kWidth, W>(group, inverse_norm<kWidth, W>(group, eps), factor);
    } else {
      multiply_row<kWidth, W>(group, factor);
    }
  }
}

template <Traits T, int W>
FCSA_CPU_INLINE void load_row(const char* from, float* to) {
  for (int d = 0; d < T.head_dim; d += W)
    store(to + d, load_elements<T.dtype, W>(from + d * element_bytes(T.dtype)));
}

template <Traits T, int W>
FCSA_CPU_INLINE void clear_row(float* row) {
  for (int d = 0; d < T.head_dim; d += W) store(row + d, typename VectorTypes<W>::Vector{});
}

// Whether no float is infinite or not a number; asked of its bits, which also holds where the compiler may
// assume that there are no others.
template <int W>
FCSA_CPU_INLINE bool all_finite(const float* floats, int count) {
  using Bits = typename VectorTypes<W>::Bits;
  using Ints = typename VectorTypes<W>::Ints;
  Ints special = {};
  for (int i = 0; i < count; i += W)
    special |= bits_as<Ints>((load<Bits>(floats + i) & 0x7f800000u) == 0x7f800000u);
  return !any<W>(special);
}

// As a null mask hides nothing, null scales are all args.scale: one built-in kernel serves both.
template <Traits T>
FCSA_CPU_INLINE float scale_of(const Args& args, int head) {
  return T.head_scale && args.head_scale ? args.head_scale[head] : args.scale;
}

// What lse, and what follows from it, is multiplied by where the scale was too large to compute with.
template <Traits T>
FCSA_CPU_INLINE double excess_of(float scale) {
  const float safe = safe_scale(T, scale);
  return scale == safe ? 1.0 : static_cast<double>(scale) / static_cast<double>(safe);
}

template <int W>
FCSA_CPU_INLINE bool all_zero(const float* floats, int count) {
  typename VectorTypes<W>::Bits others = {};
  for (int i = 0; i < count; i += W) others |= load<typename VectorTypes<W>::Bits>(floats + i) << 1;
  return !any<W>(bits_as<typename VectorTypes<W>::Ints>(others));
}

template <Traits T>
FCSA_CPU_INLINE const char* row_of(const void* tensor, const Strides& strides, int batch, int head,
                                   long long row) {
  const long long element = batch * strides.batch + head * strides.head + row * strides.row;
  return static_cast<const char*>(tensor) + element * element_bytes(T.dtype);
}

}  // namespace fcsa::kernels::cpu::FCSA_CPU_ISA

#pragma GCC diagnostic pop
