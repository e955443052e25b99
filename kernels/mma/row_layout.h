// How rows lie in shared memory for ldmatrix, which reads eight at once: those must lie in different banks.
#pragma once

#include "kernels/common/interface.h"

namespace fcsa::kernels::mma {

// Whether permuting the 16-byte pieces of a row does that: it needs a power of two below 128 bytes or a
// multiple of 128. Otherwise 16 bytes of padding do.
FCSA_HD constexpr bool can_permute(int row_bytes) {
  return row_bytes % 128 == 0 || row_bytes == 64 || row_bytes == 32;
}

FCSA_HD constexpr int row_pitch(int row_bytes, bool permuted) {
  return row_bytes + (permuted ? 0 : 16);
}
FCSA_HD constexpr int row_pitch(int row_bytes) {
  return row_pitch(row_bytes, can_permute(row_bytes));
}

}  // namespace fcsa::kernels::mma
