// Forward pass on a CPU: f32 arithmetic on f32, bf16 and f16 storage. Self-contained (no standard headers)
// and pasted once per instruction set into emitted headers.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/logits.h"
#include "kernels/common/visibility.h"
#include "kernels/cpu/config.h"
#include "kernels/cpu/prepare.h"
#include "kernels/cpu/scores.h"
#include "kernels/cpu/vectors.h"

#pragma GCC diagnostic push
// Vectors are passed between functions that are inlined: their calling convention doesn't matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace fcsa::kernels::cpu::FCSA_CPU_ISA {

template <Traits T, ForwardConfig C>
FCSA_CPU_INLINE Block locate(const Args& args, long long task, void* scratch) {
  Block b;
  const long long blocks = ceil_div(args.nq, C.block_rows());
  const int head = static_cast<int>(task / blocks);
  b.batch = head / args.heads;
  b.head = head % args.heads;
  b.kv_head = b.head / (args.heads / args.kv_heads);
  // The blocks with the most keys start first.
  b.visibility = visibility_of(T, args);
  b.first_row = (b.visibility.grows() ? blocks - 1 - task % blocks : task % blocks) * C.block_rows();
  b.rows = args.nq - b.first_row < C.block_rows() ? static_cast<int>(args.nq - b.first_row) : C.block_rows();
  b.mask = T.key_mask && args.key_mask ? args.key_mask + b.batch * args.key_mask_stride : nullptr;
  b.q = static_cast<float*>(scratch);
  b.o = b.q + C.q_floats(T);
  b.p = b.o + C.q_floats(T);
  b.sum = b.p + C.p_floats();
  b.maximum = b.sum + C.sum_floats();
  b.visible = reinterpret_cast<int*>(b.maximum + C.maximum_floats());
  if constexpr (T.bias != Bias::none) {
    constexpr int kBytes = element_bytes(bias_dtype(T));
    const Strides& strides = args.bias_strides;
    const long long first = b.batch % args.bias_batch * strides.batch +
                            (args.bias_heads == 1 ? 0 : b.head) * strides.head + b.first_row * strides.row;
    b.bias = static_cast<const char*>(args.bias) + first * kBytes;
    b.bias_pitch = strides.row * kBytes;
  }
  const long long packed_head = static_cast<long long>(b.batch) * args.kv_heads + b.kv_head;
  b.k = static_cast<const float*>(args.workspace) + packed_head * C.padded_keys(args.nk) * T.head_dim;
  if constexpr (C.packs_v(T)) {
    b.v = b.k + C.packed_floats(T, args);
    b.v_stride = T.head_dim;
  } else {
    b.v =
        static_cast<const float*>(args.v) + b.batch * args.v_strides.batch + b.kv_head * args.v_strides.head;
    b.v_stride = args.v_strides.row;
  }
  return b;
}

// Rounded to an integer, which scales P by a power of two: exact.
template <Traits T>
FCSA_CPU_INLINE float exponent_offset(const Args& args) {
  if constexpr (T.softmax == Softmax::running_maximum) return 0.0f;
  return static_cast<float>(static_cast<int>(bound_offset_log2(DType::f32, args.bound)));
}

template <Traits T, ForwardConfig C>
FCSA_CPU_INLINE void start(const Args& args, const Block& b, int rows) {
  constexpr int W = C.vector_floats;
  constexpr int D = T.head_dim;
  const float factor = safe_scale(T, scale_of<T>(args, b.head)) * (kLog2E / logit_unit(T));
  for (int i = 0; i < rows; ++i) {
    float* const row = b.q + i * D;
    const char* const q =
        row_of<T>(args.q, args.q_strides, b.batch, b.head, b.first_row + (i < b.rows ? i : b.rows - 1));
    load_row<T, W>(q, row);
    scale_row<T, W>(row, factor, args.eps);
    clear_row<T, W>(b.o + i * D);
    store(b.sum + i * W, typename VectorTypes<W>::Vector{});
    b.maximum[i] = -__builtin_inff();
  }
}

// O += P V for one register tile: pv_rows from `row`, pv_vectors of channels from `channel`, these keys of
// the block.
template <Traits T, ForwardConfig C>
FCSA_CPU_INLINE void weigh_tile(const Block& b, int row, int channel, long long first_key,
                                const Range& columns) {
  constexpr int W = C.vector_floats;
  constexpr int R = C.pv_rows;
  constexpr int N = C.pv_vectors;
  constexpr int D = T.head_dim;
  using Vector = typename VectorTypes<W>::Vector;
  const long long stride = C.packs_v(T) ? D : b.v_stride;
  const float* v = b.v + (first_key + columns.first) * stride + channel;
  const float* p = b.p + row * C.p_pitch() + columns.first;
  const int keys = static_cast<int>(columns.size());
  float* const to = b.o + row * D + channel;

  Vector o[R][N];
  FCSA_CPU_UNROLL
  for (int i = 0; i < R; ++i) {
    FCSA_CPU_UNROLL
    for (int j = 0; j < N; ++j) o[i][j] = load<Vector>(to + i * D + j * W);
  }
  const auto step = [&](const float* weights, const float* values) __attribute__((always_inline)) {
    Vector channels[N];
    FCSA_CPU_UNROLL
    for (int j = 0; j < N; ++j) channels[j] = load<Vector>(values + j * W);
    FCSA_CPU_UNROLL
    for (int i = 0; i < R; ++i) {
      const float x = weights[i * C.p_pitch()];
      FCSA_CPU_UNROLL
      for (int j = 0; j < N; ++j) o[i][j] += x * channels[j];
    }
  };
  int key = 0;
  for (; key + C.unroll <= keys; key += C.unroll, p += C.unroll, v += C.unroll * stride) {
    FCSA_CPU_UNROLL
    for (int u = 0; u < C.unroll; ++u) step(p + u, v + u * stride);
  }
  if constexpr (C.unroll > 1)
    for (; key < keys; ++key, ++p, v += stride) step(p, v);
  FCSA_CPU_UNROLL
  for (int i = 0; i < R; ++i) {
    FCSA_CPU_UNROLL
    for (int j = 0; j < N; ++j) store(to + i * D + j * W, o[i][j]);
  }
}

// The same where 0 times what a row doesn't see may not be a number.
template <Traits T, ForwardConfig C>
__attribute__((noinline, cold)) void weigh_carefully(const Block& b, int row, int channel,
                                                     long long first_key, const Range& columns) {
  const long long stride = C.packs_v(T) ? T.head_dim : b.v_stride;
  const float* const v = b.v + first_key * stride + channel;
  for (int i = row; i < row + C.pv_rows; ++i)
    for (long long key = columns.first; key < columns.end; ++key) {
      const float p = b.p[i * C.p_pitch() + key];
      if (p == 0.0f) continue;
      float* const o = b.o + i * T.head_dim + channel;
      for (int d = 0; d < C.pv_channels(); ++d) o[d] += p * v[key * stride + d];
    }
}

template <Traits T, ForwardConfig C>
FCSA_CPU_INLINE void finish(const Args& args, const Block& b, float offset) {
  constexpr int W = C.vector_floats;
  constexpr int D = T.head_dim;
  using Vector = typename VectorTypes<W>::Vector;
  const double natural =
      0.6931471805599453 * excess_of<T>(scale_of<T>(args, b.head)) * static_cast<double>(logit_unit(T));
  const long long lse_row = (static_cast<long long>(b.batch) * args.heads + b.head) * args.nq + b.first_row;
  for (int i = 0; i < b.rows; ++i) {
    const float sum = sum_of<W>(load<Vector>(b.sum + i * W));
    const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;
    char* const to = const_cast<char*>(row_of<T>(args.o, args.o_strides, b.batch, b.head, b.first_row + i));
    for (int d = 0; d < D; d += W)
      store_elements<T.dtype, W>(to + d * element_bytes(T.dtype), load<Vector>(b.o + i * D + d) * inverse);
    const double exponent = T.softmax == Softmax::running_maximum ? b.maximum[i] : offset;
    args.lse[lse_row + i] =
        sum == 0.0f ? -__builtin_inff()
                    : static_cast<float>(__builtin_log(static_cast<double>(sum)) + exponent * natural);
  }
}

// What the main loop depends on: not on the storage type, unless the bias has it, so that kernels of several
// types can share it.
template <ForwardConfig C>
constexpr Traits loop_traits(const Traits& traits) {
  const DType packed = C.packs_v(traits) ? DType::bf16 : DType::f32;
  return {.dtype = traits.bias == Bias::same ? traits.dtype : packed,
          .head_dim = traits.head_dim,
          .key_mask = traits.key_mask,
          .bias = traits.bias,
          .softmax = traits.softmax};
}

// Sums up P V and P of a block over the keys that its rows see, for `rows` rows (a multiple of pv_rows).
template <Traits T, ForwardConfig C>
void walk_keys(const Block& b, int rows) {
  const Range seen = b.keys_of(0, b.rows), blocks = blocks_of(seen, C.block_keys());
  for (long long block = blocks.first; block < blocks.end; ++block) {
    const long long first_key = block * C.block_keys(), left = seen.end - first_key;
    const int keys = left < C.block_keys() ? static_cast<int>(left) : C.block_keys();
    Shown shown = Shown::all;
    if constexpr (T.key_mask) shown = show_keys<C>(b, first_key, keys);
    if (shown == Shown::none) continue;
    for (int row = 0; row < rows; row += C.qk_rows)
      score_rows<T, C>(b, row, first_key, keys, shown == Shown::all);
    for (int row = 0; row < rows; row += C.pv_rows) {
      const Range weighed = part_of(b.keys_of(row, C.pv_rows), first_key, keys);
      for (int channel = 0; channel < T.head_dim && weighed.size() > 0; channel += C.pv_channels())
        if (b.careful) [[unlikely]] {
          weigh_carefully<T, C>(b, row, channel, first_key, weighed);
        } else {
          weigh_tile<T, C>(b, row, channel, first_key, weighed);
        }
    }
  }
}

// block_rows() query rows of one head.
template <Traits T, ForwardConfig C>
void forward(const Args& args, long long task, void* scratch) {
  static_assert(C.is_valid(T), "the configuration doesn't fit the problem");
  Block b = locate<T, C>(args, task, scratch);
  const float offset = exponent_offset<T>(args);
  b.magic = kMagic - offset;
  b.careful = false;
  // Whole register tiles of P V, and the whole register tiles of Q K^T that cover them.
  const int weighed_rows = static_cast<int>(ceil_div(b.rows, C.pv_rows)) * C.pv_rows;
  const int scored_rows = static_cast<int>(ceil_div(weighed_rows, C.qk_rows)) * C.qk_rows;
  start<T, C>(args, b, scored_rows);
  walk_keys<loop_traits<C>(T), C>(b, weighed_rows);
  if (!all_finite<C.vector_floats>(b.o, b.rows * T.head_dim)) [[unlikely]] {
    b.careful = true;
    start<T, C>(args, b, scored_rows);
    walk_keys<loop_traits<C>(T), C>(b, weighed_rows);
  }
  finish<T, C>(args, b, offset);
}

}  // namespace fcsa::kernels::cpu::FCSA_CPU_ISA

#pragma GCC diagnostic pop
