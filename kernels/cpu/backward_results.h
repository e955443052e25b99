// Where gradients go in the backward pass on a CPU: through the normalisation to the tensors, and sums of dQ
// to where they wait for it.
#pragma once

#include "kernels/cpu/backward_block.h"

#pragma GCC diagnostic push
// Vectors are passed between functions that are inlined: their calling convention doesn't matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace fcsa::kernels::cpu::FCSA_CPU_ISA {

inline constexpr float kLn2 = 0.6931471805599453f;

// The gradient of a row of q or k (`raw`, loaded here) from that of its normalised form, in place. A group
// whose norm is clamped has none, and nor has a row that nobody sees or that sees nothing, whatever it holds.
// Returns the product of the normalised row and the gradient given.
template <Traits T, int W>
FCSA_CPU_INLINE float through_normalisation(const char* raw, float* gradient, float eps) {
  constexpr int D = T.head_dim;
  constexpr int kWidth = D / T.groups;
  if (all_zero<W>(gradient, D)) return 0.0f;
  float row[D];
  load_row<T, W>(raw, row);
  float total = 0.0f;
  for (int g = 0; g < D; g += kWidth) {
    float inverse = 1.0f;
    if constexpr (T.l2norm_qk) {
      inverse = inverse_norm<kWidth, W>(row + g, eps);
      multiply_row<kWidth, W>(row + g, inverse);
    }
    const float along = dot<kWidth, W>(row + g, gradient + g);
    total += along;
    if constexpr (T.l2norm_qk) {
      // Less than 1 by more than rounding.
      const float factor = inverse * usable_eps(eps) < 0.9999998f ? inverse : 0.0f;
      for (int d = g; d < g + kWidth; ++d) gradient[d] = factor * (gradient[d] - row[d] * along);
    }
  }
  return total;
}

template <Traits T, int W>
FCSA_CPU_INLINE void store_row(const float* from, float factor, const void* tensor, long long element) {
  char* const to = const_cast<char*>(static_cast<const char*>(tensor)) + element * element_bytes(T.dtype);
  for (int d = 0; d < T.head_dim; d += W)
    store_elements<T.dtype, W>(to + d * element_bytes(T.dtype),
                               load<typename VectorTypes<W>::Vector>(from + d) * factor);
}

FCSA_CPU_INLINE long long element_of(const Strides& strides, int batch, int head, long long row) {
  return batch * strides.batch + head * strides.head + row * strides.row;
}

template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void store_keys(const BackwardArgs& args, int batch, int kv_head, const PairBlock& b) {
  constexpr int W = C.vector_floats;
  for (int j = 0; j < b.keys; ++j) {
    const long long key = b.first_key + j;
    float* const dk = b.dk + j * T.head_dim;
    through_normalisation<T, W>(row_of<T>(args.k, args.k_strides, batch, kv_head, key), dk, args.eps);
    // Q was in base 2 over the unit.
    store_row<T, W>(dk, kLn2 * backward_unit(T), args.dk, element_of(args.dk_strides, batch, kv_head, key));
    store_row<T, W>(b.dv + j * T.head_dim, 1.0f, args.dv, element_of(args.dv_strides, batch, kv_head, key));
  }
}

template <BackwardConfig C>
FCSA_CPU_INLINE void clear_pairs(float* pairs) {
  for (int i = 0; i < C.padded_rows() * C.pitch(); i += C.vector_floats)
    store(pairs + i, typename VectorTypes<C.vector_floats>::Vector{});
}

// dS of a block, or a sum of several, as the gradient of the bias of this batch and head.
template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void store_bias_gradient(const BackwardArgs& args, int batch, int head, const PairBlock& b,
                                         const float* ds) {
  constexpr int W = C.vector_floats;
  constexpr DType kType = bias_dtype_of(T);
  constexpr int kBytes = element_bytes(kType);
  char* const first =
      static_cast<char*>(args.dbias) + bias_offset<T>(args, args.dbias_strides, batch, head, b);
  for (int i = 0; i < b.rows; ++i)
    for (int j = 0; j < b.keys; j += W) {
      char whole[W * kBytes];
      store_elements<kType, W>(whole, load<typename VectorTypes<W>::Vector>(ds + i * C.pitch() + j));
      const int count = b.keys - j < W ? b.keys - j : W;
      __builtin_memcpy(first + (i * args.dbias_strides.row + j) * kBytes, whole,
                       static_cast<unsigned long>(count * kBytes));
    }
}

// Sums of dQ, f32: head `flat_head` (of all batches) of the part of the keys that one task walks over.
struct QuerySums {
  float* first;
  long long pitch;
};

template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE QuerySums query_sums(const BackwardArgs& args, int split, int batch, int head) {
  if constexpr (C.sums_in_place(T)) {
    const long long first = batch * args.dq_strides.batch + head * args.dq_strides.head;
    return {static_cast<float*>(args.dq) + first, args.dq_strides.row};
  }
  const auto workspace = C.workspace(T, args);
  const long long flat_head = static_cast<long long>(batch) * args.heads + head;
  return {in_workspace<float>(args, workspace.dq) + split * workspace.dq_floats +
              flat_head * args.nq * T.head_dim,
          T.head_dim};
}

template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void clear_query_sums(const BackwardArgs& args, int split, int batch, int kv_head) {
  const int group = args.heads / args.kv_heads;
  for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    const QuerySums sums = query_sums<T, C>(args, split, batch, head);
    for (long long row = 0; row < args.nq; ++row)
      clear_row<T, C.vector_floats>(sums.first + row * sums.pitch);
  }
}

// The block's part of dQ, added to those of the blocks before.
template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void add_to_query_sums(const QuerySums& sums, const PairBlock& b) {
  constexpr int W = C.vector_floats;
  using Vector = typename VectorTypes<W>::Vector;
  for (int i = 0; i < b.rows; ++i) {
    float* const to = sums.first + (b.first_row + i) * sums.pitch;
    for (int d = 0; d < T.head_dim; d += W)
      store(to + d, load<Vector>(to + d) + load<Vector>(b.dq + i * T.head_dim + d));
  }
}

// dQ of a block of query rows: the sums of all tasks.
template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void collect_query_sums(const BackwardArgs& args, int batch, int head, PairBlock& b) {
  constexpr int W = C.vector_floats;
  using Vector = typename VectorTypes<W>::Vector;
  for (int split = 0; split < C.key_tasks(args); ++split) {
    const QuerySums sums = query_sums<T, C>(args, split, batch, head);
    for (int i = 0; i < b.rows; ++i)
      for (int d = 0; d < T.head_dim; d += W) {
        float* const to = b.dq + i * T.head_dim + d;
        const Vector part = load<Vector>(sums.first + (b.first_row + i) * sums.pitch + d);
        store(to, split == 0 ? part : load<Vector>(to) + part);
      }
  }
}

}  // namespace fcsa::kernels::cpu::FCSA_CPU_ISA

#pragma GCC diagnostic pop
