// A prefix of the keys as a mask: what kernels read is written from lengths before they run.
#pragma once

#include "kernels/common/interface.h"

namespace fcsa::kernels {

constexpr int kKeyMaskThreads = 256;

struct KeyLengths {
  const int* lengths = nullptr;   // [batch]: keys that are visible; below 0 counts as 0, above nk as nk
  unsigned char* mask = nullptr;  // [batch, stride] bytes, all of which are written: 1 where visible, else 0
  long long stride = 0;           // a multiple of 16, as mask is aligned
  int batch = 0, nk = 0;

  FCSA_HD int visible(int of_batch) const {
    const int length = lengths[of_batch];
    return length < 0 ? 0 : length > nk ? nk : length;
  }
  // A thread of the CUDA kernel writes 16 bytes.
  FCSA_HD constexpr long long blocks() const { return ceil_div(batch * stride / 16, kKeyMaskThreads); }
};

}  // namespace fcsa::kernels
