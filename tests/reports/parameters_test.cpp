#include "reports/parameters.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tests/reports/fabricated.h"

namespace fcsa::reports {
namespace {

using fabricated::Database;
using fabricated::gpu;
using fabricated::problem;
using fabricated::took;

// What was tried: warps (default 4) and stages (default 2) of simt.
struct Tried {
  int warps = 4, stages = 2;
  double time_ms = 1;
};

Database& search(Database& database, int length, const std::vector<Tried>& all) {
  for (const Tried& tried : all) {
    const kernels::Family& simt = kernels::family_named("simt");
    auto configuration = simt.baseline(problem(length), gpu().target);
    for (auto& [name, value] : configuration.values) {
      if (name == "warps") value = tried.warps;
      if (name == "stages") value = tried.stages;
    }
    database.search(problem(length), kernels::to_text(simt, kernels::Op::forward, configuration),
                    took(tried.time_ms));
  }
  return database;
}

std::vector<ParameterStudy> study(const Database& database) {
  const auto devices = collect(database.trials());
  std::vector<const Point*> points;
  for (const Point& point : devices.front().points) points.push_back(&point);
  return study_parameters(points);
}

const ParameterEffect& effect(const ParameterStudy& study, const std::string& name) {
  for (const auto& effect : study.effects)
    if (effect.name == name) return effect;
  throw std::logic_error("no effect of " + name);
}

// Every combination of four warps and three stages; only warps matter.
std::vector<Tried> only_warps_matter(int best_warps) {
  std::vector<Tried> all;
  for (const int warps : {1, 2, 4, 8})
    for (const int stages : {1, 2, 3}) all.push_back({warps, stages, warps == best_warps ? 1.0 : 2.0});
  return all;
}

TEST(Parameters, OneThatDecidesExplainsAllOfTheVariance) {
  Database database(gpu());
  const auto studies = study(search(database, 1024, only_warps_matter(8)));
  ASSERT_EQ(studies.size(), 1U);
  EXPECT_EQ(studies[0].kernel, "simt.forward");
  EXPECT_EQ(studies[0].trials, 12U);
  ASSERT_EQ(studies[0].effects.size(), 2U) << "only those that were varied";
  EXPECT_EQ(studies[0].effects[0].name, "warps");
  EXPECT_EQ(studies[0].effects[0].values, 4U);
  EXPECT_NEAR(studies[0].effects[0].share, 1.0, 1e-9);
  EXPECT_EQ(effect(studies[0], "stages").share, 0.0);
}

TEST(Parameters, ASharesChanceIsTakenOff) {
  // Two levels of warps, times unrelated to them: SS_between is not zero, the adjusted share nearly is.
  Database database(gpu());
  std::vector<Tried> all;
  for (int i = 0; i < 12; ++i) all.push_back({1 << (i % 4), 1 + i / 4, i % 2 == 0 ? 1.0 + 0.01 * i : 1.05});
  const auto studies = study(search(database, 1024, all));
  // Computed by the formula in parameters.h.
  double mean = 0, total = 0;
  std::map<int, std::pair<double, int>> groups;
  for (const auto& tried : all) mean += std::log(tried.time_ms) / 12;
  for (const auto& tried : all) {
    const double off = std::log(tried.time_ms) - mean;
    total += off * off;
    groups[tried.stages].first += off;
    ++groups[tried.stages].second;
  }
  double within = total;
  for (const auto& [stages, group] : groups) within -= group.first * group.first / group.second;
  const double expected = std::max(0.0, 1 - within / (12 - 1 - 3 + 1) / (total / (12 - 1)));
  EXPECT_NEAR(effect(studies.at(0), "stages").share, expected, 1e-9);
}

TEST(Parameters, LossIsThatOfHoldingOneValueOnEveryLength) {
  Database database(gpu());
  search(database, 1024, only_warps_matter(8));
  const auto studies = study(search(database, 4096, only_warps_matter(4)));
  const ParameterEffect& warps = effect(studies.at(0), "warps");
  ASSERT_TRUE(warps.best && warps.by_default);
  EXPECT_NEAR(warps.best->loss, std::sqrt(2.0) - 1, 1e-9) << "right on one of two, half as fast on the other";
  EXPECT_EQ(warps.by_default->value, 4);
  EXPECT_NEAR(warps.by_default->loss, std::sqrt(2.0) - 1, 1e-9);
  EXPECT_NEAR(effect(studies[0], "stages").best->loss, 0, 1e-9);
}

TEST(Parameters, AValueThatWasNotTriedEverywhereHasNoLoss) {
  Database database(gpu());
  search(database, 1024, only_warps_matter(8));
  const auto studies = study(search(database, 4096, {{8, 2, 1.0}, {8, 3, 1.5}}));
  const ParameterEffect& warps = effect(studies.at(0), "warps");
  EXPECT_EQ(warps.best->value, 8);
  EXPECT_FALSE(warps.by_default);
}

TEST(Parameters, TooFewTrialsTellNothing) {
  Database database(gpu());
  EXPECT_TRUE(study(search(database, 1024, {{1, 2, 1}, {2, 2, 2}, {4, 2, 3}, {8, 2, 4}})).empty());
}

TEST(Parameters, FailuresRacesAndYardsticksAreLeftOut) {
  Database database(gpu());
  search(database, 1024, only_warps_matter(8));
  const std::string text = database.trials().front().trial.configuration;
  database.search(problem(1024), fabricated::unfused(gpu()), took(9));
  database.confirm("race", problem(1024), text, took(50));
  EXPECT_EQ(study(database).at(0).trials, 12U);
  database.search(problem(1024), text, fabricated::failed(tuner::Status::timed_out, "slow"));
  EXPECT_NEAR(effect(study(database).at(0), "warps").share, 1.0, 1e-9);
}

}  // namespace
}  // namespace fcsa::reports
