// Rows of 16-bit elements in shared memory, and the fragments of mma.m16n8k16 that are read from them.
#pragma once

#include "kernels/common/ptx.cuh"
#include "kernels/mma/backward_config.h"

namespace fcsa::kernels::mma {

// The 16-byte pieces of a row are permuted where its length allows, and padded elsewhere, so that the eight
// rows that ldmatrix reads at once lie in different banks.
template <int row_bytes>
struct SharedRows {
  static constexpr int kPitch = BackwardConfig::pitch(row_bytes);
  static constexpr int kPieces = row_bytes / 16;
  static constexpr int kShift = kPieces % 8 == 0 ? 0 : kPieces == 4 ? 1 : 2;
  static constexpr int kMask = !BackwardConfig::swizzled(row_bytes) ? 0
                               : kPieces % 8 == 0                   ? 7
                               : kPieces == 4                       ? 3
                                                                    : 1;

  // Of a row and a piece, each given as what all lanes share (a multiple of 8, and of 2) and what differs:
  // the shared parts stay out of the permutation, so that the rest is computed once.
  FCSA_DEVICE static unsigned offset(int first_row, int row, int first_piece, int piece) {
    const int place = (first_piece % 8 + piece) ^ ((row >> kShift) & kMask);
    return static_cast<unsigned>(row * kPitch + place * 16) +
           static_cast<unsigned>(first_row * kPitch + first_piece / 8 * 128);
  }

  // 16 rows as A, one step of 16 columns. Transposed: 16 rows of the sum over rows, two columns of tiles, as
  // B of the first (x, y) and the second (z, w).
  FCSA_DEVICE static unsigned rows_then_columns(unsigned base, int row, int piece, int lane) {
    return base + offset(row, lane % 16, piece, lane / 16);
  }
  // 16 rows as two tiles of columns of B: of the first 8 in x and y. Transposed: 16 rows of the sum over
  // rows, two pieces of columns, as A with those columns as its rows.
  FCSA_DEVICE static unsigned columns_then_rows(unsigned base, int row, int piece, int lane) {
    return base + offset(row, lane % 8 + lane / 16 * 8, piece, lane / 8 % 2);
  }
};

}  // namespace fcsa::kernels::mma
