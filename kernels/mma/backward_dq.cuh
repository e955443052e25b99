// dQ by atomic additions: a member of BackwardPass.
#pragma once

#include "kernels/common/reduce.cuh"
#include "kernels/mma/backward_pass.cuh"

namespace fcsa::kernels::mma {

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::add_dq(unsigned buffer, const Place& place) const {
  constexpr int kDQRowTiles = C.dq_tiles, kRowBlocks = kBlock / 16 / kDQRowTiles, kDQParts = C.dq_parts();
  constexpr int kTurns = kRowBlocks * kDQParts / kShape.warps, kDQTiles = kChannelTiles / kDQParts;
  float* sums =
      reinterpret_cast<float*>(static_cast<char*>(args.workspace) + C.workspace(T, args).dq) +
      ((1LL * place.b * args.heads + place.head) * C.padded_queries(args) + place.first) * T.head_dim;
#pragma unroll 1
  for (int turn = 0; turn < kTurns; ++turn) {
    const int unit = turn * kShape.warps + warp, row_block = unit % kRowBlocks, channels = unit / kRowBlocks;
    float dq[kDQRowTiles][kDQTiles][4];
#pragma unroll
    for (int m = 0; m < kDQRowTiles; ++m)
#pragma unroll
      for (int c = 0; c < kDQTiles; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i) dq[m][c][i] = 0;
#pragma unroll 2
    for (int key = 0; key < kRows; key += 16) {
      uint4 a[kDQRowTiles];
#pragma unroll
      for (int m = 0; m < kDQRowTiles; ++m)
        a[m] = ptx::load_matrices_transposed(ScoreRows::columns_then_rows(
            buffer + ScoreRows::kPitch * key, 0, 2 * (row_block * kDQRowTiles + m), lane));
#pragma unroll
      for (int c = 0; c < kDQTiles; c += 2) {
        const uint4 b = ptx::load_matrices_transposed(
            owned + Rows::kPitch * key + Rows::offset(0, lane % 16, 0, lane / 16 + channels * kDQTiles + c));
#pragma unroll
        for (int m = 0; m < kDQRowTiles; ++m) {
          ptx::multiply_add_16<T.dtype>(dq[m][c], a[m], b.x, b.y);
          ptx::multiply_add_16<T.dtype>(dq[m][c + 1], a[m], b.z, b.w);
        }
      }
    }
#pragma unroll
    for (int m = 0; m < kDQRowTiles; ++m) {
      float* to =
          sums + 1LL * (row_block * kDQRowTiles + m) * 16 * T.head_dim + channels * kDQTiles * 128 + 4 * lane;
#pragma unroll
      for (int c = 0; c < kDQTiles; ++c)
        ptx::add_global_4(to + 128 * c, {dq[m][c][0], dq[m][c][1], dq[m][c][2], dq[m][c][3]});
    }
  }
}

}  // namespace fcsa::kernels::mma
