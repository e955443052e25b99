// The preparing step of the forward pass on a CPU: keys normalised and transposed, values converted.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/cpu/config.h"
#include "kernels/cpu/vectors.h"

#pragma GCC diagnostic push
// Vectors are passed between functions that are inlined: their calling convention doesn't matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace fcsa::kernels::cpu::FCSA_CPU_ISA {

// 1 / max(|part|, eps) of `Count` floats. The squares of very large and very small ones leave the range of
// f32.
template <int Count, int W>
FCSA_CPU_INLINE float inverse_norm(const float* part, float eps) {
  using Vector = typename VectorTypes<W>::Vector;
  float sum = 0.0f;
  if constexpr (Count % W == 0) {
    Vector squares = {};
    for (int d = 0; d < Count; d += W) {
      const Vector x = load<Vector>(part + d);
      squares += x * x;
    }
    sum = sum_of<W>(squares);
  } else {
    for (int d = 0; d < Count; ++d) sum += part[d] * part[d];
  }
  if (sum > 1e-20f && sum < 1e37f) [[likely]] {
    const float norm = __builtin_sqrtf(sum);
    return 1.0f / (norm > eps ? norm : eps);
  }
  double exact = 0;
  for (int d = 0; d < Count; ++d) exact += static_cast<double>(part[d]) * static_cast<double>(part[d]);
  const double norm = __builtin_sqrt(exact);
  return static_cast<float>(1.0 / (norm > static_cast<double>(eps) ? norm : static_cast<double>(eps)));
}

// Multiplies a row of q or k by `factor` and, where the problem normalises, each of its groups by its
// inverse norm.
template <Traits T, int W>
FCSA_CPU_INLINE void scale_row(float* row, float factor, float eps) {
  using Vector = typename VectorTypes<W>::Vector;
  constexpr int kWidth = T.l2norm_qk ? T.head_dim / T.groups : T.head_dim;
  for (float* group = row; group < row + T.head_dim; group += kWidth) {
    float scale = factor;
    if constexpr (T.l2norm_qk) scale *= inverse_norm<kWidth, W>(group, eps);
    if constexpr (kWidth % W == 0) {
      for (int d = 0; d < kWidth; d += W) store(group + d, load<Vector>(group + d) * scale);
    } else {
      for (int d = 0; d < kWidth; ++d) group[d] *= scale;
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

template <Traits T>
FCSA_CPU_INLINE const char* row_of(const void* tensor, const Strides& strides, int batch, int head,
                                   long long row) {
  const long long element = batch * strides.batch + head * strides.head + row * strides.row;
  return static_cast<const char*>(tensor) + element * element_bytes(T.dtype);
}

// Packs pack_keys() keys of one key/value head: K, normalised, transposed within each key_step, V as f32
// rows. Keys past the end are zero.
template <Traits T, ForwardConfig C>
void prepare(const Args& args, long long task, void* scratch) {
  static_assert(C.is_valid(T), "the configuration doesn't fit the problem");
  constexpr int W = C.vector_floats;
  constexpr int D = T.head_dim;
  const long long chunks = ceil_div(args.nk, C.pack_keys());
  const int kv = static_cast<int>(task / chunks);
  const int batch = kv / args.kv_heads;
  const int head = kv % args.kv_heads;
  const long long padded = C.padded_keys(args.nk);
  const long long first = task % chunks * C.pack_keys();
  const long long last = first + C.pack_keys() < padded ? first + C.pack_keys() : padded;
  float* const packed_k = static_cast<float*>(args.workspace) + kv * padded * D;
  float* const packed_v = packed_k + C.packed_floats(T, args);
  float* const rows = static_cast<float*>(scratch);

  for (long long key = first; key < last; key += W) {
    for (int i = 0; i < W; ++i) {
      const bool exists = key + i < args.nk;
      float* const row = rows + i * D;
      if (exists) {
        load_row<T, W>(row_of<T>(args.k, args.k_strides, batch, head, key + i), row);
        scale_row<T, W>(row, 1.0f, args.eps);
      } else {
        clear_row<T, W>(row);
      }
      if constexpr (C.packs_v(T.dtype)) {
        float* const values = packed_v + (key + i) * D;
        if (exists)
          load_row<T, W>(row_of<T>(args.v, args.v_strides, batch, head, key + i), values);
        else
          clear_row<T, W>(values);
      }
    }
    float* const to = packed_k + key / C.key_step() * C.key_step() * D + key % C.key_step();
    for (int d = 0; d < D; ++d)
      for (int i = 0; i < W; ++i) to[d * C.key_step() + i] = rows[i * D + d];
  }
}

}  // namespace fcsa::kernels::cpu::FCSA_CPU_ISA

#pragma GCC diagnostic pop
