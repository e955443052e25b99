// Backward pass on a CPU: f32 arithmetic on f32, bf16 and f16 storage. The same task gives the same bits
// whichever thread runs it, and what several tasks add to is added up in a fixed order. Self-contained (no
// standard headers).
#pragma once

#include "kernels/common/backward.h"
#include "kernels/cpu/backward_block.h"
#include "kernels/cpu/backward_config.h"
#include "kernels/cpu/backward_products.h"
#include "kernels/cpu/backward_results.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vectors.h"

#pragma GCC diagnostic push
// Vectors are passed between functions that are inlined: their calling convention doesn't matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace fcsa::kernels::cpu::FCSA_CPU_ISA {

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

// Adds what a block of query rows of one head gives to dK and dV of a block of keys; computes what they give
// to its dQ.
template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void add_block(const BackwardArgs& args, int batch, int head, long long row_block,
                               PairBlock& b) {
  stage_rows<T, C>(args, batch, head, row_block, b);
  locate_bias<T>(args, batch, head, b);
  score_block<pair_traits(T), C>(b);
  add_key_sums<pair_traits(T), C>(b, b.p, b.dout, b.dv);
  add_key_sums<pair_traits(T), C>(b, b.ds, b.q, b.dk);
  if constexpr (C.key_splits > 0) {
    clear_rows<T, C>(b.dq, C.padded_rows());
    add_query_sums<pair_traits(T), C>(b);
  }
}

// dK and dV of the blocks of keys of one task, and its sums of dQ. Who sees whom is a matter of
// b.visibility.
template <Traits T, BackwardConfig C>
void walk_over_rows(const BackwardArgs& args, long long task, PairBlock& b) {
  const long long tasks = C.key_tasks(args);
  const int kv = static_cast<int>(task / tasks), split = static_cast<int>(task % tasks);
  const int batch = kv / args.kv_heads, kv_head = kv % args.kv_heads;
  const int group = args.heads / args.kv_heads;
  const bool writes_dbias = T.bias != Bias::none && args.wants_dbias && !C.shares_bias(args);
  if constexpr (C.key_splits > 0) clear_query_sums<T, C>(args, split, batch, kv_head);
  for (long long block = split; block < C.key_blocks(args); block += tasks) {
    const bool any_shown = stage_keys<T, C>(args, batch, kv_head, block, b);
    clear_rows<T, C>(b.dk, C.padded_keys());
    clear_rows<T, C>(b.dv, C.padded_keys());
    Range seeing;  // blocks of rows that see any of the keys
    if (any_shown) seeing = blocks_of(b.visibility.queries_of(b.from(b.first_key, b.keys)), C.block_rows());
    const Range walked = writes_dbias ? Range{0, C.row_blocks(args)} : seeing;
    for (int head = kv_head * group; head < (kv_head + 1) * group; ++head)
      for (long long rows = walked.first; rows < walked.end; ++rows) {
        if (seeing.has(rows)) {
          add_block<T, C>(args, batch, head, rows, b);
          if constexpr (C.key_splits > 0)
            add_to_query_sums<T, C>(query_sums<T, C>(args, split, batch, head), b);
        } else {
          locate_rows<C>(args, rows, b);
          clear_pairs<C>(b.ds);
        }
        if (writes_dbias) store_bias_gradient<T, C>(args, batch, head, b, b.ds);
      }
    store_keys<T, C>(args, batch, kv_head, b);
  }
}

template <Traits T, BackwardConfig C>
void key_gradients(const BackwardArgs& args, long long task, void* scratch) {
  constexpr Traits kAnyMask = with_causal(T, false);
  PairBlock b = block_in<T, C>(scratch, visibility_of(T, args));
  walk_over_rows<kAnyMask, C>(args, task, b);
}

// dQ of a block of query rows by a walk over the keys of its own.
template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void walk_over_keys(const BackwardArgs& args, int batch, int head, PairBlock& b) {
  const int kv_head = head / (args.heads / args.kv_heads);
  const Range seen = blocks_of(b.visibility.keys_of(b.from(b.first_row, b.rows)), C.block_keys());
  clear_rows<T, C>(b.dq, C.padded_rows());
  for (long long block = seen.first; block < seen.end; ++block) {
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
  PairBlock b = block_in<T, C>(scratch, visibility_of(T, args));
  const long long block = b.visibility.grows() ? blocks - 1 - task % blocks : task % blocks;
  const int batch = static_cast<int>(flat_head / args.heads), head = static_cast<int>(flat_head % args.heads);
  locate_rows<C>(args, block, b);
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

// The gradient of a bias of a block of pairs: dS, summed over the batches and heads that share it.
template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void bias_gradient(const BackwardArgs& args, long long task, void* scratch) {
  constexpr int W = C.vector_floats;
  using Vector = typename VectorTypes<W>::Vector;
  const long long row_blocks = C.row_blocks(args), key_blocks = C.key_blocks(args);
  const long long row_block = task / key_blocks % row_blocks, shared = task / key_blocks / row_blocks;
  const int bias_batch = static_cast<int>(shared / args.bias_heads);
  const int bias_head = static_cast<int>(shared % args.bias_heads);
  const int heads = args.heads / args.bias_heads;  // of a batch that share it
  PairBlock b = block_in<T, C>(scratch, visibility_of(T, args));
  // Behind the scratch that all steps have.
  float* const sums = reinterpret_cast<float*>(b.visible) + C.aligned(C.block_keys());
  clear_pairs<C>(sums);
  for (int batch = bias_batch; batch < args.batch; batch += args.bias_batch)
    for (int head = bias_head * heads; head < (bias_head + 1) * heads; ++head) {
      stage_rows<T, C>(args, batch, head, row_block, b);
      const int kv_head = head / (args.heads / args.kv_heads);
      if (!stage_keys<T, C>(args, batch, kv_head, task % key_blocks, b)) continue;
      if (b.keys_of(0, b.rows).size() == 0) continue;
      locate_bias<T>(args, batch, head, b);
      score_block<pair_traits(T), C>(b);
      for (int i = 0; i < b.rows; ++i)
        for (int j = i * C.pitch(); j < i * C.pitch() + b.keys; j += W)
          store(sums + j, load<Vector>(sums + j) + load<Vector>(b.ds + j));
    }
  store_bias_gradient<T, C>(args, bias_batch, bias_head, b, sums);
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
