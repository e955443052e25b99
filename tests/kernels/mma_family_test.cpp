#include <gtest/gtest.h>

#include "kernels/families.h"
#include "kernels/mma/config.h"
#include "tests/kernels/valid_baseline.h"

namespace fcsa::kernels {
namespace {

const Family& family() {
  return family_named("mma");
}

// One query against a long cache: 8 tiles for a whole device.
Problem decoding() {
  Problem p;
  p.dtype = DType::bf16, p.head_dim = 128;
  p.batch = 1, p.heads = 32, p.kv_heads = 8, p.nq = 1, p.nk = 8192;
  return p;
}

LaunchPlan baseline_plan(const Problem& problem, const char* arch) {
  return family().plan(traits_of(problem), family().baseline(problem, target_for_arch(arch)),
                       shape_args(problem));
}

unsigned blocks(const Launch& launch) {
  return launch.grid_x * launch.grid_y;
}

TEST(MmaFamily, NeedsTheTensorCoresOfSm80) {
  EXPECT_NE(family().unsupported(decoding(), target_for_arch("sm_75")).find("8.0"), std::string::npos);
  EXPECT_EQ(family().unsupported(decoding(), target_for_arch("sm_80")), "");
}

TEST(MmaFamily, HasAValidBaselineFromItsSpaceForAnyNumberOfRowsAndKeys) {
  for (const char* arch : {"sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_110a", "sm_120a"})
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
      for (const int head_dim : {16, 32, 64, 80, 96, 128, 192, 256})
        for (const int nq : {1, 2, 5, 8, 9, 16, 17, 33, 64, 65, 300})
          for (const int kv_heads : {1, 8, 32}) {
            const Target target = target_for_arch(arch);
            Problem p = decoding();
            p.dtype = dtype, p.head_dim = head_dim, p.nq = nq, p.kv_heads = kv_heads, p.nk = 300 * nq;
            p.bias = nq == 64 ? Bias::f32 : Bias::none;
            if (!family().unsupported(p, target).empty()) continue;
            expect_valid_baseline_from_the_space(family(), p, target);
          }
}

TEST(MmaFamily, DecodesInOneLaunchWithoutWorkspaceWhereThereAreClusters) {
  for (const char* arch : {"sm_90a", "sm_100a"}) {
    const LaunchPlan plan = baseline_plan(decoding(), arch);
    ASSERT_EQ(plan.count, 1) << arch;
    EXPECT_EQ(plan.workspace_bytes, 0);
    EXPECT_EQ(blocks(plan.steps[0]), 128u);
  }
}

TEST(MmaFamily, SumsPartsInASecondLaunchBeforeThereWereClusters) {
  const LaunchPlan plan = baseline_plan(decoding(), "sm_80");
  ASSERT_EQ(plan.count, 2);
  EXPECT_GT(plan.workspace_bytes, 0);
  EXPECT_GT(blocks(plan.steps[0]), 108u);
}

TEST(MmaFamily, SplitsTheKeysIntoAsManyPartsAsTheBlocksAllow) {
  mma::ForwardConfig config;
  config.block_n = 64, config.pack_heads = 1, config.split_until = 384;
  Problem p = decoding();
  EXPECT_EQ(config.splits(shape_args(p)), 48);
  p.nk = 640;
  EXPECT_EQ(config.splits(shape_args(p)), 10) << "as many as there are tiles of keys";
  p.batch = 64;
  EXPECT_EQ(config.splits(shape_args(p)), 1);
}

TEST(MmaFamily, LeavesRoomForThePartThatTheClusterReads) {
  mma::ForwardConfig config;
  config.block_n = 16, config.chunk = 16, config.stages = 1, config.cluster = 8;
  const Traits traits = traits_of(decoding());
  EXPECT_GE(config.smem_bytes(traits), config.block_m() * (traits.head_dim + 2) * 4);
  EXPECT_EQ(mma::ForwardConfig::part_pitch(traits) % 16, 0);
}

TEST(MmaFamily, AsksForNoLargerClusterThanTheDeviceMakes) {
  const Problem p = decoding();
  Configuration configuration = family().baseline(p, target_for_arch("sm_90a"));
  ASSERT_EQ(configuration.at("cluster"), 16);
  EXPECT_EQ(invalid_reason(family(), p, configuration, target_for_arch("sm_90a")), "");
  EXPECT_NE(invalid_reason(family(), p, configuration, target_for_arch("sm_120a")), "");
  EXPECT_NE(invalid_reason(family(), p, configuration, target_for_arch("sm_80")), "");
}

}  // namespace
}  // namespace fcsa::kernels
