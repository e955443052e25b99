// The backward pass of the simt family: its space, its constraints, what its plans launch and need.
#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>

#include "kernels/families.h"
#include "kernels/simt/backward_config.h"
#include "tests/kernels/valid_baseline.h"

namespace fcsa::kernels {
namespace {

using simt::BackwardConfig;

const Family& family() {
  return family_named("simt");
}

Problem backward(int head_dim = 64) {
  Problem p;
  p.op = Op::backward, p.head_dim = head_dim;
  p.batch = 2, p.heads = 8, p.kv_heads = 4, p.nq = 1000, p.nk = 2000;
  return p;
}

// Bias of 3 sizes, a mask, a scale for each head, every gradient.
Problem everything(int head_dim = 64) {
  Problem p = backward(head_dim);
  p.causal = p.key_mask = p.head_scale = p.bias_gradient = p.scale_gradient = true;
  p.bias = Bias::f32, p.bias_batch = 1;
  return p;
}

Configuration baseline(const Problem& p, const char* arch = "sm_90a") {
  return family().baseline(p, target_for_arch(arch));
}

LaunchPlan plan_of(const Problem& p) {
  return family().plan(traits_of(p), baseline(p), shape_args(p));
}

Configuration with(Configuration configuration, std::string_view parameter, int value) {
  for (auto& [name, current] : configuration.values)
    if (name == parameter) current = value;
  return configuration;
}

std::string reason(const Problem& p, const char* parameter, int value, const char* arch = "sm_90a") {
  return invalid_reason(family(), p, with(baseline(p, arch), parameter, value), target_for_arch(arch));
}

// Five products: tiles of keys as in the baseline, those of queries are not tuned.
Configuration atomic(const Problem& p, const char* arch = "sm_90a") {
  Configuration configuration = with(baseline(p, arch), "dq_atomics", 1);
  for (const auto& parameter : family().parameters(p.op))
    if (parameter.name.starts_with("query_"))
      configuration = with(configuration, parameter.name, parameter.default_value);
  return configuration;
}

TEST(SimtBackward, HasAValidBaselineFromItsSpaceForEveryHeadDimAndArchitecture) {
  for (const char* arch : {"sm_75", "sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120a"})
    for (int head_dim = 16; head_dim <= 256; head_dim += 16)
      for (const int rows : {1, 65, 5000})
        for (Problem p : {backward(head_dim), everything(head_dim)}) {
          p.nq = rows, p.nk = 2 * rows;
          const Target target = target_for_arch(arch);
          ASSERT_EQ(family().unsupported(p, target), "");
          expect_valid_baseline_from_the_space(family(), p, target);
        }
}

TEST(SimtBackward, HasParametersInAscendingOrderThatContainTheirDefault) {
  for (const auto& parameter : family().parameters(Op::backward)) {
    EXPECT_TRUE(std::is_sorted(parameter.values.begin(), parameter.values.end())) << parameter.name;
    EXPECT_EQ(std::count(parameter.values.begin(), parameter.values.end(), parameter.default_value), 1)
        << parameter.name;
  }
}

TEST(SimtBackward, ConstrainsBothPasses) {
  const Problem p = backward();
  EXPECT_EQ(reason(backward(16), "key_channel_lanes", 8), "key tiles: lanes without channels");
  EXPECT_EQ(reason(backward(16), "query_channel_lanes", 32), "query tiles: lanes without channels");
  EXPECT_NE(reason(p, "key_stages", 2, "sm_75").find("sm_80"), std::string::npos);
  EXPECT_NE(reason(p, "query_stages", 2, "sm_75").find("sm_80"), std::string::npos);
  EXPECT_NE(reason(p, "query_thread_m", 8, "sm_75").find("shared memory"), std::string::npos);
  EXPECT_NE(reason(backward(256), "key_thread_m", 8).find("registers"), std::string::npos);
}

TEST(SimtBackward, GivesTheSameBitsInEveryRunUnlessAskedOtherwise) {
  for (const Problem& p : {backward(), everything(128)}) EXPECT_EQ(baseline(p).at("dq_atomics"), 0);
}

TEST(SimtBackward, TunesNoTilesOfQueriesWithAtomicAdditions) {
  for (const char* arch : {"sm_75", "sm_90a"})
    for (int head_dim = 16; head_dim <= 256; head_dim += 16) {
      const Problem p = everything(head_dim);
      const Target target = target_for_arch(arch);
      const Configuration configuration = atomic(p, arch);
      EXPECT_EQ(invalid_reason(family(), p, configuration, target), "") << arch << " head dim " << head_dim;
      EXPECT_EQ(invalid_reason(family(), p, with(configuration, "query_warps", 8), target),
                "dq_atomics has a shape of its own for queries");
      const LaunchPlan plan = family().plan(traits_of(p), configuration, shape_args(p));
      for (int i = 0; i < plan.count; ++i)
        EXPECT_LE(plan.steps[i].smem_bytes, target.smem_per_block_bytes) << arch << " head dim " << head_dim;
    }
}

TEST(SimtBackward, SumsDqInTheWorkspaceWithAtomicAdditions) {
  const Problem p = backward();
  const LaunchPlan plan = family().plan(traits_of(p), atomic(p), shape_args(p));
  EXPECT_EQ(plan.workspace_bytes - plan_of(p).workspace_bytes, 4LL * p.batch * p.heads * p.nq * p.head_dim);
}

TEST(SimtBackward, FitsItsSharedMemoryAndThreadsOnEveryArchitecture) {
  for (const char* arch : {"sm_75", "sm_86", "sm_90a"})
    for (int head_dim = 16; head_dim <= 256; head_dim += 48) {
      const Target target = target_for_arch(arch);
      const Problem p = everything(head_dim);
      const LaunchPlan plan = family().plan(traits_of(p), family().baseline(p, target), shape_args(p));
      for (int i = 0; i < plan.count; ++i) {
        EXPECT_LE(plan.steps[i].smem_bytes, target.smem_per_block_bytes) << arch << " head dim " << head_dim;
        EXPECT_LE(plan.steps[i].threads, 256u);
        EXPECT_GE(plan.steps[i].grid_x, 1u);
      }
    }
}

TEST(SimtBackward, PreparesAndPassesOverKeysAndQueries) {
  const LaunchPlan plan = plan_of(backward());
  ASSERT_EQ(plan.count, 3);
  for (int i = 0; i < plan.count; ++i) EXPECT_EQ(plan.steps[i].kernel, i);
  // 32 rows of a head to a block: 16 heads of 1,000 queries, 8 of 2,000 keys.
  EXPECT_EQ(plan.steps[0].grid_x, 16u * 32 + 8 * 63);
}

TEST(SimtBackward, LaunchesAFourthKernelForGradientsOfBiasAndScale) {
  Problem p = everything();
  ASSERT_EQ(plan_of(p).count, 4);
  const unsigned both = plan_of(p).steps[3].grid_x;
  p.bias_gradient = false;
  ASSERT_EQ(plan_of(p).count, 4);
  EXPECT_EQ(plan_of(p).steps[3].grid_x, 8u) << "a block for each head";
  p.bias_gradient = true, p.scale_gradient = false;
  EXPECT_EQ(plan_of(p).steps[3].grid_x, both - 8);
  p.bias_gradient = false;
  EXPECT_EQ(plan_of(p).count, 3);
}

TEST(SimtBackward, NormalisesGroupsInTheKernelThatPrepares) {
  Problem p = backward();
  const LaunchPlan plain = plan_of(p);
  p.groups = 4;
  const LaunchPlan grouped = plan_of(p);
  EXPECT_EQ(grouped.count, plain.count);
  EXPECT_GT(grouped.steps[0].grid_x, plain.steps[0].grid_x);
  const NormalisedTensors tensors = normalised_tensors(traits_of(p), shape_args(p));
  EXPECT_EQ(grouped.workspace_bytes, plain.workspace_bytes + tensors.bytes);
}

TEST(SimtBackward, NeedsWorkspaceInProportionToTheRows) {
  Problem p = everything();
  p.bias_gradient = false;
  p.nq = p.nk = 4096;
  const long long once = plan_of(p).workspace_bytes;
  p.nq = p.nk = 8192;
  EXPECT_LE(plan_of(p).workspace_bytes, 2 * once);
}

TEST(SimtBackward, SplitsTheSumOfABiasThatManyWindowsShare) {
  Problem windows = everything(32);
  windows.batch = 512, windows.heads = windows.kv_heads = 4, windows.nq = windows.nk = 64;
  const BackwardConfig config;
  const auto few = config.bias_tiles(shape_args(windows));
  EXPECT_GT(few.splits, 1);
  EXPECT_LE(few.blocks(), BackwardConfig::kBiasBlocks);
  EXPECT_LE(few.splits, few.shared());
  windows.nq = windows.nk = 8192;
  EXPECT_EQ(config.bias_tiles(shape_args(windows)).splits, 1) << "tiles enough";
}

TEST(SimtBackward, CountsWhoSharesATileOfTheBias) {
  Problem p = everything();
  p.bias_batch = 2, p.bias_heads = 8;
  EXPECT_EQ(BackwardConfig{}.bias_tiles(shape_args(p)).shared(), 1);
  p.bias_heads = 1;
  EXPECT_EQ(BackwardConfig{}.bias_tiles(shape_args(p)).shared(), 8);
  p.bias_batch = 1;
  EXPECT_EQ(BackwardConfig{}.bias_tiles(shape_args(p)).shared(), 16);
}

}  // namespace
}  // namespace fcsa::kernels
