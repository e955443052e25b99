// The kernel that writes key masks, run on this processor.
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <vector>

#define __global__
struct uint4 {
  unsigned x, y, z, w;
};
static uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}
static struct { unsigned x; } blockIdx, threadIdx;

#include "kernels/common/key_lengths.cuh"

namespace fcsa::kernels {
namespace {

TEST(KeyLengths, AreAMaskThatShowsSoManyKeysAndNothingBehindThem) {
  constexpr int kKeys = 100, kStride = 112;
  const std::vector<int> lengths = {-3, 0, 1, 2, 3, 15, 16, 17, 31, 66, 99, 100, 101, 2147483647};
  const int batch = static_cast<int>(lengths.size());
  alignas(16) static unsigned char mask[64 * kStride];
  std::fill(std::begin(mask), std::end(mask), static_cast<unsigned char>(0xa5));
  const KeyLengths arguments{lengths.data(), mask, kStride, batch, kKeys};
  for (blockIdx.x = 0; blockIdx.x < arguments.blocks(); ++blockIdx.x)
    for (threadIdx.x = 0; threadIdx.x < kKeyMaskThreads; ++threadIdx.x) write_key_mask(arguments);
  for (int b = 0; b < batch; ++b)
    for (int j = 0; j < kStride; ++j)
      EXPECT_EQ(mask[b * kStride + j], j < lengths[static_cast<std::size_t>(b)] && j < kKeys ? 1 : 0)
          << "key " << j << " of " << lengths[static_cast<std::size_t>(b)];
  EXPECT_EQ(mask[batch * kStride], 0xa5);
}

}  // namespace
}  // namespace fcsa::kernels
