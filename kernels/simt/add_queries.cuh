// What a tile of the pass that owns keys adds to dq, for dq_atomics.
#pragma once

#include "kernels/common/reduce.cuh"
#include "kernels/simt/backward_pass.cuh"

namespace fcsa::kernels::simt {

// dS K^ of a tile: a thread has the queries of 4 neighbouring positions of the exchange, and of each kChunks
// pieces of 4 channels. Where there are more threads than that, they take parts of the keys.
template <Traits T, PassShape S>
struct QuerySums {
  using P = Pass<T, S>;
  static constexpr int kPositions = P::kBlockN / 4;
  static constexpr int kGroups = P::kThreads / kPositions;
  static constexpr int kPieces = T.head_dim / 4;
  static constexpr int kParts = kGroups > kPieces ? kGroups / kPieces : 1;
  static constexpr int kChunks = static_cast<int>(ceil_div(kPieces, kGroups));

  const P& pass;
  int position, piece, part;
  float4 sums[4][kChunks] = {};

  FCSA_DEVICE explicit QuerySums(const P& owner) : pass(owner) {
    position = static_cast<int>(threadIdx.x) % kPositions * 4;
    const int group = static_cast<int>(threadIdx.x) / kPositions;
    piece = kGroups > kPieces ? group % kPieces : group;
    part = kGroups > kPieces ? group / kPieces : 0;
  }

  FCSA_DEVICE bool has_piece(int c) const { return piece + kGroups * c < kPieces; }

  // The exchange has dS of all warps.
  FCSA_DEVICE void sum() {
#pragma unroll 4
    for (int key = part; key < P::kBlockM; key += kParts) {
      const float4 a = *reinterpret_cast<const float4*>(pass.exchange + key * P::kExchangePitch + position);
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        const int channel = has_piece(c) ? 4 * (piece + kGroups * c) : 0;
        const float4 b = *reinterpret_cast<const float4*>(pass.x1 + key * P::kPitch + channel);
        add_product(sums[0][c], a.x, b);
        add_product(sums[1][c], a.y, b);
        add_product(sums[2][c], a.z, b);
        add_product(sums[3][c], a.w, b);
      }
    }
  }

  // To rows of a head, without the factors that dS has for dk.
  FCSA_DEVICE void add(float* to, const float4* records, int first_query, int nq, float scale) const {
    if (part >= kParts) return;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int other = P::other_at(position + e);
      if (first_query + other >= nq) continue;
      const float factor = ptx::reciprocal_approximate(query_record(records[other]).inverse_norm * scale);
      float* row = to + static_cast<long long>(first_query + other) * T.head_dim;
#pragma unroll
      for (int c = 0; c < kChunks; ++c)
        if (has_piece(c)) ptx::add_global_4(row + 4 * (piece + kGroups * c), multiply(sums[e][c], factor));
    }
  }
};

}  // namespace fcsa::kernels::simt
