#include <gtest/gtest.h>

#include <vector>

#include "kernels/families.h"
#include "kernels/wgmma/backward_config.h"
#include "tests/kernels/valid_baseline.h"

namespace fcsa::kernels {
namespace {

using wgmma::BackwardConfig;

const Family& family() {
  return family_named("wgmma");
}

const Target& hopper() {
  static const Target target = target_for_arch("sm_90a");
  return target;
}

Problem training() {
  Problem p;
  p.op = Op::backward, p.dtype = DType::bf16, p.head_dim = 64;
  p.batch = 2, p.heads = 8, p.kv_heads = 4, p.nq = 1000, p.nk = 1500;
  return p;
}

LaunchPlan plan_of(const Problem& problem, const BackwardConfig& config) {
  return config.plan(traits_of(problem), shape_args(problem));
}

std::string refusal(const Problem& problem) {
  return family().unsupported(problem, hopper());
}

TEST(WgmmaBackward, HasAValidBaselineFromItsSpaceForEveryProblem) {
  for (const DType dtype : {DType::bf16, DType::f16})
    for (int head_dim = 16; head_dim <= 128; head_dim += 16)
      for (const int nq : {1, 17, 64, 300, 4096})
        for (const int kind : {0, 1, 2, 3}) {
          Problem p = training();
          p.dtype = dtype, p.head_dim = head_dim, p.nq = nq, p.nk = nq == 300 ? 1 : 5 * nq;
          p.groups = kind == 1 ? 2 : 1;
          p.causal = p.key_mask = p.head_scale = p.scale_gradient = kind == 2;
          if (kind == 3) p.batch = 1, p.heads = p.kv_heads = 1, p.l2norm_qk = false;
          ASSERT_EQ(refusal(p), "");
          expect_valid_baseline_from_the_space(family(), p, hopper());
        }
}

TEST(WgmmaBackward, NamesTheFamilyThatServesWhatItDoesNot) {
  Problem wide = training(), biased = training(), ordered = training(), narrow = training();
  wide.head_dim = 144;
  biased.bias = Bias::f32;
  ordered.deterministic = true;
  narrow.groups = 16;
  EXPECT_EQ(refusal(training()), "");
  for (const Problem& p : {wide, biased, ordered})
    EXPECT_NE(refusal(p).find("mma serves"), std::string::npos) << refusal(p);
  EXPECT_NE(refusal(narrow).find("simt"), std::string::npos) << refusal(narrow);
}

// Registers are given back and taken in multiples of 8, and a block has 65536.
TEST(WgmmaBackward, GivesItsWarpgroupsNoMoreRegistersThanABlockHas) {
  for (const int warpgroups : {1, 2})
    for (const int dq_registers : {64, 72, 88, 96}) {
      BackwardConfig config;
      config.warpgroups = warpgroups, config.dq_registers = dq_registers;
      EXPECT_EQ(config.consumer_registers() % 8, 0);
      EXPECT_LE(128 * (warpgroups * config.consumer_registers() + dq_registers + config.kCopyRegisters),
                config.launch_registers() * config.threads());
      EXPECT_LE(config.launch_registers() * config.threads(), 65536);
    }
}

TEST(WgmmaBackward, ComputesDQByProductsOfWholePanelsThatDivideTheChannels) {
  for (int head_dim = 16; head_dim <= 128; head_dim += 16)
    for (const int columns : {32, 64, 80, 96, 112, 128}) {
      Problem p = training();
      p.head_dim = head_dim;
      const Traits traits = traits_of(p);
      BackwardConfig config;
      config.dq_columns = columns;
      const int width = config.dq_width(traits);
      EXPECT_EQ(head_dim % width, 0);
      EXPECT_EQ(width % BackwardConfig::panel_channels(traits), 0);
      EXPECT_TRUE(width <= columns || width == BackwardConfig::panel_channels(traits));
    }
}

TEST(WgmmaBackward, CopiesTilesOfTheNormalisedTensorsWhereTheyComeFirst) {
  Problem p = training();
  const BackwardConfig config;
  const auto tensors = [&] {
    std::vector<int> list;
    const LaunchPlan plan = plan_of(p, config);
    for (int i = 0; i < plan.map_count; ++i) list.push_back(plan.maps[i].tensor);
    return list;
  };
  using Tensors = std::vector<int>;
  // K is normalised by each block, but for groups of channels.
  EXPECT_EQ(tensors(), (Tensors{TensorMap::workspace, TensorMap::k, TensorMap::v, kDoutTensor}));
  p.groups = 2;
  EXPECT_EQ(tensors(), (Tensors{TensorMap::workspace, TensorMap::workspace, TensorMap::v, kDoutTensor}));
  p.groups = 1, p.l2norm_qk = false;
  EXPECT_EQ(tensors(), (Tensors{TensorMap::q, TensorMap::k, TensorMap::v, kDoutTensor}));
}

TEST(WgmmaBackward, FindsTheGradientOfTheOutputForItsMaps) {
  const char dout[64] = {};
  BackwardArgs args;
  args.dout = dout;
  TensorMap map;
  map.tensor = kDoutTensor, map.first_byte = 16;
  EXPECT_EQ(start_of(map, args), dout + 16);
  args.v = dout + 32;
  map.tensor = TensorMap::v;
  EXPECT_EQ(start_of(map, args), dout + 48);
}

TEST(WgmmaBackward, LaunchesTheGradientOfTheScaleOnlyWhereItIsWanted) {
  Problem p = training();
  EXPECT_EQ(plan_of(p, {}).count, 3);
  p.scale_gradient = true;
  ASSERT_EQ(plan_of(p, {}).count, 4);
  EXPECT_EQ(plan_of(p, {}).steps[3].grid_x, 8u);  // a block for each head
}

// Inputs, gradients and lse aside: an f32 copy of dQ, q over its norms in 16 bits, and three numbers of each
// row.
TEST(WgmmaBackward, NeedsNoWorkspaceThatGrowsWithTheProductOfTheLengths) {
  Problem p = training();
  p.nq = p.nk = 16384, p.scale_gradient = true;
  const double rows = 2.0 * 8 * 16384;
  EXPECT_LE(plan_of(p, {}).workspace_bytes, rows * (64 * (4 + 2) + 12) + 1024);
  p.l2norm_qk = false;
  EXPECT_LE(plan_of(p, {}).workspace_bytes, rows * (64 * 4 + 12) + 1024);
}

}  // namespace
}  // namespace fcsa::kernels
