// The products of the backward pass on a CPU, a register tile at a time: P and dS of a block, and what is
// summed up of them.
#pragma once

#include "kernels/cpu/backward_block.h"

#pragma GCC diagnostic push
// Vectors are passed between functions that are inlined: their calling convention doesn't matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace fcsa::kernels::cpu::FCSA_CPU_ISA {

// What the products depend on: all operands are floats by then, but for the bias, so that kernels of several
// types can share them.
constexpr Traits pair_traits(const Traits& traits) {
  return {.dtype = traits.bias == Bias::same ? traits.dtype : DType::f32,
          .head_dim = traits.head_dim,
          .key_mask = traits.key_mask,
          .bias = traits.bias};
}

// A register tile of rows x vectors, and where its operands are: a[row * a_row + step * a_step] and the
// vectors from b[step * b_step] on.
struct ProductTile {
  int vector_floats, rows, vectors;
  int a_row, a_step, b_step;
  int unroll;
};

// c += a b over so many steps.
template <ProductTile S, typename Vector>
FCSA_CPU_INLINE void add_product(const float* a, const float* b, int steps, Vector (&c)[S.rows][S.vectors]) {
  const auto add_step = [&](const float* weights, const float* values) __attribute__((always_inline)) {
    Vector operands[S.vectors];
    FCSA_CPU_UNROLL
    for (int j = 0; j < S.vectors; ++j) operands[j] = load<Vector>(values + j * S.vector_floats);
    FCSA_CPU_UNROLL
    for (int i = 0; i < S.rows; ++i) {
      const float x = weights[i * S.a_row];
      FCSA_CPU_UNROLL
      for (int j = 0; j < S.vectors; ++j) c[i][j] += x * operands[j];
    }
  };
  int step = 0;
  for (; step + S.unroll <= steps; step += S.unroll, a += S.unroll * S.a_step, b += S.unroll * S.b_step) {
    FCSA_CPU_UNROLL
    for (int u = 0; u < S.unroll; ++u) add_step(a + u * S.a_step, b + u * S.b_step);
  }
  if constexpr (S.unroll > 1)
    for (; step < steps; ++step, a += S.a_step, b += S.b_step) add_step(a, b);
}

// Adds the bias to the logits of a register tile; where it is minus infinity, that is the logit. Edge: its
// keys may go on past the last one.
template <Traits T, BackwardConfig C, bool Edge, typename Vector>
FCSA_CPU_INLINE void add_bias_to(const PairBlock& b, int row, int column,
                                 Vector (&s)[C.score_rows][C.score_vectors]) {
  constexpr int W = C.vector_floats;
  constexpr DType kType = bias_dtype_of(T);
  constexpr int kBytes = element_bytes(kType);
  FCSA_CPU_UNROLL
  for (int i = 0; i < C.score_rows; ++i) {
    const int existing = row + i < b.rows ? row + i : b.rows - 1;
    const char* bias = b.bias + existing * b.bias_pitch + column * kBytes;
    if constexpr (Edge) {
      if (column + C.key_step() > b.keys) {
        // Through the tile's place in P, which is not in use yet: nothing may be read past the end of a row.
        float* const whole = b.p + (row + i) * C.pitch() + column;
        __builtin_memcpy(whole, bias, static_cast<unsigned long>((b.keys - column) * kBytes));
        bias = reinterpret_cast<const char*>(whole);
      }
    }
    FCSA_CPU_UNROLL
    for (int j = 0; j < C.score_vectors; ++j)
      add_bias_vector<W>(load_elements<kType, W>(bias + j * W * kBytes), kLog2E / backward_unit(T), s[i][j]);
  }
}

// P = exp(S - lse) and dS = P (dP - delta) of one register tile: score_rows from `row`, key_step keys from
// `column` of the block. Edge: some of its keys are not visible to some of its rows.
template <Traits T, BackwardConfig C, bool Edge>
FCSA_CPU_INLINE void score_pairs(const PairBlock& b, int row, int column) {
  constexpr int W = C.vector_floats;
  constexpr int R = C.score_rows;
  constexpr int N = C.score_vectors;
  constexpr int D = T.head_dim;
  constexpr ProductTile kTile{.vector_floats = W,
                              .rows = R,
                              .vectors = N,
                              .a_row = D,
                              .a_step = 1,
                              .b_step = C.key_step(),
                              .unroll = C.unroll};
  using Vector = typename VectorTypes<W>::Vector;
  using Ints = typename VectorTypes<W>::Ints;
  float* const p = b.p + row * C.pitch() + column;
  float* const ds = b.ds + row * C.pitch() + column;

  Vector s[R][N] = {};
  add_product<kTile>(b.q + row * D, b.transposed_k + column * D, D, s);
  if constexpr (T.bias != Bias::none) add_bias_to<T, C, Edge>(b, row, column, s);
  FCSA_CPU_UNROLL
  for (int i = 0; i < R; ++i) {
    const Range keys = Edge ? b.keys_of(row + i, 1) : Range{};
    FCSA_CPU_UNROLL
    for (int j = 0; j < N; ++j) {
      // No logit exceeds lse, but for the rounding of large ones.
      Vector x = (s[i][j] - b.lse[row + i]) * backward_unit(T);
      x = x > 0.0f ? Vector{} : x;
      // Smaller is zero: of minus infinity too, which a bias may be.
      Ints seen = ~(x < -126.0f);
      if constexpr (Edge) {
        seen &= lanes_in<W>(keys, column + j * W);
        if constexpr (T.key_mask) seen &= load<Ints>(b.visible + column + j * W);
      }
      store(p + i * C.pitch() + j * W, bits_as<Vector>(bits_as<Ints>(exp2_of<W>(x, kMagic)) & seen));
    }
  }

  Vector t[R][N] = {};
  add_product<kTile>(b.dout + row * D, b.transposed_v + column * D, D, t);
  FCSA_CPU_UNROLL
  for (int i = 0; i < R; ++i) {
    FCSA_CPU_UNROLL
    for (int j = 0; j < N; ++j) {
      const Vector weights = load<Vector>(p + i * C.pitch() + j * W);
      const Vector product = weights * (t[i][j] - b.delta[row + i]);
      store(ds + i * C.pitch() + j * W, bits_as<Vector>(bits_as<Ints>(product) & (weights != 0.0f)));
    }
  }
}

// P and dS of a block; zeros in register tiles that are not visible.
template <Traits T, BackwardConfig C>
void score_block(const PairBlock& b) {
  using Vector = typename VectorTypes<C.vector_floats>::Vector;
  for (int column = 0; column < b.keys; column += C.key_step()) {
    for (int row = 0; row < b.rows; row += C.score_rows) {
      const Range all_see = b.all_shown ? b.keys_of_all(row, C.score_rows) : Range{};
      const Range tile = {column, column + C.key_step()};
      if (all_see.has(tile)) {
        score_pairs<T, C, false>(b, row, column);
      } else if (b.keys_of(row, C.score_rows).meets(tile)) {
        score_pairs<T, C, true>(b, row, column);
      } else {
        for (int i = row; i < row + C.score_rows; ++i)
          for (int j = column; j < column + C.key_step(); j += C.vector_floats) {
            store(b.p + i * C.pitch() + j, Vector{});
            store(b.ds + i * C.pitch() + j, Vector{});
          }
      }
    }
  }
}

// to += a b for the channels of sum_rows rows. AddressRow, AddressStep: distances in `a`.
template <Traits T, BackwardConfig C, int AddressRow, int AddressStep>
FCSA_CPU_INLINE void add_sums(const float* a, const float* b, int steps, float* to) {
  constexpr int W = C.vector_floats;
  constexpr int D = T.head_dim;
  constexpr ProductTile kTile{.vector_floats = W,
                              .rows = C.sum_rows,
                              .vectors = C.sum_vectors,
                              .a_row = AddressRow,
                              .a_step = AddressStep,
                              .b_step = D,
                              .unroll = C.unroll};
  using Vector = typename VectorTypes<W>::Vector;
  for (int channel = 0; channel < D; channel += C.sum_channels()) {
    Vector sums[C.sum_rows][C.sum_vectors];
    FCSA_CPU_UNROLL
    for (int i = 0; i < C.sum_rows; ++i) {
      FCSA_CPU_UNROLL
      for (int j = 0; j < C.sum_vectors; ++j) sums[i][j] = load<Vector>(to + i * D + channel + j * W);
    }
    add_product<kTile>(a, b + channel, steps, sums);
    FCSA_CPU_UNROLL
    for (int i = 0; i < C.sum_rows; ++i) {
      FCSA_CPU_UNROLL
      for (int j = 0; j < C.sum_vectors; ++j) store(to + i * D + channel + j * W, sums[i][j]);
    }
  }
}

// The same where b may have infinities or NaN, without what has a weight of 0.
template <Traits T, BackwardConfig C, int AddressRow, int AddressStep>
__attribute__((noinline, cold)) void add_sums_carefully(const float* a, const float* b, int steps,
                                                        float* to) {
  for (int i = 0; i < C.sum_rows; ++i)
    for (int step = 0; step < steps; ++step) {
      const float weight = a[i * AddressRow + step * AddressStep];
      if (weight == 0.0f) continue;
      for (int d = 0; d < T.head_dim; ++d) to[i * T.head_dim + d] += weight * b[step * T.head_dim + d];
    }
}

// dV += P^T dO, or dK += dS^T Q.
template <Traits T, BackwardConfig C>
void add_key_sums(const PairBlock& b, const float* weights, const float* rows, float* to) {
  for (int key = 0; key < b.keys; key += C.sum_rows) {
    const Range seeing = b.rows_of(key, C.sum_rows);
    const float* const a = weights + seeing.first * C.pitch() + key;
    const float* const first_row = rows + seeing.first * T.head_dim;
    const int steps = static_cast<int>(seeing.size());
    if (b.careful_rows) [[unlikely]] {
      add_sums_carefully<T, C, 1, C.pitch()>(a, first_row, steps, to + key * T.head_dim);
    } else {
      add_sums<T, C, 1, C.pitch()>(a, first_row, steps, to + key * T.head_dim);
    }
  }
}

// dQ += dS K.
template <Traits T, BackwardConfig C>
void add_query_sums(const PairBlock& b) {
  for (int row = 0; row < b.rows; row += C.sum_rows) {
    const Range seen = b.keys_of(row, C.sum_rows);
    const float* const a = b.ds + row * C.pitch() + seen.first;
    const float* const first_key = b.k + seen.first * T.head_dim;
    const int steps = static_cast<int>(seen.size());
    if (b.careful_keys) [[unlikely]] {
      add_sums_carefully<T, C, C.pitch(), 1>(a, first_key, steps, b.dq + row * T.head_dim);
    } else {
      add_sums<T, C, C.pitch(), 1>(a, first_key, steps, b.dq + row * T.head_dim);
    }
  }
}

}  // namespace fcsa::kernels::cpu::FCSA_CPU_ISA

#pragma GCC diagnostic pop
