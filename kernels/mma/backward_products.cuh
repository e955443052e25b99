// Products of owned rows with the rows of a tile, and with dS and P: members of BackwardPass.
#pragma once

#include "kernels/mma/backward_pass.cuh"

namespace fcsa::kernels::mma {

template <Traits T, BackwardConfig C, Pass pass>
template <int which>
FCSA_DEVICE void BackwardPass<T, C, pass>::multiply(unsigned tile, int first, Scores& s) const {
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    uint4 a[kRowTiles];
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      if constexpr (kShape.resident) {
        a[m] = which == 0 ? a1[m][step] : a2[m][step];
      } else {
        a[m] = shared_fragment(owned + which * kRows * Rows::kPitch, m, step);
      }
    }
#pragma unroll
    for (int n = 0; n < kTiles; n += 2) {
      const uint4 b = ptx::load_matrices(Rows::columns_then_rows(tile, first + 8 * n, 2 * step, lane));
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        ptx::multiply_add_16<T.dtype>(s[m][n], a[m], b.x, b.y);
        ptx::multiply_add_16<T.dtype>(s[m][n + 1], a[m], b.z, b.w);
      }
    }
  }
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::accumulate(unsigned tile, int first, const Scores& s, float factor,
                                                      Accumulator& accumulator) const {
  const auto pair = [factor](float x, float y) { return ptx::pack<T.dtype>(factor * x, factor * y); };
#pragma unroll
  for (int n = 0; n < kTiles; n += 2) {
    uint4 a[kRowTiles];
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
      a[m] = {pair(s[m][n][0], s[m][n][1]), pair(s[m][n][2], s[m][n][3]),
              pair(s[m][n + 1][0], s[m][n + 1][1]), pair(s[m][n + 1][2], s[m][n + 1][3])};
    add_product(tile, first + 8 * n, a, accumulator);
  }
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::accumulate_shared(unsigned scores, unsigned tile, float factor,
                                                             Accumulator& accumulator) const {
  constexpr int kPart = kBlock / kParts;
#pragma unroll
  for (int i = 0; i < kBlock - kPart; i += 16) {
    const int row = ((part + 1) * kPart + i) % kBlock;
    uint4 a[kRowTiles];
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      a[m] = ptx::load_matrices(
          ScoreRows::rows_then_columns(scores, row_group * kShape.warp_rows() + 16 * m, row / 8, lane));
      if (factor != 1)
        a[m] = {scaled(a[m].x, factor), scaled(a[m].y, factor), scaled(a[m].z, factor),
                scaled(a[m].w, factor)};
    }
    add_product(tile, row, a, accumulator);
  }
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::add_product(unsigned tile, int row, const uint4 (&a)[kRowTiles],
                                                       Accumulator& accumulator) const {
#pragma unroll
  for (int c = 0; c < kPartTiles; c += 2) {
    const uint4 b = ptx::load_matrices_transposed(
        tile + Rows::kPitch * row + Rows::offset(0, lane % 16, 0, part * kPartTiles + c + lane / 16));
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      ptx::multiply_add_16<T.dtype>(accumulator[m][c], a[m], b.x, b.y);
      ptx::multiply_add_16<T.dtype>(accumulator[m][c + 1], a[m], b.z, b.w);
    }
  }
}

}  // namespace fcsa::kernels::mma
