// How tiles, the numbers of their rows and the bias get into shared memory and registers: members of
// BackwardPass.
#pragma once

#include "kernels/mma/backward_pass.cuh"

namespace fcsa::kernels::mma {

template <Traits T, BackwardConfig C, Pass pass>
template <int rows>
FCSA_DEVICE void BackwardPass<T, C, pass>::load_rows(unsigned to, const Source& from, int first,
                                                     int limit) const {
  constexpr int kPieces = Rows::kPieces, kTotal = rows * kPieces;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < kTotal; i += kThreads) {
    const int row = i / kPieces, piece = i % kPieces;
    const bool exists = first + row < limit;
    ptx::copy_async_16(to + Rows::offset(0, row, 0, piece),
                       exists ? from.rows + (first + row) * from.row_bytes + 16 * piece : from.rows, exists);
  }
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::load_owned(int b, int head) const {
  if constexpr (kOwnsKeys) {
    load_rows<kRows>(owned, keys_of(b, head), first_row, args.nk);
    load_rows<kRows>(owned + kRows * Rows::kPitch, values_of(b, head), first_row, args.nk);
  } else {
    load_rows<kRows>(owned, queries_of(b, head), first_row, args.nq);
    load_rows<kRows>(owned + kRows * Rows::kPitch, gradients_of(b, head), first_row, args.nq);
  }
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::load_numbers(unsigned to, int slot, const float* from) const {
  const int i = static_cast<int>(threadIdx.x) - 32 * (slot % kShape.warps);
  for (int piece = i < 0 ? kBlock : i; piece < kBlock / 4; piece += kThreads)
    ptx::copy_async_16(to + 4 * kBlock * slot + 16 * piece, from + 4 * piece, true);
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::load_walked(unsigned to, int b, int head, int first) const {
  if constexpr (kOwnsKeys) {
    load_rows<kBlock>(to, queries_of(b, head), first, args.nq);
    load_rows<kBlock>(second_tile(to), gradients_of(b, head), first, args.nq);
    const long long at = (1LL * b * args.heads + head) * C.padded_queries(args) + first;
    load_numbers(columns(to), 0, numbers().lse + at);
    load_numbers(columns(to), 1, numbers().delta + at);
    if constexpr (C.uses_norms(T)) load_numbers(columns(to), 2, numbers().query_norm + at);
  } else {
    load_rows<kBlock>(to, keys_of(b, head), first, args.nk);
    load_rows<kBlock>(second_tile(to), values_of(b, head), first, args.nk);
    const long long at = (1LL * b * args.kv_heads + head) * C.padded_keys(args) + first;
    if constexpr (C.uses_norms(T)) load_numbers(columns(to), 0, numbers().key_norm + at);
    if constexpr (T.key_mask) load_numbers(columns(to), 1, numbers().key_hidden + at);
  }
  if constexpr (T.bias != Bias::none) load_bias(bias_tile(to), b, kOwnsKeys ? head : bias_head, first);
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::load_bias(unsigned to, int b, int head, int first) const {
  constexpr int kPieces = BiasRows::kPieces, kElements = 16 / kBiasBytes;
  const Strides& s = args.bias_strides;
  const int first_query = kOwnsKeys ? first : first_row, first_key = kOwnsKeys ? first_row : first;
  const char* from =
      static_cast<const char*>(args.bias) +
      kBiasBytes * (b % args.bias_batch * s.batch + (args.bias_heads == 1 ? 0 : head) * s.head);
  const bool aligned = (s.batch | s.head | s.row | args.nk) % kElements == 0 &&
                       reinterpret_cast<unsigned long long>(args.bias) % 16 == 0;
#pragma unroll 2
  for (int i = static_cast<int>(threadIdx.x); i < kBiasQueries * kPieces; i += kThreads) {
    const int row = i / kPieces, query = min(first_query + row, args.nq - 1);
    const int key = first_key + i % kPieces * kElements;
    const char* piece = from + kBiasBytes * (query * s.row + key);
    const unsigned address = to + BiasRows::offset(0, row, 0, i % kPieces);
    if (aligned) {
      ptx::copy_async_16(address, key < args.nk ? piece : from, key < args.nk);
    } else {
      copy_elements(address, piece, args.nk - key);
    }
  }
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::copy_elements(unsigned to, const char* from, int count) {
#pragma unroll
  for (int word = 0; word < 4; ++word) {
    unsigned x = 0;
    if constexpr (kBiasBytes == 4) {
      if (word < count) x = __ldg(reinterpret_cast<const unsigned*>(from) + word);
    } else {
      const unsigned short* half = reinterpret_cast<const unsigned short*>(from) + 2 * word;
      if (2 * word < count) x = __ldg(half);
      if (2 * word + 1 < count) x |= static_cast<unsigned>(__ldg(half + 1)) << 16;
    }
    ptx::store_shared(to + 4 * word, x);
  }
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::prepare_owned(int b, int head) {
  const long long start = kOwnsKeys ? (1LL * b * args.kv_heads + head) * C.padded_keys(args)
                                    : (1LL * b * args.heads + head) * C.padded_queries(args);
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = row_at(m, h);
      const bool exists = row < owned_limit();
      const long long at = start + (exists ? row : 0);
      row_seen[m][h] = exists;
      norm[m][h] = 1;
      if constexpr (kOwnsKeys) {
        if constexpr (C.uses_norms(T)) norm[m][h] = exists ? numbers().key_norm[at] : 0.0f;
        if constexpr (T.key_mask) row_seen[m][h] = exists && numbers().key_hidden[at] == 0;
      } else {
        if constexpr (C.uses_norms(T)) norm[m][h] = exists ? numbers().query_norm[at] : 0.0f;
        row_lse[m][h] = exists ? numbers().lse[at] : -minus_infinity();
        row_delta[m][h] = exists ? numbers().delta[at] : 0.0f;
      }
    }
  if constexpr (kShape.resident) {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        a1[m][step] = shared_fragment(owned, m, step);
        a2[m][step] = shared_fragment(owned + kRows * Rows::kPitch, m, step);
      }
  }
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE uint4 BackwardPass<T, C, pass>::bias_words(unsigned tile, int m, int first) const {
  const int row = row_group * kShape.warp_rows() + 16 * m;
  if constexpr (kOwnsKeys) {
    return ptx::load_matrices_transposed(
        tile + BiasRows::kPitch * first +
        BiasRows::offset(0, lane % 8 + lane / 16 * 8, 0, row / 8 + lane / 8 % 2));
  } else {
    return ptx::load_matrices(tile + BiasRows::kPitch * row +
                              BiasRows::offset(0, lane % 16, 0, first / 8 + lane / 16));
  }
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::load_bias_pair(unsigned tile, int first, BiasPair& bias) const {
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
    if constexpr (kBiasBytes == 2) {
      const uint4 words = bias_words(tile, m, first);
      const float2 pairs[4] = {ptx::unpack<T.dtype>(words.x), ptx::unpack<T.dtype>(words.y),
                               ptx::unpack<T.dtype>(words.z), ptx::unpack<T.dtype>(words.w)};
#pragma unroll
      for (int i = 0; i < 8; ++i) bias[m][i / 4][i % 4] = pick(pairs[i / 2], i % 2);
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int owned_row = row_group * kShape.warp_rows() + 16 * m + g + i % 4 / 2 * 8;
        const int column = first + i / 4 * 8 + 2 * t + i % 2;
        const int query = kOwnsKeys ? column : owned_row, key = kOwnsKeys ? owned_row : column;
        bias[m][i / 4][i % 4] = ptx::load_shared(tile + BiasRows::offset(0, query, 0, key / 4) + key % 4 * 4);
      }
    }
  }
}

}  // namespace fcsa::kernels::mma
