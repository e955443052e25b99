#include <gtest/gtest.h>

#include <tuple>
#include <vector>

#include "kernels/families.h"
#include "kernels/wgmma/config.h"
#include "tests/kernels/valid_baseline.h"

namespace fcsa::kernels {
namespace {

using wgmma::ForwardConfig;
using Numbers = std::vector<long long>;

const Family& family() {
  return family_named("wgmma");
}

const Target& hopper() {
  static const Target target = target_for_arch("sm_90a");
  return target;
}

Problem biased(Bias bias = Bias::f32) {
  Problem p;
  p.dtype = DType::bf16, p.head_dim = 64, p.bias = bias;
  p.batch = 6, p.heads = p.kv_heads = 4, p.nq = 200, p.nk = 320;
  p.bias_batch = 3;
  return p;
}

LaunchPlan plan_of(const Problem& p, const BackwardArgs& args) {
  return family().plan(traits_of(p), family().baseline(p, hopper()), args);
}

TEST(WgmmaBias, HasAValidBaselineForEveryHeadDim) {
  for (const Bias bias : {Bias::f32, Bias::same})
    for (int head_dim = 16; head_dim <= 256; head_dim += 16)
      for (const auto& [nq, nk] : {std::tuple{1, 8192}, {49, 49}, {64, 64}, {197, 197}, {4096, 4096}})
        for (const bool features : {false, true}) {
          Problem p = biased(bias);
          p.head_dim = head_dim, p.nq = nq, p.nk = nk;
          p.causal = p.key_mask = p.head_scale = features;
          expect_valid_baseline_from_the_space(family(), p, hopper());
        }
}

TEST(WgmmaBias, IsCopiedByTheTmaInPanelsOfSwizzledRows) {
  for (const Bias bias : {Bias::f32, Bias::same}) {
    const Problem p = biased(bias);
    const long long bytes = bias == Bias::f32 ? 4 : 2;
    const LaunchPlan plan = plan_of(p, shape_args(p));
    ASSERT_EQ(plan.map_count, 4);
    const TensorMap& map = plan.maps[3];
    EXPECT_EQ(map.tensor, TensorMap::bias);
    ASSERT_EQ(map.rank, 4);
    EXPECT_EQ(Numbers(map.size, map.size + 4), (Numbers{bytes / 2 * p.nk, p.nq, p.heads, 3}));
    EXPECT_EQ(Numbers(map.stride_bytes, map.stride_bytes + 3),
              (Numbers{bytes * p.nk, bytes * p.nk * p.nq, bytes * p.nk * p.nq * p.heads}));
    EXPECT_EQ(2 * map.box[0], map.swizzle_bytes);
    EXPECT_EQ(map.box[1], ForwardConfig::kRows);
  }
}

// Strides of the tensor map have to be multiples of 16 bytes, and the driver takes none of zero.
TEST(WgmmaBias, IsLeftToTheWarpgroupsWhereTheTmaCannotCopyIt) {
  const Problem p = biased();
  const auto maps = [&](auto change) {
    BackwardArgs args = shape_args(p);
    change(args);
    return plan_of(p, args).map_count;
  };
  EXPECT_EQ(maps([](auto&) {}), 4);
  EXPECT_EQ(maps([](auto& args) { args.bias_strides.row += 1; }), 3);
  EXPECT_EQ(maps([](auto& args) { args.bias_strides.row = 0; }), 3);
  EXPECT_EQ(maps([](auto& args) { args.bias_strides.head += 2; }), 3);
  EXPECT_EQ(maps([](auto& args) { args.bias_strides.batch = 0; }), 3);
  EXPECT_EQ(maps([](auto& args) { args.bias_heads = 1, args.bias_strides.head = 1; }), 4)
      << "a stride that nobody uses has no say";
  alignas(16) static const float values[8] = {};
  EXPECT_EQ(maps([](auto& args) { args.bias = values + 4; }), 4);
  EXPECT_EQ(maps([](auto& args) { args.bias = values + 1; }), 3);
}

TEST(WgmmaBias, TakesItsSharedMemory) {
  ForwardConfig config;
  Traits traits = traits_of(biased());
  const int one = config.smem_bytes(traits);
  config.bias_stages = 2;
  EXPECT_EQ(config.smem_bytes(traits) - one, 128 * 128 * 4 + 16);
  traits.bias = Bias::none;
  config.bias_stages = 1;
  EXPECT_EQ(one - config.smem_bytes(traits), 128 * 128 * 4 + 16);
}

TEST(WgmmaBias, LeavesNoMapForTheStoreAndNoRowsOfOtherHeads) {
  const Problem p = biased();
  for (const char* parameter : {"tma_store", "pack_heads"}) {
    Configuration configuration = family().baseline(p, hopper());
    for (auto& [name, value] : configuration.values)
      if (name == parameter) value = 1;
    EXPECT_NE(invalid_reason(family(), p, configuration, hopper()), "") << parameter;
  }
}

TEST(WgmmaBias, IsOfTheForwardPassAlone) {
  Problem p = biased();
  p.op = Op::backward;
  EXPECT_NE(family().unsupported(p, hopper()).find("bias"), std::string::npos);
}

}  // namespace
}  // namespace fcsa::kernels
