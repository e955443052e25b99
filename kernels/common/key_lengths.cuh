// Writes a key mask from lengths, on a GPU.
#pragma once

#include "kernels/common/key_lengths.h"

namespace fcsa::kernels {

__global__ void write_key_mask(KeyLengths a) {
  const long long unit = static_cast<long long>(blockIdx.x) * kKeyMaskThreads + threadIdx.x;
  const long long in_row = a.stride / 16, batch = unit / in_row;
  if (batch >= a.batch) return;
  const long long first = unit % in_row * 16;
  const long long shown =
      a.visible(static_cast<int>(batch)) - first;  // of these 16 keys, and of those behind
  unsigned words[4];
  for (int w = 0; w < 4; ++w) {
    const long long bytes = shown - 4 * w;
    words[w] = bytes >= 4 ? 0x01010101u : bytes <= 0 ? 0u : 0x01010101u >> (8 * (4 - bytes));
  }
  *reinterpret_cast<uint4*>(a.mask + batch * a.stride + first) =
      make_uint4(words[0], words[1], words[2], words[3]);
}

}  // namespace fcsa::kernels
