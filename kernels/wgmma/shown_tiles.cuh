// Which tiles of keys a mask shows any key of. By a whole warp.
#pragma once

#include "kernels/wgmma/schedule.cuh"

namespace fcsa::kernels::wgmma {

// A bit for each tile, 32 to a group, kept for a batch, a group in each lane: to read the mask again for each
// tile of queries takes longer than copies run ahead. Of later groups all tiles count as shown.
template <Traits T, ForwardConfig C>
struct ShownTiles {
  static constexpr int kGroups = 32;  // that are kept

  const Args& args;
  int batch = -1;
  unsigned kept = 0;

  FCSA_DEVICE explicit ShownTiles(const Args& arguments) : args(arguments) {}

  FCSA_DEVICE static int lane() { return static_cast<int>(threadIdx.x) % 32; }

  FCSA_DEVICE bool shows(int of_batch, int tile) const {
    const int keys = min(C.block_n, args.nk - tile * C.block_n);
    const unsigned char* from =
        args.key_mask + of_batch * args.key_mask_stride + static_cast<long long>(tile) * C.block_n;
    unsigned any = 0;
    int key = 0;
    if (reinterpret_cast<unsigned long long>(from) % 16 == 0) {
#pragma unroll 2
      for (; key + 16 <= keys; key += 16) {
        const uint4 words = __ldg(reinterpret_cast<const uint4*>(from + key));
        any |= words.x | words.y | words.z | words.w;
      }
    }
#pragma unroll 8
    for (; key < keys; ++key) any |= __ldg(from + key);
    return any != 0;
  }

  FCSA_DEVICE void take(int of_batch) {
    if (of_batch == batch) return;
    batch = of_batch;
    const int groups = min(kGroups, (args.nk + 32 * C.block_n - 1) / (32 * C.block_n));
#pragma unroll 1
    for (int group = 0; group < groups; ++group) {
      const int tile = 32 * group + lane();
      const unsigned shown = __ballot_sync(0xffffffffu, tile * C.block_n < args.nk && shows(batch, tile));
      if (lane() == group) kept = shown;
    }
  }

  // Of the tiles of a group those that `work`, of the batch that was taken, has and that are shown.
  FCSA_DEVICE unsigned of(const Work& work, int group) const {
    const unsigned shown = group < kGroups ? __shfl_sync(0xffffffffu, kept, group) : ~0u;
    const int first = work.first_tile - 32 * group, end = work.end_tile - 32 * group;
    const unsigned from_first = first <= 0 ? ~0u : first < 32 ? ~0u << first : 0u;
    const unsigned before_end = end >= 32 ? ~0u : end > 0 ? (1u << end) - 1 : 0u;
    return shown & from_first & before_end;
  }
};

}  // namespace fcsa::kernels::wgmma
