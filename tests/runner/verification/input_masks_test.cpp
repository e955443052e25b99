#include "runner/verification/input_masks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <span>

#include "tests/runner/verification/input_cases.h"

namespace fcsa::runner {
namespace {

using kernels::Problem;

TEST(Inputs, MaskHidesAQuarterOfTheKeysButNeverAllAndHasSeveralBytesForVisible) {
  Problem p = small_problem();
  p.key_mask = true;
  p.nk = 2000;
  const HostInputs inputs = make_inputs(p, Values::normal, 1);
  EXPECT_NEAR(visible_keys(inputs.key_mask) / static_cast<double>(inputs.key_mask.size()), 0.75, 0.05);
  const std::set<unsigned char> bytes(inputs.key_mask.begin(), inputs.key_mask.end());
  EXPECT_EQ(bytes, (std::set<unsigned char>{0, 1, 2, 128, 255}));
  p.nk = 1;
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    EXPECT_EQ(visible_keys(make_inputs(p, Values::normal, seed).key_mask), 2);
}

TEST(Inputs, AdversarialMaskHidesAWholeRunOfKeys) {
  Problem p = small_problem();
  p.key_mask = true;
  const auto shown = [&](Values values, int first, int last) {
    const HostInputs inputs = make_inputs(p, values, 1);
    return visible_keys(
        std::span(inputs.key_mask)
            .subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first)));
  };
  EXPECT_EQ(shown(Values::large_rows, 0, p.nk / 2), 0);
  EXPECT_EQ(shown(Values::large_rows, p.nk / 2, p.nk), p.nk / 2);
  EXPECT_EQ(shown(Values::large_rows, p.nk, p.nk + p.nk / 2), p.nk / 2) << "in the next batch the others";
  EXPECT_EQ(shown(Values::large_rows, p.nk + p.nk / 2, 2 * p.nk), 0);
  EXPECT_EQ(shown(Values::tiny_rows, 0, p.nk / 4), p.nk / 4);
  EXPECT_EQ(shown(Values::tiny_rows, p.nk / 4, p.nk - p.nk / 4), 0);
  EXPECT_EQ(shown(Values::repeated_keys, p.nk - p.nk / 2, p.nk), 0);
}

TEST(Inputs, KnowWhichRowsSeeAKey) {
  Problem p = small_problem();
  p.causal = p.key_mask = true;
  p.bias = kernels::Bias::f32;
  p.nq = 120;
  const HostInputs inputs = make_inputs(p, Values::large_bias, 4);
  const std::vector<bool> sees = seeing_rows(inputs);
  const kernels::RowResults results = attend_to(inputs);
  ASSERT_EQ(sees.size(), results.lse.size());
  int blind = 0;
  for (std::size_t i = 0; i < sees.size(); ++i) {
    EXPECT_EQ(sees[i], std::isfinite(results.lse[i])) << i;
    blind += !sees[i];
  }
  EXPECT_GT(blind, p.batch * p.heads * 30) << "by the causal mask alone";
}

TEST(Inputs, HideNaNWhereNobodyLooks) {
  Problem p = small_problem();
  p.op = kernels::Op::backward;
  p.causal = p.key_mask = true;
  p.nq = 120;
  const HostInputs inputs = make_inputs(p, Values::normal, 4);
  HostInputs hidden = inputs;
  hide_with_nan(hidden);
  const auto nan_rows = [&](const std::vector<unsigned char>& tensor) {
    int count = 0;
    for (long long row = 0; row < static_cast<long long>(tensor.size()) / 4 / p.head_dim; ++row)
      count += std::isnan(row_norm(p, tensor, row));
    return count;
  };
  const int keys = p.batch * p.nk - visible_keys(inputs.key_mask);
  EXPECT_EQ(nan_rows(hidden.k), keys * p.kv_heads);
  EXPECT_EQ(nan_rows(hidden.v), keys * p.kv_heads);
  const std::vector<bool> sees = seeing_rows(inputs);
  const auto blind = std::count(sees.begin(), sees.end(), false);
  EXPECT_GE(blind, p.batch * p.heads * 30);
  EXPECT_EQ(nan_rows(hidden.q), blind);
  EXPECT_EQ(nan_rows(hidden.dout), blind);
}

TEST(Inputs, OneVisibleKeyIsOneInEveryBatch) {
  Problem p = small_problem();
  p.key_mask = true;
  const HostInputs inputs = make_inputs(p, Values::one_visible_key, 5);
  for (int batch = 0; batch < p.batch; ++batch) {
    const auto row = std::span(inputs.key_mask).subspan(static_cast<std::size_t>(batch * p.nk));
    EXPECT_EQ(visible_keys(row.first(static_cast<std::size_t>(p.nk))), 1);
  }
}

TEST(Inputs, MaskOfLengthsShowsAsManyOfTheFirstKeysAsTheySay) {
  kernels::Problem problem;
  problem.batch = 4;
  problem.nq = problem.nk = 10;
  problem.key_mask = true;
  const HostInputs inputs = make_inputs(problem, Values::normal, 1, {0, 3, 10, 12});
  const int shown[] = {0, 3, 10, 10};
  ASSERT_EQ(inputs.key_mask.size(), 40U);
  for (std::size_t i = 0; i < 40; ++i)
    EXPECT_EQ(inputs.key_mask[i] != 0, static_cast<int>(i % 10) < shown[i / 10]) << i;
}

}  // namespace
}  // namespace fcsa::runner
