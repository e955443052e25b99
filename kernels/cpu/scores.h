// P = exp(S - constant) of a block of query rows: products, bias, mask and softmax, a register tile at a
// time.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/logits.h"
#include "kernels/common/visibility.h"
#include "kernels/cpu/config.h"
#include "kernels/cpu/vectors.h"

#pragma GCC diagnostic push
// Vectors are passed between functions that are inlined: their calling convention doesn't matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace fcsa::kernels::cpu::FCSA_CPU_ISA {

// A block of query rows of one head: where it is, and its scratch.
struct Block {
  int batch, head, kv_head;
  long long first_row;
  int rows;                   // that exist
  Visibility visibility;      // masks aside
  const unsigned char* mask;  // of this batch; null: every key is visible
  float magic;                // of exp2_of
  bool careful;               // what a row doesn't see may hold infinities or NaN
  float* q;                   // [block_rows][head_dim], times scale * log2(e) / logit_unit / |q|
  float* o;                   // [block_rows][head_dim]
  float* p;                   // [block_rows][p_pitch]
  float* sum;                 // [block_rows][vector_floats]
  float* maximum;             // [block_rows], base 2 over logit_unit
  int* visible;               // [block_keys], all ones: the mask shows the key
  const char* bias;           // of the block's first row
  long long bias_pitch;       // bytes from one row to the next
  const float* k;             // packed
  const float* v;             // packed, or in place
  long long v_stride;

  // `count` rows of the block as rows of the tensor, and the keys that any of them sees, masks aside.
  FCSA_CPU_INLINE Range rows_from(int row, int count) const {
    return {first_row + row, first_row + row + count};
  }
  FCSA_CPU_INLINE Range keys_of(int row, int count) const {
    return visibility.keys_of(rows_from(row, count));
  }
};

FCSA_CPU_INLINE constexpr DType bias_dtype(const Traits& traits) {
  return traits.bias == Bias::same ? traits.dtype : DType::f32;
}

enum class Shown { none, some, all };

// Which keys of a block the mask shows, written out as integers for the register tiles.
template <ForwardConfig C>
FCSA_CPU_INLINE Shown show_keys(const Block& b, long long first_key, int keys) {
  int count = 0;
  for (int j = 0; j < C.block_keys(); ++j) {
    const bool shown = j < keys && (!b.mask || b.mask[first_key + j] != 0);
    b.visible[j] = shown ? -1 : 0;
    count += shown;
  }
  return count == 0 ? Shown::none : count == keys ? Shown::all : Shown::some;
}

// Largest P under the running maximum, base 2: the maximum is raised only when a logit is further above it
// than this, so that O is almost never rescaled.
inline constexpr float kHeadroom = 10.0f;

// Raises the maxima of the rows of a register tile to what its scores (in b.p) need, and brings what has been
// summed up so far down to it.
template <Traits T, ForwardConfig C>
__attribute__((noinline, cold)) void raise_maxima(const Block& b, int row, int column) {
  for (int i = row; i < row + C.qk_rows; ++i) {
    float* const p = b.p + i * C.p_pitch();
    float highest = b.maximum[i];
    for (int j = column; j < column + C.key_step(); ++j) highest = p[j] > highest ? p[j] : highest;
    if (!(highest > b.maximum[i] + kHeadroom / logit_unit(T))) continue;
    const float factor = __builtin_exp2f((b.maximum[i] - highest) * logit_unit(T));
    b.maximum[i] = highest;
    for (int j = 0; j < column; ++j) p[j] *= factor;
    for (int d = 0; d < T.head_dim; ++d) b.o[i * T.head_dim + d] *= factor;
    for (int lane = 0; lane < C.vector_floats; ++lane) b.sum[i * C.vector_floats + lane] *= factor;
  }
}

// Adds the bias, in base 2 over logit_unit, to the scores of a register tile; where it is minus infinity,
// that is the score, whatever it was. Edge: its keys may go on past the last one.
template <Traits T, ForwardConfig C, bool Edge, typename Vector>
FCSA_CPU_INLINE void add_bias(const Block& b, int row, int column, long long first_key,
                              Vector (&s)[C.qk_rows][C.qk_vectors]) {
  constexpr int W = C.vector_floats;
  constexpr DType kType = bias_dtype(T);
  constexpr int kBytes = element_bytes(kType);
  const long long key = first_key + column;
  FCSA_CPU_UNROLL
  for (int i = 0; i < C.qk_rows; ++i) {
    const int existing = row + i < b.rows ? row + i : b.rows - 1;
    const char* bias = b.bias + existing * b.bias_pitch + key * kBytes;
    if constexpr (Edge) {
      if (key + C.key_step() > b.visibility.nk) {
        // Through the tile's place in P, which is not in use yet: nothing may be read past the end of a row.
        float* const whole = b.p + (row + i) * C.p_pitch() + column;
        __builtin_memcpy(whole, bias, static_cast<unsigned long>((b.visibility.nk - key) * kBytes));
        bias = reinterpret_cast<const char*>(whole);
      }
    }
    FCSA_CPU_UNROLL
    for (int j = 0; j < C.qk_vectors; ++j)
      add_bias_vector<W>(load_elements<kType, W>(bias + j * W * kBytes), kLog2E / logit_unit(T), s[i][j]);
  }
}

// P of one register tile: qk_rows from `row`, key_step keys from `column` of the block. Edge: some of its
// keys are not visible to some of its rows.
template <Traits T, ForwardConfig C, bool Edge>
FCSA_CPU_INLINE void score_tile(const Block& b, int row, int column, long long first_key) {
  constexpr int W = C.vector_floats;
  constexpr int R = C.qk_rows;
  constexpr int N = C.qk_vectors;
  constexpr int D = T.head_dim;
  using Vector = typename VectorTypes<W>::Vector;
  using Ints = typename VectorTypes<W>::Ints;
  const float* const q = b.q + row * D;
  const float* const k = b.k + (first_key + column) * D;
  float* const p = b.p + row * C.p_pitch() + column;

  Vector s[R][N] = {};
  for (int d = 0; d < D; d += C.unroll) {
    FCSA_CPU_UNROLL
    for (int u = 0; u < C.unroll; ++u) {
      Vector keys[N];
      FCSA_CPU_UNROLL
      for (int j = 0; j < N; ++j) keys[j] = load<Vector>(k + (d + u) * C.key_step() + j * W);
      FCSA_CPU_UNROLL
      for (int i = 0; i < R; ++i) {
        const float x = q[i * D + d + u];
        FCSA_CPU_UNROLL
        for (int j = 0; j < N; ++j) s[i][j] += x * keys[j];
      }
    }
  }

  if constexpr (T.bias != Bias::none) add_bias<T, C, Edge>(b, row, column, first_key, s);
  Ints seen[R][N];
  if constexpr (Edge) {
    FCSA_CPU_UNROLL
    for (int i = 0; i < R; ++i) {
      const Range keys = b.keys_of(row + i, 1);
      FCSA_CPU_UNROLL
      for (int j = 0; j < N; ++j) {
        seen[i][j] = lanes_in<W>(keys, first_key + column + j * W);
        if constexpr (T.key_mask) seen[i][j] &= load<Ints>(b.visible + column + j * W);
      }
    }
  }
  if constexpr (T.softmax == Softmax::running_maximum) {
    if constexpr (Edge) {
      FCSA_CPU_UNROLL
      for (int i = 0; i < R; ++i) {
        FCSA_CPU_UNROLL
        for (int j = 0; j < N; ++j) s[i][j] = seen[i][j] ? s[i][j] : Vector{} - __builtin_inff();
      }
    }
    Ints above = {};
    FCSA_CPU_UNROLL
    for (int i = 0; i < R; ++i) {
      Vector highest = s[i][0];
      FCSA_CPU_UNROLL
      for (int j = 1; j < N; ++j) highest = larger(highest, s[i][j]);
      above |= highest > b.maximum[row + i] + kHeadroom / logit_unit(T);
    }
    if (any<W>(above)) [[unlikely]] {
      // Through memory, so that the call has no registers to save.
      FCSA_CPU_UNROLL
      for (int i = 0; i < R; ++i) {
        FCSA_CPU_UNROLL
        for (int j = 0; j < N; ++j) store(p + i * C.p_pitch() + j * W, s[i][j]);
      }
      raise_maxima<T, C>(b, row, column);
      FCSA_CPU_UNROLL
      for (int i = 0; i < R; ++i) {
        FCSA_CPU_UNROLL
        for (int j = 0; j < N; ++j) s[i][j] = load<Vector>(p + i * C.p_pitch() + j * W);
      }
    }
  }
  const float lowest = kMagic - b.magic - 126.0f;
  FCSA_CPU_UNROLL
  for (int i = 0; i < R; ++i) {
    float* const sum = b.sum + (row + i) * W;
    Vector total = load<Vector>(sum);
    // No key seen yet: infinity minus infinity would not be a number.
    const float reference = b.maximum[row + i] == -__builtin_inff() ? 0.0f : b.maximum[row + i];
    FCSA_CPU_UNROLL
    for (int j = 0; j < N; ++j) {
      Vector x = s[i][j];
      if constexpr (T.softmax == Softmax::running_maximum) x = (x - reference) * logit_unit(T);
      // What is not a number stays so.
      if constexpr (T.softmax == Softmax::running_maximum && T.bias == Bias::none)
        x = x < -126.0f ? Vector{} - 126.0f : x;
      Vector e = exp2_of<W>(x, b.magic);
      // A bias of minus infinity hides the pair, whichever the softmax.
      if constexpr (T.bias != Bias::none) e = bits_as<Vector>(bits_as<Ints>(e) & ~(x < lowest));
      if constexpr (Edge) e = bits_as<Vector>(bits_as<Ints>(e) & seen[i][j]);
      total += e;
      store(p + i * C.p_pitch() + j * W, e);
    }
    store(sum, total);
  }
}

// P of the rows of a register tile and a whole block of keys; zeros where none of the rows sees any key.
// `all_shown`: the mask hides nothing here.
template <Traits T, ForwardConfig C>
FCSA_CPU_INLINE void score_rows(const Block& b, int row, long long first_key, int keys, bool all_shown) {
  constexpr int W = C.vector_floats;
  const Range all_see = all_shown ? b.visibility.keys_of_all(b.rows_from(row, C.qk_rows)) : Range{};
  const Range any_sees = b.keys_of(row, C.qk_rows);
  for (int column = 0; column < keys; column += C.key_step()) {
    const Range tile = {first_key + column, first_key + column + C.key_step()};
    if (all_see.has(tile)) {
      score_tile<T, C, false>(b, row, column, first_key);
    } else if (any_sees.meets(tile)) {
      score_tile<T, C, true>(b, row, column, first_key);
    } else {
      for (int i = row; i < row + C.qk_rows; ++i)
        for (int j = 0; j < C.key_step(); j += W)
          store(b.p + i * C.p_pitch() + column + j, typename VectorTypes<W>::Vector{});
    }
  }
}

}  // namespace fcsa::kernels::cpu::FCSA_CPU_ISA

#pragma GCC diagnostic pop
