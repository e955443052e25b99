// Rows in shared memory, and the fragments of mma that ldmatrix reads from them.
#pragma once

#include "kernels/common/ptx.cuh"
#include "kernels/mma/row_layout.h"

namespace fcsa::kernels::mma {

// Where the 16-byte pieces of a row are.
template <int row_bytes, bool permuted = can_permute(row_bytes)>
struct SharedRows {
  static constexpr int kPitch = row_pitch(row_bytes, permuted);
  static constexpr int kPieces = row_bytes / 16;
  // Eight rows that ldmatrix reads at once must lie in different banks: rows of 128 bytes or more differ in
  // the piece, of two or four shorter rows that share 128 bytes only every second or fourth needs to.
  static constexpr int kShift = kPieces % 8 == 0 ? 0 : kPieces == 4 ? 1 : 2;
  static constexpr int kMask = kPieces % 8 == 0 ? 7 : kPieces == 4 ? 3 : 1;

  // Of a row and a piece, each given as what all lanes share (a multiple of 8, and an even number) and what
  // differs. The shared parts stay out of the permutation, so that what depends on the lane is computed once
  // for a whole tile.
  FCSA_DEVICE static unsigned offset(int first_row, int row, int first_piece, int piece) {
    int place = first_piece % 8 + piece;
    if constexpr (permuted) place ^= (row >> kShift) & kMask;
    return static_cast<unsigned>(row * kPitch + place * 16) +
           static_cast<unsigned>(first_row * kPitch + first_piece / 8 * 128);
  }

  // 16 rows as A, one step of columns. Transposed: 16 rows of the sum over rows, two columns of tiles, as B
  // of the first (x, y) and the second (z, w).
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
