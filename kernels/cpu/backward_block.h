// A block of query rows and keys of one head in the backward pass: its scratch, and what is copied there.
#pragma once

#include "kernels/common/logits.h"
#include "kernels/common/visibility.h"
#include "kernels/cpu/backward_config.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vectors.h"

#pragma GCC diagnostic push
// Vectors are passed between functions that are inlined: their calling convention doesn't matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace fcsa::kernels::cpu::FCSA_CPU_ISA {

FCSA_CPU_INLINE constexpr DType bias_dtype_of(const Traits& traits) {
  return traits.bias == Bias::same ? traits.dtype : DType::f32;
}

// A block, and the scratch of the task that works on it.
struct PairBlock {
  long long first_row, first_key;
  int rows, keys;  // that exist
  Visibility visibility;
  bool all_shown;        // the mask hides none of the keys
  bool careful_rows;     // Q or dO has infinities or NaN, which times a P or dS of 0 is NaN
  bool careful_keys;     // K has
  const char* bias;      // of the first row and key
  long long bias_pitch;  // bytes from one row to the next
  float* q;              // [padded_rows][head_dim], times scale * log2(e) / unit / |q|
  float* dout;           // [padded_rows][head_dim]
  float* lse;            // [padded_rows], base 2 over unit, infinite: the row sees no key
  float* delta;          // [padded_rows]
  float* k;              // [padded_keys][head_dim], over |k|
  float* transposed_k;   // [key_steps][head_dim][key_step], over |k|
  float* transposed_v;   // [key_steps][head_dim][key_step]
  float* p;              // [padded_rows][pitch]
  float* ds;             // [padded_rows][pitch]
  float* dq;             // [padded_rows][head_dim]
  float* dk;             // [padded_keys][head_dim]
  float* dv;             // [padded_keys][head_dim]
  int* visible;          // [block_keys], all ones: the mask shows the key

  // Keys of the block that any of its `count` rows from `row` on sees, those that all of them see, and rows
  // of the block that see any of its `count` keys from `key` on, masks aside. All count from the block's
  // first.
  FCSA_CPU_INLINE Range keys_of(int row, int count) const {
    return part_of(visibility.keys_of(from(first_row + row, count)), first_key, keys);
  }
  FCSA_CPU_INLINE Range keys_of_all(int row, int count) const {
    return part_of(visibility.keys_of_all(from(first_row + row, count)), first_key, keys);
  }
  FCSA_CPU_INLINE Range rows_of(int key, int count) const {
    return part_of(visibility.queries_of(from(first_key + key, count)), first_row, rows);
  }

  FCSA_CPU_INLINE static constexpr Range from(long long first, int count) { return {first, first + count}; }
};

// What doesn't look at Traits::causal is instantiated once for both.
constexpr Traits with_causal(Traits traits, bool causal) {
  traits.causal = causal;
  return traits;
}

template <typename Element>
FCSA_CPU_INLINE Element* in_workspace(const Args& args, long long byte) {
  return reinterpret_cast<Element*>(static_cast<char*>(args.workspace) + byte);
}

template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE PairBlock block_in(void* scratch, const Visibility& visibility) {
  PairBlock b = {};
  b.visibility = visibility;
  float* free = static_cast<float*>(scratch);
  const auto take = [&](int floats) __attribute__((always_inline)) {
    float* const part = free;
    free += floats;
    return part;
  };
  b.q = take(C.row_floats(T));
  b.dout = take(C.row_floats(T));
  b.dq = take(C.row_floats(T));
  b.k = take(C.key_floats(T));
  b.transposed_k = take(C.key_floats(T));
  b.transposed_v = take(C.key_floats(T));
  b.dk = take(C.key_floats(T));
  b.dv = take(C.key_floats(T));
  b.p = take(C.pair_floats());
  b.ds = take(C.pair_floats());
  b.lse = take(C.aligned(C.padded_rows()));
  b.delta = take(C.aligned(C.padded_rows()));
  b.visible = reinterpret_cast<int*>(take(C.aligned(C.block_keys())));
  return b;
}

// `length` items in blocks of `size`: how many there are in block `index`.
FCSA_CPU_INLINE int count_in(long long length, long long index, int size) {
  return length - index * size < size ? static_cast<int>(length - index * size) : size;
}

template <BackwardConfig C>
FCSA_CPU_INLINE void locate_rows(const Args& args, long long block, PairBlock& b) {
  b.first_row = block * C.block_rows();
  b.rows = count_in(args.nq, block, C.block_rows());
}

// Logits, in base 2, are held over this: as in the forward pass (logits.h), whichever variant that was.
FCSA_CPU_INLINE constexpr float backward_unit(const Traits& traits) {
  return traits.bias != Bias::none ? 4.0f : 1.0f;
}

// Query rows of a block of one head: Q, dO, lse, delta. Those that see no key are zero.
template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void stage_rows(const BackwardArgs& args, int batch, int head, long long block,
                                PairBlock& b) {
  constexpr int W = C.vector_floats;
  constexpr int D = T.head_dim;
  constexpr int kWidth = D / T.groups;
  locate_rows<C>(args, block, b);
  const auto workspace = C.workspace(T, args);
  const long long index = (static_cast<long long>(batch) * args.heads + head) * args.nq + b.first_row;
  const float* const delta = in_workspace<float>(args, workspace.delta) + index;
  const float* const inverse = in_workspace<float>(args, workspace.inverse) + index * T.groups;
  constexpr float kBase = kLog2E / backward_unit(T);
  const float scale = scale_of<T>(args, head), factor = safe_scale(T, scale) * kBase;
  const float lse_factor = static_cast<float>(static_cast<double>(kBase) / excess_of<T>(scale));
  b.careful_rows = false;
  for (int i = 0; i < b.rows; ++i) {
    const long long row = b.first_row + i;
    const float lse = args.lse[index + i];
    if (lse == -__builtin_inff()) {
      clear_row<T, W>(b.q + i * D);
      clear_row<T, W>(b.dout + i * D);
      b.lse[i] = __builtin_inff();
      b.delta[i] = 0.0f;
      continue;
    }
    load_row<T, W>(row_of<T>(args.q, args.q_strides, batch, head, row), b.q + i * D);
    load_row<T, W>(row_of<T>(args.dout, args.dout_strides, batch, head, row), b.dout + i * D);
    if constexpr (T.l2norm_qk) {
      for (int g = 0; g < T.groups; ++g)
        multiply_row_twice<kWidth, W>(b.q + i * D + g * kWidth, inverse[i * T.groups + g], factor);
    } else {
      multiply_row<D, W>(b.q + i * D, factor);
    }
    b.careful_rows |= !all_finite<W>(b.q + i * D, D) || !all_finite<W>(b.dout + i * D, D);
    b.lse[i] = lse * lse_factor;
    b.delta[i] = delta[i];
  }
}

template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void clear_rows(float* rows, int count) {
  for (int i = 0; i < count; ++i) clear_row<T, C.vector_floats>(rows + i * T.head_dim);
}

// [rows][head_dim] to [key_steps][head_dim][key_step], W rows at a time.
template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE void transpose_rows(const float* rows, int key, float* to) {
  to += key / C.key_step() * C.key_step() * T.head_dim + key % C.key_step();
  for (int d = 0; d < T.head_dim; ++d)
    for (int i = 0; i < C.vector_floats; ++i) to[d * C.key_step() + i] = rows[i * T.head_dim + d];
}

// Keys of a block of one key/value head: K, K^T, V^T and the mask. Those past the end, and those that the
// mask hides, are zero. False when it hides all of them: then nothing else has been done.
template <Traits T, BackwardConfig C>
FCSA_CPU_INLINE bool stage_keys(const BackwardArgs& args, int batch, int kv_head, long long block,
                                PairBlock& b) {
  constexpr int W = C.vector_floats;
  constexpr int D = T.head_dim;
  b.first_key = block * C.block_keys();
  b.keys = count_in(args.nk, block, C.block_keys());
  b.all_shown = true;
  if constexpr (T.key_mask) {
    const unsigned char* const mask =
        args.key_mask ? args.key_mask + batch * args.key_mask_stride + b.first_key : nullptr;
    int count = 0;
    for (int j = 0; j < C.block_keys(); ++j) {
      const bool shown = j < b.keys && (!mask || mask[j] != 0);
      b.visible[j] = shown ? -1 : 0;
      count += shown;
    }
    if (count == 0) return false;
    b.all_shown = count == b.keys;
  }
  b.careful_keys = false;
  // V passes through the place of dV, which is not in use yet.
  for (int key = 0; key < ceil_div(b.keys, C.key_step()) * C.key_step(); key += W) {
    float* const keys = b.k + key * D;
    float* const values = b.dv + key * D;
    for (int i = 0; i < W; ++i) {
      const long long existing = b.first_key + key + i;
      if (key + i < b.keys && (!T.key_mask || b.visible[key + i] != 0)) {
        load_row<T, W>(row_of<T>(args.k, args.k_strides, batch, kv_head, existing), keys + i * D);
        scale_row<T, W>(keys + i * D, 1.0f, args.eps);
        b.careful_keys |= !all_finite<W>(keys + i * D, D);
        load_row<T, W>(row_of<T>(args.v, args.v_strides, batch, kv_head, existing), values + i * D);
      } else {
        clear_row<T, W>(keys + i * D);
        clear_row<T, W>(values + i * D);
      }
    }
    transpose_rows<T, C>(keys, key, b.transposed_k);
    transpose_rows<T, C>(values, key, b.transposed_v);
  }
  return true;
}

// Where the bias, or its gradient, of the first row and key of the block is.
template <Traits T>
FCSA_CPU_INLINE long long bias_offset(const BackwardArgs& args, const Strides& strides, int batch, int head,
                                      const PairBlock& b) {
  const long long element = batch % args.bias_batch * strides.batch +
                            (args.bias_heads == 1 ? 0 : head) * strides.head + b.first_row * strides.row +
                            b.first_key;
  return element * element_bytes(bias_dtype_of(T));
}

// Once rows and keys are there.
template <Traits T>
FCSA_CPU_INLINE void locate_bias(const BackwardArgs& args, int batch, int head, PairBlock& b) {
  if constexpr (T.bias != Bias::none) {
    b.bias = static_cast<const char*>(args.bias) + bias_offset<T>(args, args.bias_strides, batch, head, b);
    b.bias_pitch = args.bias_strides.row * element_bytes(bias_dtype_of(T));
  }
}

}  // namespace fcsa::kernels::cpu::FCSA_CPU_ISA

#pragma GCC diagnostic pop
