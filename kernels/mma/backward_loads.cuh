// How tiles, the numbers of their rows and the bias get into shared memory and registers: members of
// BackwardPass.
#pragma once

#include "kernels/mma/backward_pass.cuh"

namespace fcsa::kernels::mma {

// Threads that load a row of 16-byte pieces, the same number each: up to 128 bytes at once.
FCSA_HD constexpr int lanes_of_row(int pieces) {
  return pieces % 8 == 0 ? 8 : pieces % 4 == 0 ? 4 : pieces % 2 == 0 ? 2 : 1;
}

template <Traits T, BackwardConfig C, Pass pass>
template <int rows, typename IsThere>
FCSA_DEVICE void BackwardPass<T, C, pass>::load_rows(unsigned to, const Source& from, int first, int limit,
                                                     const IsThere& is_there) const {
  // Threads of a row, and rows at a time: those differ by multiples of eight, which have the same
  // permutation.
  constexpr int kLanes = lanes_of_row(Rows::kPieces);
  constexpr int kAtOnce = kThreads / kLanes;
  const int row = thread_index / kLanes, piece = thread_index % kLanes;
  const char* source = from.rows + (first + row) * from.row_bytes + 16 * piece;
  const unsigned address = to + Rows::offset(0, row, 0, piece);
#pragma unroll
  for (int r = 0; r < rows; r += kAtOnce, source += kAtOnce * from.row_bytes) {
    if (r + kAtOnce > rows && row >= rows - r) break;
    const bool exists = first + row + r < limit && is_there(first + row + r);  // otherwise nothing is read
#pragma unroll
    for (int p = 0; p < Rows::kPieces; p += kLanes)
      ptx::copy_async_16(address + r * Rows::kPitch + 16 * p, source + 16 * p, exists);
  }
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::load_owned(int b, int head) const {
  load_side<kOwnsKeys, kRows>(owned, b, head, first_row);
}

template <Traits T, BackwardConfig C, Pass pass>
template <int begin, int end, int rows>
FCSA_DEVICE void BackwardPass<T, C, pass>::load_numbers(unsigned to, const float* from, long long distance,
                                                        int limit) const {
  constexpr int kPieces = rows / 4, kTotal = (end - begin) * kPieces;
#pragma unroll
  for (int start = 0; start < kTotal; start += kThreads) {
    const int i = start + thread_index, slot = begin + i / kPieces, row = i % kPieces * 4;
    if (start + kThreads > kTotal && i >= kTotal) break;
    ptx::copy_async_16(to + 4 * rows * begin + 16 * i, from + slot * distance + row, row < limit);
  }
}

template <Traits T, BackwardConfig C, Pass pass>
template <bool keys, int rows>
FCSA_DEVICE void BackwardPass<T, C, pass>::load_side(unsigned to, int b, int head, int first) const {
  const unsigned second = to + rows * Rows::kPitch, numbers_to = second + rows * Rows::kPitch;
  if constexpr (keys) {
    const auto shown = [&](int key) { return shows(b, key); };
    load_rows<rows>(to, keys_of(b, head), first, args.nk, shown);
    load_rows<rows>(second, values_of(b, head), first, args.nk, shown);
    const long long padded = C.padded_keys(args), at = (1LL * b * args.kv_heads + head) * padded + first;
    load_numbers<C.uses_norms(T) && !kOwnsKeys ? 0 : 1, T.key_mask ? 2 : 1, rows>(
        numbers_to, numbers().key_norm + at, C.workspace(T, args).key_floats,
        static_cast<int>(padded) - first);
  } else {
    const int begin = pass == Pass::dbias ? first_seeing(b) : seeing;
    const auto sees = [&](int query) { return !(T.causal || T.key_mask) || query >= begin; };
    load_rows<rows>(to, queries_of(b, head), first, args.nq, sees);
    load_rows<rows>(second, gradients_of(b, head), first, args.nq, sees);
    const long long padded = C.padded_queries(args), at = (1LL * b * args.heads + head) * padded + first;
    load_numbers<0, C.uses_norms(T) ? 3 : 2, rows>(
        numbers_to, numbers().lse + at, C.workspace(T, args).query_floats, static_cast<int>(padded) - first);
  }
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::load_walked(unsigned to, int b, int head, int first) const {
  load_side<!kOwnsKeys, kBlock>(to, b, head, first);
  if constexpr (T.bias != Bias::none && pass != Pass::dbias)
    load_bias(bias_tile(to), b, kOwnsKeys ? head : bias_head, first);
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
  constexpr int kLanes = lanes_of_row(kPieces), kAtOnce = kThreads / kLanes;
  const int row = thread_index / kLanes, piece = thread_index % kLanes;
  from += kBiasBytes * (first_key + piece * kElements);
  const unsigned address = to + BiasRows::offset(0, row, 0, piece);
#pragma unroll
  for (int r = 0; r < kBiasQueries; r += kAtOnce) {
    if (r + kAtOnce > kBiasQueries && row >= kBiasQueries - r) break;
    const char* source = from + kBiasBytes * (min(first_query + row + r, args.nq - 1) * s.row);
#pragma unroll
    for (int p = 0; p < kPieces; p += kLanes) {
      const int key = first_key + (piece + p) * kElements;
      if (aligned) {
        ptx::copy_async_16(address + r * BiasRows::kPitch + 16 * p, source + 16 * p, key < args.nk);
      } else {
        copy_elements(address + r * BiasRows::kPitch + 16 * p, source + 16 * p, args.nk - key);
      }
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
FCSA_DEVICE void BackwardPass<T, C, pass>::normalise_keys() const {
  constexpr int kLoads = (Rows::kPieces + 7) / 8, kAtOnce = kThreads / 8;
#pragma unroll 1
  for (int row = thread_index / 8; row < kRows; row += kAtOnce) {
    uint4 words[kLoads];
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int piece = 8 * i + thread_index % 8;
      if (piece >= Rows::kPieces) break;
      words[i] = ptx::load_shared_words(owned + Rows::offset(0, row, 0, piece));
      squares = add_squares<T.dtype>(words[i].x, add_squares<T.dtype>(words[i].y, squares));
      squares = add_squares<T.dtype>(words[i].z, add_squares<T.dtype>(words[i].w, squares));
    }
    const float factor = inverse_norm(sum_of_eight(squares), args.eps);
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int piece = 8 * i + thread_index % 8;
      if (piece >= Rows::kPieces) break;
      const unsigned to = owned + Rows::offset(0, row, 0, piece);
      ptx::store_shared(to, scaled(words[i].x, factor));
      ptx::store_shared(to + 4, scaled(words[i].y, factor));
      ptx::store_shared(to + 8, scaled(words[i].z, factor));
      ptx::store_shared(to + 12, scaled(words[i].w, factor));
    }
  }
  __syncthreads();
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::prepare_owned() {
  if constexpr (kOwnsKeys && C.uses_norms(T)) normalise_keys();
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
