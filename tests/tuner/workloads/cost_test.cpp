#include "tuner/workloads/cost.h"

#include <gtest/gtest.h>

#include "tests/tuner/history.h"
#include "tuner/dispatch/expected_loss.h"

namespace fcsa::tuner {
namespace {

using testing::History;

const std::string kA = "simt.forward{warps=2}", kB = "simt.forward{warps=8}";

// A wins up to 1024, B above.
History history_of(std::initializer_list<int> lengths) {
  History history;
  for (const int length : lengths) {
    const double ms = length * length * 1e-6;
    history.add(testing::square_problem(length), kA, length <= 1024 ? ms : 1.5 * ms);
    history.add(testing::square_problem(length), kB, length <= 1024 ? 1.2 * ms : ms);
  }
  return history;
}

double loss_at(const DispatchTable& table, const kernels::Problem& problem) {
  return expected_loss(table, choose(table, problem), problem, table.device).value();
}

TEST(ExpectedLoss, OfATunedShapeIsWhatWasMeasured) {
  History history;
  history.add(testing::square_problem(512), kA, 1.01);
  history.add(testing::square_problem(512), kB, 1.0);
  history.add(testing::square_problem(1024), kA, 1.0);
  history.add(testing::square_problem(1024), kB, 2.0);
  EXPECT_NEAR(loss_at(history.table(0.02), testing::square_problem(512)), 0.01, 1e-9);
}

TEST(ExpectedLoss, GrowsWithTheDistanceFromWhatWasTuned) {
  const auto table = history_of({256, 512, 1024, 2048, 4096}).table();
  auto wide = testing::square_problem(300), wider = wide;
  wide.nk = 2000;
  wider.nk = 30000;
  EXPECT_LT(loss_at(table, testing::square_problem(300)), loss_at(table, wide));
  EXPECT_LT(loss_at(table, wide), loss_at(table, wider));
}

// Three shapes an octave apart in keys, and what each loses that is left out.
DispatchClass class_that_loses(std::initializer_list<double> regrets) {
  DispatchClass dispatch;
  for (const double regret : regrets) {
    dispatch.rule.positions.push_back({8, 8.0 + static_cast<double>(dispatch.entries.size()), 0});
    dispatch.entries.push_back({.problem = {}, .left_out_regret = regret});
  }
  return dispatch;
}

TEST(ExpectedLoss, IsWhatShapesLoseThatAreLeftOutAsFarAsThatIsKnown) {
  const auto model = loss_model(class_that_loses({0.02, 0.04, 0.06}));
  EXPECT_NEAR(model.reach, 1, 1e-12);
  EXPECT_NEAR(model.per_octave, (0.02 + 0.04 + 0.06 + kUnknownLoss) / 4, 1e-12);
  EXPECT_NEAR(model.at(0.5), 0.5 * model.per_octave, 1e-12);
  EXPECT_NEAR(model.at(3), model.per_octave + 2 * kUnknownLoss, 1e-12);
  EXPECT_LT(loss_model(class_that_loses({0, 0, 0})).per_octave, model.per_octave);
  EXPECT_EQ(loss_model(DispatchClass{}).at(1), kUnknownLoss);
}

TEST(ExpectedLoss, IsUnknownWhereNothingLikeItWasTuned) {
  const auto table = history_of({512}).table();
  auto causal = testing::square_problem(512);
  causal.causal = true;
  EXPECT_FALSE(expected_loss(table, choose(table, causal), causal, table.device).has_value());
}

Workload workload_of(const std::vector<std::pair<kernels::Problem, int>>& calls) {
  Workload workload;
  for (const auto& [problem, count] : calls)
    workload.entries.push_back({.problem = problem, .count = static_cast<std::uint64_t>(count)});
  return workload;
}

TEST(WorkloadCost, IsWeightedByTheCallsAndWhatLosesMostIsFirst) {
  const auto table = history_of({512, 1024, 2048}).table();
  auto far = testing::square_problem(512);
  far.nk = 16384;
  const auto workload =
      workload_of({{testing::square_problem(512), 1}, {testing::square_problem(1024), 10}, {far, 3}});
  const auto costs = costs_of(workload, table, table.device);
  ASSERT_EQ(costs.size(), 3u);
  EXPECT_EQ(costs[0].entry->problem, far);
  const auto total = total_of(costs);
  EXPECT_EQ(total.known, 3u);
  EXPECT_NEAR(total.ms, 512 * 512e-6 + 10 * 1024 * 1024e-6 + 3 * costs[0].ms, 1e-6);
  EXPECT_NEAR(total.lost_ms, costs[0].lost_ms(), 1e-9);
}

TEST(WorkloadCost, WhatNothingIsKnownOfIsCountedApartAndFirst) {
  const auto table = history_of({512}).table();
  auto causal = testing::square_problem(512);
  causal.causal = true;
  const auto workload = workload_of({{testing::square_problem(512), 1}, {causal, 1}});
  const auto costs = costs_of(workload, table, table.device);
  EXPECT_EQ(costs[0].entry->problem, causal);
  EXPECT_FALSE(costs[0].loss.has_value());
  EXPECT_EQ(total_of(costs).unknown, 1u);
  EXPECT_EQ(total_of(costs).known, 1u);
}

}  // namespace
}  // namespace fcsa::tuner
