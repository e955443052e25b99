#include <gtest/gtest.h>

#include "kernels/families.h"
#include "kernels/mma/backward_config.h"
#include "tests/kernels/valid_baseline.h"

namespace fcsa::kernels {
namespace {

const Family& family() {
  return family_named("mma");
}

Problem training() {
  Problem p;
  p.op = Op::backward, p.dtype = DType::bf16, p.head_dim = 64;
  p.batch = 2, p.heads = 8, p.kv_heads = 4, p.nq = 1000, p.nk = 1500;
  return p;
}

LaunchPlan plan_of(const Problem& problem, const mma::BackwardConfig& config) {
  return config.plan(traits_of(problem), shape_args(problem));
}

TEST(MmaBackward, HasAValidBaselineFromItsSpaceForEveryProblemAndArchitecture) {
  for (const char* arch : {"sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_110a", "sm_120a"})
    for (const DType dtype : {DType::bf16, DType::f16})
      for (const int head_dim : {16, 32, 48, 64, 80, 96, 112, 128, 144, 192, 256})
        for (const int nq : {1, 17, 64, 300})
          for (const int kind : {0, 1, 2, 3}) {
            const Target target = target_for_arch(arch);
            Problem p = training();
            p.dtype = dtype, p.head_dim = head_dim, p.nq = nq, p.nk = nq == 300 ? 1 : 5 * nq;
            p.deterministic = kind == 1;
            p.groups = kind == 2 ? 2 : 1;
            if (kind == 3) p.bias = Bias::f32, p.bias_gradient = true;
            if (!family().unsupported(p, target).empty()) continue;
            expect_valid_baseline_from_the_space(family(), p, target);
          }
}

TEST(MmaBackward, LeavesF32AndNarrowGroupsToOtherFamilies) {
  const Target h100 = target_for_arch("sm_90a");
  Problem p = training();
  EXPECT_EQ(family().unsupported(p, h100), "");
  p.groups = 16;
  EXPECT_NE(family().unsupported(p, h100).find("simt"), std::string::npos);
  p.groups = 1, p.dtype = DType::f32;
  EXPECT_NE(family().unsupported(p, h100).find("simt"), std::string::npos);
}

TEST(MmaBackward, AddsNothingByAtomicsWhereTheProblemIsToBeDeterministic) {
  const Target h100 = target_for_arch("sm_90a");
  Problem p = training();
  EXPECT_EQ(family().baseline(p, h100).at("dq"), mma::kAtomics);
  p.deterministic = true;
  Configuration configuration = family().baseline(p, h100);
  EXPECT_EQ(configuration.at("dq"), mma::kSecondPass);
  for (auto& [name, value] : configuration.values)
    if (name == "dq") value = mma::kAtomics;
  EXPECT_NE(invalid_reason(family(), p, configuration, h100).find("deterministic"), std::string::npos);
}

// 16 keys a warp would read every tile from shared memory twice as often.
TEST(MmaBackward, TakesThirtyTwoKeysAWarpUpTo128ChannelsOnAnH100) {
  for (const int head_dim : {32, 64, 80, 96, 128}) {
    Problem p = training();
    p.head_dim = head_dim, p.nq = p.nk = 4096;
    EXPECT_EQ(family().baseline(p, target_for_arch("sm_90a")).at("key_tiles"), 2) << head_dim;
  }
}

TEST(MmaBackward, LaunchesTheGradientsOfBiasAndScaleOnlyWhereTheyAreWanted) {
  Problem p = training();
  EXPECT_EQ(plan_of(p, {}).count, 3);
  p.scale_gradient = true;
  ASSERT_EQ(plan_of(p, {}).count, 4);
  EXPECT_EQ(plan_of(p, {}).steps[3].grid_x, 8u);  // a block for each head
  p.bias = Bias::same, p.bias_batch = 1, p.bias_heads = 1;
  EXPECT_EQ(plan_of(p, {}).steps[3].grid_x, 8u);
  p.bias_gradient = true;
  EXPECT_EQ(plan_of(p, {}).steps[3].grid_x, 8u + 16u * 24u);  // tiles of 64 x 64
}

// Inputs, gradients and lse aside: one f32 copy of dQ at most, and a few numbers of each row.
TEST(MmaBackward, NeedsNoWorkspaceThatGrowsWithTheProductOfTheLengths) {
  Problem p = training();
  p.nq = p.nk = 16384;
  const double rows = 2.0 * (8 + 4) * 16384, dq = 2.0 * 8 * 16384 * 64 * 4;
  mma::BackwardConfig config;
  EXPECT_LE(plan_of(p, config).workspace_bytes, 16 * rows + 256);
  config.dq = mma::kAtomics;
  EXPECT_LE(plan_of(p, config).workspace_bytes, dq + 16 * rows + 256);
  p.bias = Bias::f32, p.bias_gradient = true;
  EXPECT_LE(plan_of(p, config).workspace_bytes, dq + 16 * rows + 256);
}

}  // namespace
}  // namespace fcsa::kernels
