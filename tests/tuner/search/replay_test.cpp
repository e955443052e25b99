#include "tuner/search/replay_summary.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/tuner/search/recorded_files.h"
#include "tuner/search/recorded_t4.h"

namespace fcsa::tuner {
namespace {

RecordedSpace toy() {
  auto recorded = space_from_t4("toy", testing::t4_text());
  for (const auto& time : recorded.times_ms)
    if (time && (recorded.optimum_ms == 0 || *time < recorded.optimum_ms)) recorded.optimum_ms = *time;
  return recorded;
}

std::vector<ReplayRun> runs_of(const RecordedSpace& recorded, const ReplayOptions& options, int seeds = 9) {
  std::vector<ReplayRun> runs;
  for (int seed = 1; seed <= seeds; ++seed)
    runs.push_back(replay(recorded, options, static_cast<std::uint64_t>(seed)));
  return runs;
}

TEST(Replay, FindsTheOptimumWhenEverythingIsTried) {
  const auto recorded = toy();
  const auto run = replay(recorded, {.strategy = "random"}, 1);
  ASSERT_EQ(run.steps.size(), recorded.space.size());
  EXPECT_EQ(run.steps.back().best_ms, recorded.optimum_ms);
  EXPECT_EQ(run.finished, "every configuration was tried");
  for (std::size_t i = 1; i < run.steps.size(); ++i) {
    EXPECT_LE(run.steps[i].best_ms, run.steps[i - 1].best_ms);
    EXPECT_GE(run.steps[i].at_s, run.steps[i - 1].at_s);
  }
}

TEST(Replay, OneAtATimeTakesTheSumOfAllCompilationsAndMeasurements) {
  const auto recorded = toy();
  const auto run = replay(recorded, {.strategy = "random", .evaluations = 50}, 1);
  ASSERT_EQ(run.steps.size(), 50u);
  EXPECT_GT(run.steps.back().at_s, 50 * (0.51 + 0.04));
  EXPECT_LT(run.steps.back().at_s, 50 * (0.60 + 0.04) + 1e-9);
  EXPECT_NEAR(run.device_waited_s + 50 * 0.04, run.steps.back().at_s, 1e-9);
}

TEST(Replay, ManyProcessesKeepTheDeviceBusy) {
  const auto recorded = toy();
  const ReplayOptions options{.strategy = "random", .pending = 48, .compile_jobs = 16, .evaluations = 300};
  const auto summary = summarise(recorded, runs_of(recorded, options, 3), options);
  EXPECT_LT(summary.device_waited, 0.1);  // 16 processes compile 29 a second, the device measures 25
}

TEST(Replay, CountsEvaluationsToATargetAndMisses) {
  const auto recorded = toy();
  const ReplayOptions options{.strategy = "random", .evaluations = 30};
  const auto runs = runs_of(recorded, options);
  const auto summary = summarise(recorded, runs, options);
  ASSERT_EQ(summary.targets.size(), 3u);
  EXPECT_GE(summary.targets[2].missed, summary.targets[0].missed);
  EXPECT_GT(summary.targets[2].missed, 0u);
  EXPECT_LE(summary.targets[2].median, 30);
  std::size_t missed = 0;
  for (const auto& run : runs) missed += run.evaluations_to(0.01, recorded.optimum_ms) ? 0 : 1;
  EXPECT_EQ(summary.targets[2].missed, missed);
  ASSERT_EQ(summary.by_evaluations.size(), 2u);  // 10 and 20
  EXPECT_GE(summary.by_evaluations[0].best, summary.by_evaluations[1].best);
  EXPECT_EQ(summary.by_time.size(), 10u);
}

TEST(Replay, TheSameSeedGivesTheSameRun) {
  const auto recorded = toy();
  const ReplayOptions options{.pending = 16, .compile_jobs = 8, .evaluations = 80};
  const auto first = replay(recorded, options, 7), second = replay(recorded, options, 7);
  for (std::size_t i = 0; i < first.steps.size(); ++i) {
    EXPECT_EQ(first.steps[i].best_ms, second.steps[i].best_ms);
    EXPECT_EQ(first.steps[i].at_s, second.steps[i].at_s);
  }
}

TEST(Replay, RefusesWhatItCanNotDo) {
  const auto recorded = toy();
  EXPECT_THROW(replay(recorded, {.strategy = "magic"}, 1), std::invalid_argument);
  EXPECT_THROW(replay(recorded, {.pending = 0}, 1), std::invalid_argument);
  EXPECT_THROW(replay(recorded, {.evaluations = 0}, 1), std::invalid_argument);
  EXPECT_THROW(replay(recorded, {.pending = 361}, 1), std::invalid_argument);
}

double median_to_1_percent(const std::string& strategy, std::size_t pending) {
  const auto recorded = toy();
  const ReplayOptions options{.strategy = strategy, .pending = pending, .compile_jobs = (pending + 1) / 2};
  return summarise(recorded, runs_of(recorded, options, 15), options).targets[2].median;
}

// Two of the 360 are within 1%.
TEST(Replay, AutoNeedsAFractionOfWhatChanceNeedsAlsoWithManyPending) {
  const double random = median_to_1_percent("random", 1);
  EXPECT_LT(median_to_1_percent("auto", 1), random / 2);
  EXPECT_LT(median_to_1_percent("auto", 16), random * 0.7);
}

}  // namespace
}  // namespace fcsa::tuner
