// Which problems a kernel has to pass before it is timed.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "kernels/families.h"
#include "tests/runner/verification/reference_kernel.h"

namespace fcsa::runner {
namespace {

using kernels::DType;
using kernels::Problem;

TEST(SmallChecks, KeepTheTraitsSoThatOneBinaryServesThem) {
  const auto family = kernels::make_unfused_cpu_family();
  const Problem p{.dtype = DType::f16,
                  .head_dim = 80,
                  .batch = 4,
                  .heads = 32,
                  .kv_heads = 8,
                  .nq = 4096,
                  .nk = 4096,
                  .causal = true,
                  .key_mask = true,
                  .scale = 9.5f,
                  .logit_bound = {}};
  const std::vector<Check> checks = small_checks(*family, p, family->baseline(p, {}), 1);
  EXPECT_GE(checks.size(), 10u);
  std::set<Values> values;
  std::set<kernels::Layout> layouts;
  std::set<Placement> placements;
  bool more_queries = false, more_keys = false, grouped = false;
  for (const Check& check : checks) {
    EXPECT_EQ(kernels::traits_of(check.problem), kernels::traits_of(p));
    EXPECT_EQ(check.problem.scale, p.scale);
    EXPECT_EQ(check.plan.count, 4);
    EXPECT_LT(std::min(kernels::flops(check.problem), check.reference_flops), 0.2e9);
    placements.insert(check.placement);
    kernels::validate(check.problem);
    values.insert(check.values);
    layouts.insert(check.problem.layout);
    more_queries |= check.problem.nq > check.problem.nk;
    more_keys |= check.problem.nk > check.problem.nq;
    grouped |= check.problem.heads > check.problem.kv_heads && check.problem.kv_heads > 1;
  }
  EXPECT_EQ(values.size(), std::size(kAllValues) - 1) << "large_bias needs a bias";
  EXPECT_EQ(layouts.size(), 2u);
  EXPECT_EQ(placements.size(), std::size(kAllPlacements));
  EXPECT_TRUE(more_queries && more_keys && grouped);
}

TEST(SmallChecks, PutLengthsOnBothSidesOfTheTile) {
  const auto family = kernels::make_unfused_cpu_family();
  const Problem p = base_problem();
  const kernels::Tile tile = family->tile({});
  std::set<int> nq, nk;
  for (const Check& check : small_checks(*family, p, family->baseline(p, {}), 1)) {
    nq.insert(check.problem.nq);
    nk.insert(check.problem.nk);
  }
  for (const int off : {-1, 0, 1}) {
    EXPECT_TRUE(nq.contains(tile.rows + off));
    EXPECT_TRUE(nk.contains(tile.keys + off));
  }
}

TEST(SmallChecks, OfABiasBroadcastItAndMakeItLarge) {
  const auto family = kernels::make_unfused_cpu_family();
  Problem p = base_problem();
  p.bias = kernels::Bias::f32;
  bool broadcast = false, full = false, large = false, some_batches = false;
  for (const Check& check : small_checks(*family, p, family->baseline(p, {}), 1)) {
    kernels::validate(check.problem);
    if (check.problem.batch > 1 && check.problem.heads > 1)
      (check.problem.bias_heads == 1 ? broadcast : full) = true;
    large |= check.values == Values::large_bias;
    some_batches |= check.problem.bias_batch == 2 && check.problem.batch == 4;
  }
  EXPECT_TRUE(broadcast && full && large && some_batches);
}

TEST(SmallChecks, HideWholeTilesAndHaveManyOfThem) {
  const auto family = kernels::make_unfused_cpu_family();
  Problem p = base_problem();
  p.key_mask = true;
  const kernels::Tile tile = family->tile({});
  bool first_hidden = false, between = false, many = false;
  for (const Check& check : small_checks(*family, p, family->baseline(p, {}), 1)) {
    const HostInputs inputs = make_inputs(check.problem, check.values, check.seed);
    const int tiles = check.problem.nk / tile.keys;
    std::vector<bool> shown;
    for (int t = 0; t < tiles; ++t) {
      const auto first = inputs.key_mask.begin() + t * tile.keys;
      shown.push_back(std::any_of(first, first + tile.keys, [](auto byte) { return byte != 0; }));
    }
    first_hidden |= tiles > 1 && !shown.front() && shown.back();
    between |= tiles > 2 && shown.front() && shown.back() &&
               std::find(shown.begin(), shown.end(), false) != shown.end();
    many |= tiles >= 8 && check.problem.nk % tile.keys != 0 && check.problem.nq > 8 * tile.rows;
  }
  EXPECT_TRUE(first_hidden && between && many);
}

TEST(SmallChecks, LeaveOutAlignedRowsWhereSmallerLogitsArePromised) {
  const auto family = kernels::make_unfused_cpu_family();
  Problem p = base_problem();
  p.logit_bound = 4.0f;
  for (const Check& check : small_checks(*family, p, family->baseline(p, {}), 1)) {
    EXPECT_NE(check.values, Values::dominant_key);
    EXPECT_NE(check.values, Values::opposed);
  }
}

}  // namespace
}  // namespace fcsa::runner
