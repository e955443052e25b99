#include "kernels/occupancy.h"

#include <gtest/gtest.h>

namespace fcsa::kernels {
namespace {

const Target kH100 = target_for_arch("sm_90a");

TEST(Occupancy, IsLimitedByThreads) {
  const auto held = occupancy(kH100, {.threads = 512}, 32);
  EXPECT_EQ(held.blocks, 4);
  EXPECT_EQ(held.of_threads, 1.0);
  EXPECT_EQ(held.limited_by, "threads");
}

TEST(Occupancy, IsLimitedByRegisters) {
  const auto held = occupancy(kH100, {.threads = 256}, 128);
  EXPECT_EQ(held.blocks, 2);
  EXPECT_EQ(held.of_threads, 0.25);
  EXPECT_EQ(held.limited_by, "registers");
}

TEST(Occupancy, GivesRegistersInUnitsOf256ToAWarp) {
  EXPECT_EQ(occupancy(kH100, {.threads = 256}, 121).blocks, 2);
  EXPECT_EQ(occupancy(kH100, {.threads = 256}, 112).blocks, 2);
  EXPECT_EQ(occupancy(kH100, {.threads = 256}, 80).blocks, 3);
}

TEST(Occupancy, IsLimitedBySharedMemory) {
  const auto held = occupancy(kH100, {.threads = 128, .smem_bytes = 113 * 1024}, 64);
  EXPECT_EQ(held.blocks, 2);
  EXPECT_EQ(held.limited_by, "shared memory");
  EXPECT_EQ(occupancy(kH100, {.threads = 128, .smem_bytes = 114 * 1024}, 64).blocks, 1);
}

TEST(Occupancy, IsLimitedByTheNumberOfBlocks) {
  EXPECT_EQ(occupancy(kH100, {.threads = 32}, 16).limited_by, "blocks");
  EXPECT_EQ(occupancy(target_for_arch("sm_86"), {.threads = 32}, 16).blocks, 16);
}

}  // namespace
}  // namespace fcsa::kernels
