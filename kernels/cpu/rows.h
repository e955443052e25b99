// Rows of the tensors as floats: loaded, normalised, cleared.
#pragma once

#include "kernels/common/interface.h"
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

// 1 / max(|part|, eps) of `Count` floats. The squares of very large and very small ones leave the range of
// f32.
template <int Count, int W>
FCSA_CPU_INLINE float inverse_norm(const float* part, float eps) {
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

// Multiplies a row of q or k by `factor` and, where the problem normalises, each of its groups by its
// inverse norm.
template <Traits T, int W>
FCSA_CPU_INLINE void scale_row(float* row, float factor, float eps) {
  constexpr int kWidth = T.l2norm_qk ? T.head_dim / T.groups : T.head_dim;
  for (float* group = row; group < row + T.head_dim; group += kWidth) {
    float scale = factor;
    if constexpr (T.l2norm_qk) scale *= inverse_norm<kWidth, W>(group, eps);
    multiply_row<kWidth, W>(group, scale);
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

template <Traits T>
FCSA_CPU_INLINE const char* row_of(const void* tensor, const Strides& strides, int batch, int head,
                                   long long row) {
  const long long element = batch * strides.batch + head * strides.head + row * strides.row;
  return static_cast<const char*>(tensor) + element * element_bytes(T.dtype);
}

}  // namespace fcsa::kernels::cpu::FCSA_CPU_ISA

#pragma GCC diagnostic pop
