// Backward pass on a CPU: f32 arithmetic on f32, bf16 and f16 storage. The same task gives the same bits
// whichever thread runs it, and what several tasks add to is added up in a fixed order. Self-contained (no
// standard headers).
#pragma once

#include "kernels/common/backward.h"
#include "kernels/cpu/backward_block.h"
#include "kernels/cpu/backward_config.h"
#include "kernels/cpu/backward_products.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vectors.h"

#pragma GCC diagnostic push
// Vectors are passed between functions that are inlined: their calling convention doesn't matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace fcsa::kernels::cpu::FCSA_CPU_ISA {

inline constexpr float kLn2 = 0.6931471805599453f;

template <typename Element>
FCSA_CPU_INLINE Element* in_workspace(const Args& args, long long byte) {
  return reinterpret_cast<Element*>(static_cast<char*>(args.workspace) + byte);
}

// The gradient of a row of q or k (`raw`, loaded here) from that of its normalised form, in place. A group
// whose norm is clamped has none. Returns the product of the normalised row and the gradient given.
template <Traits T, int W>
FCSA_CPU_INLINE float through_normalisation(const char* raw, float* gradient, float eps) {
  constexpr int D = T.head_dim;
  constexpr int kWidth = D / T.groups;
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
      const float factor = inverse * eps < 1.0f ? inverse : 0.0f;
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

// delta and inverse norms of a block of query rows.
template <Traits T, BackwardConfig C>
void prepare_gradients(const BackwardArgs& args, long long task, void* scratch) {
  static_assert(C.is_valid(T), "the configuration doesn't fit the problem");
  constexpr int W = C.vector_floats;
  constexpr int D = T.head_dim;
  constexpr int kWidth = D / T.groups;
  const long long blocks = C.row_blocks(args);
  const long long flat_head = task / blocks;
  const int batch = static_cast<int>(flat_head / args.heads), head = static_cast<int>(flat_head % args.heads);
  const long long first = task % blocks * C.block_rows();
  const auto workspace = C.workspace(T, args);
  float* const delta = in_workspace<float>(args, workspace.delta) + flat_head * args.nq;
  float* const inverse = in_workspace<float>(args, workspace.inverse) + flat_head * args.nq * T.groups;
  float* const row = static_cast<float*>(scratch);
  float* const dout = row + D;
  for (long long i = first; i < args.nq && i < first + C.block_rows(); ++i) {
    load_row<T, W>(row_of<T>(args.o, args.o_strides, batch, head, i), row);
    load_row<T, W>(row_of<T>(args.dout, args.dout_strides, batch, head, i), dout);
    delta[i] = dot<D, W>(row, dout);
    if constexpr (T.l2norm_qk) {
      load_row<T, W>(row_of<T>(args.q, args.q_strides, batch, head, i), row);
      for (int g = 0; g < T.groups; ++g)
        inverse[i * T.groups + g] = inverse_norm<kWidth, W>(row + g * kWidth, args.eps);
    }
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

template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void clear_rows(float* rows, int count) {
  for (int i = 0; i < count; ++i) clear_row<T, C.vector_floats>(rows + i * T.head_dim);
}

template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void store_keys(const BackwardArgs& args, int batch, int kv_head, const PairBlock& b) {
  constexpr int W = C.vector_floats;
  for (int j = 0; j < b.keys; ++j) {
    const long long key = b.first_key + j;
    float* const dk = b.dk + j * T.head_dim;
    through_normalisation<T, W>(row_of<T>(args.k, args.k_strides, batch, kv_head, key), dk, args.eps);
    // Q was in base 2.
    store_row<T, W>(dk, kLn2, args.dk, element_of(args.dk_strides, batch, kv_head, key));
    store_row<T, W>(b.dv + j * T.head_dim, 1.0f, args.dv, element_of(args.dv_strides, batch, kv_head, key));
  }
}

// dK and dV of the blocks of keys of one task, and its sums of dQ.
template <Traits T, BackwardConfig C>
void key_gradients(const BackwardArgs& args, long long task, void* scratch) {
  const long long tasks = C.key_tasks(args), row_blocks = C.row_blocks(args);
  const int kv = static_cast<int>(task / tasks), split = static_cast<int>(task % tasks);
  const int batch = kv / args.kv_heads, kv_head = kv % args.kv_heads;
  const int group = args.heads / args.kv_heads;
  PairBlock b = block_in<T, C>(args, scratch);
  if constexpr (C.key_splits > 0) clear_query_sums<T, C>(args, split, batch, kv_head);
  for (long long block = split; block < C.key_blocks(args); block += tasks) {
    const bool any_shown = stage_keys<T, C>(args, batch, kv_head, block, b);
    clear_rows<T, C>(b.dk, C.padded_keys());
    clear_rows<T, C>(b.dv, C.padded_keys());
    const long long first_row = b.first_key - b.shift;  // that sees any of the keys
    for (int head = kv_head * group; any_shown && head < (kv_head + 1) * group; ++head)
      for (long long rows = first_row > 0 ? first_row / C.block_rows() : 0; rows < row_blocks; ++rows) {
        stage_rows<T, C>(args, batch, head, rows, b);
        locate_bias<T>(args, batch, head, b);
        score_block<pair_traits(T), C>(b);
        add_key_sums<pair_traits(T), C>(b, b.p, b.dout, b.dv);
        add_key_sums<pair_traits(T), C>(b, b.ds, b.q, b.dk);
        if constexpr (C.key_splits > 0) {
          clear_rows<T, C>(b.dq, C.padded_rows());
          add_query_sums<pair_traits(T), C>(b);
          add_to_query_sums<T, C>(query_sums<T, C>(args, split, batch, head), b);
        }
      }
    store_keys<T, C>(args, batch, kv_head, b);
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

// dQ of a block of query rows by a walk over the keys of its own.
template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void walk_over_keys(const BackwardArgs& args, int batch, int head, PairBlock& b) {
  const int kv_head = head / (args.heads / args.kv_heads);
  const long long key_end = b.first_row + b.rows + b.shift;
  clear_rows<T, C>(b.dq, C.padded_rows());
  for (long long block = 0; block < C.key_blocks(args) && block * C.block_keys() < key_end; ++block) {
    if (!stage_keys<T, C>(args, batch, kv_head, block, b)) continue;
    locate_bias<T>(args, batch, head, b);
    score_block<pair_traits(T), C>(b);
    add_query_sums<pair_traits(T), C>(b);
  }
}

// dQ of a block of query rows, and its part of the gradient of the scale.
template <Traits T, BackwardConfig C>
void query_gradients(const BackwardArgs& args, long long task, void* scratch) {
  constexpr int W = C.vector_floats;
  const long long blocks = C.row_blocks(args), flat_head = task / blocks;
  // The blocks with the most keys start first.
  const long long block = T.causal ? blocks - 1 - task % blocks : task % blocks;
  const int batch = static_cast<int>(flat_head / args.heads), head = static_cast<int>(flat_head % args.heads);
  PairBlock b = block_in<T, C>(args, scratch);
  b.first_row = block * C.block_rows();
  b.rows = count_in(args.nq, block, C.block_rows());
  if constexpr (C.key_splits > 0) {
    collect_query_sums<T, C>(args, batch, head, b);
  } else {
    stage_rows<T, C>(args, batch, head, block, b);
    walk_over_keys<T, C>(args, batch, head, b);
  }
  const float scale = scale_of<T>(args, head);
  double dscale = 0;
  for (int i = 0; i < b.rows; ++i) {
    float* const dq = b.dq + i * T.head_dim;
    const long long row = b.first_row + i;
    dscale += static_cast<double>(
        through_normalisation<T, W>(row_of<T>(args.q, args.q_strides, batch, head, row), dq, args.eps));
    store_row<T, W>(dq, scale, args.dq, element_of(args.dq_strides, batch, head, row));
  }
  in_workspace<double>(args, C.workspace(T, args).dscale)[flat_head * blocks + block] = dscale;
}

// The gradient of the bias of a block of pairs: dS, summed over the batches and heads that share it.
template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void bias_gradient(const BackwardArgs& args, long long task, void* scratch) {
  constexpr int W = C.vector_floats;
  constexpr DType kType = bias_dtype_of(T);
  constexpr int kBytes = element_bytes(kType);
  using Vector = typename VectorTypes<W>::Vector;
  const long long row_blocks = C.row_blocks(args), key_blocks = C.key_blocks(args);
  const long long row_block = task / key_blocks % row_blocks, shared = task / key_blocks / row_blocks;
  const int bias_head = static_cast<int>(shared % args.bias_heads);
  const int heads = args.heads / args.bias_heads;  // that share it
  PairBlock b = block_in<T, C>(args, scratch);
  // Behind the scratch that all steps have.
  float* const sums = reinterpret_cast<float*>(b.visible) + C.aligned(C.block_keys());
  for (int i = 0; i < C.padded_rows() * C.pitch(); i += W) store(sums + i, Vector{});
  int head = 0, batch = static_cast<int>(shared / args.bias_heads);
  for (; batch < args.batch; batch += args.bias_batch)
    for (head = bias_head * heads; head < (bias_head + 1) * heads; ++head) {
      stage_rows<T, C>(args, batch, head, row_block, b);
      if (!stage_keys<T, C>(args, batch, head / (args.heads / args.kv_heads), task % key_blocks, b)) continue;
      if (b.key_end(b.rows - 1) == 0) continue;
      locate_bias<T>(args, batch, head, b);
      score_block<pair_traits(T), C>(b);
      for (int i = 0; i < b.rows; ++i)
        for (int j = 0; j < b.keys; j += W) {
          float* const to = sums + i * C.pitch() + j;
          store(to, load<Vector>(to) + load<Vector>(b.ds + i * C.pitch() + j));
        }
    }
  for (int i = 0; i < b.rows; ++i)
    for (int j = 0; j < b.keys; j += W) {
      char whole[W * kBytes];
      store_elements<kType, W>(whole, load<Vector>(sums + i * C.pitch() + j));
      const int count = b.keys - j < W ? b.keys - j : W;
      char* const to =
          static_cast<char*>(args.dbias) +
          bias_offset<T>(args, args.dbias_strides, static_cast<int>(shared / args.bias_heads), bias_head, b) +
          (i * args.dbias_strides.row + j) * kBytes;
      __builtin_memcpy(to, whole, static_cast<unsigned long>(count * kBytes));
    }
}

// The gradient of the scale of one head: the parts of all batches and blocks of query rows.
template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void scale_gradient(const BackwardArgs& args, int head) {
  const long long blocks = C.row_blocks(args);
  const double* const parts = in_workspace<double>(args, C.workspace(T, args).dscale);
  double sum = 0;
  for (int batch = 0; batch < args.batch; ++batch)
    for (long long block = 0; block < blocks; ++block)
      sum += parts[(static_cast<long long>(batch) * args.heads + head) * blocks + block];
  args.dscale[head] = static_cast<float>(sum);
}

// What several heads and batches add to.
template <Traits T, BackwardConfig C>
void shared_gradients(const BackwardArgs& args, long long task, void* scratch) {
  const long long bias_tasks = C.dbias_tasks(args);
  if constexpr (T.bias != Bias::none) {
    if (task < bias_tasks) return bias_gradient<T, C>(args, task, scratch);
  }
  scale_gradient<T, C>(args, static_cast<int>(task - bias_tasks));
}

}  // namespace fcsa::kernels::cpu::FCSA_CPU_ISA

#pragma GCC diagnostic pop
