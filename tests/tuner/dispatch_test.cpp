#include "tuner/dispatch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "tuner/cover.h"

namespace fcsa::tuner {
namespace {

kernels::Problem problem_of_length(int length) {
  kernels::Problem problem;
  problem.nq = problem.nk = length;
  return problem;
}

// A history of trials of one GPU, each a second later than the one before.
struct History {
  History() {
    device.uuid = "gpu-1";
    device.target = kernels::target_for_arch("sm_90a");
  }

  kernels::DeviceInfo device;
  std::vector<StoredTrial> trials;

  StoredTrial& add(const kernels::Problem& problem, const std::string& configuration, double median_ms) {
    StoredTrial stored;
    stored.id = static_cast<std::int64_t>(trials.size()) + 1;
    stored.session.device = device;
    stored.trial.problem = problem;
    stored.trial.configuration = configuration;
    stored.trial.source_hash = "v1";
    const auto second = std::to_string(1000 + trials.size());
    stored.trial.finished_at = "2025-01-01T00:" + second.substr(0, 2) + ":" + second.substr(2) + "Z";
    stored.trial.evaluation.measurement.median_ms = median_ms;
    trials.push_back(stored);
    return trials.back();
  }
  void race(const kernels::Problem& problem, const std::string& id,
            const std::vector<std::pair<std::string, double>>& medians) {
    for (const auto& [configuration, median_ms] : medians) {
      auto& stored = add(problem, configuration, median_ms);
      stored.trial.phase = Phase::confirm;
      stored.trial.race_id = id;
    }
  }
  DispatchTable table(double epsilon = 0.02) const { return make_dispatch_table(trials, "gpu-1", epsilon); }
};

const std::string kA = "simt.forward{warps=2}", kB = "simt.forward{warps=8}", kC = "simt.forward{unroll=1}";

std::string baseline_text(const kernels::Problem& problem, const kernels::Target& target,
                          const char* name = "simt") {
  const auto& family = kernels::family_named(name);
  return kernels::to_text(family, problem.op, family.baseline(problem, target));
}

TEST(Dispatch, ChoosesTheFastestConfigurationOfAShape) {
  History history;
  history.add(problem_of_length(1024), kA, 2);
  history.add(problem_of_length(1024), kB, 1);
  const auto table = history.table();
  ASSERT_EQ(table.classes.size(), 1u);
  EXPECT_EQ(table.classes[0].configurations, std::vector<std::string>{kB});
  EXPECT_EQ(table.classes[0].entries[0].chosen_ms, 1);
  EXPECT_EQ(table.classes[0].worst_regret, 0);
  EXPECT_EQ(table.device.uuid, "gpu-1");
}

TEST(Dispatch, UsesTheFewestConfigurationsWithinEpsilonOfTheBest) {
  History history;
  const std::vector<std::pair<int, std::vector<double>>> times = {
      {512, {1.00, 1.30, 1.015}}, {1024, {1.30, 1.00, 1.018}}, {2048, {1.20, 1.00, 1.01}}};
  for (const auto& [length, ms] : times) {
    history.add(problem_of_length(length), kA, ms[0]);
    history.add(problem_of_length(length), kB, ms[1]);
    history.add(problem_of_length(length), kC, ms[2]);
  }
  const auto loose = history.table(0.02);
  EXPECT_EQ(loose.classes[0].configurations, std::vector<std::string>{kC});
  EXPECT_NEAR(loose.classes[0].worst_regret, 0.018, 1e-9);
  const auto strict = history.table(0.0);
  EXPECT_EQ(strict.classes[0].configurations, (std::vector<std::string>{kA, kB}));
  EXPECT_EQ(strict.classes[0].worst_regret, 0);
}

TEST(Dispatch, GivesEachShapeTheFastestOfTheChosen) {
  History history;
  history.add(problem_of_length(512), kA, 1.0);
  history.add(problem_of_length(512), kB, 1.01);
  history.add(problem_of_length(1024), kA, 2.0);
  history.add(problem_of_length(1024), kB, 1.0);
  history.add(problem_of_length(2048), kA, 1.0);
  history.add(problem_of_length(2048), kB, 2.0);
  const auto table = history.table();
  const auto& dispatch = table.classes[0];
  ASSERT_EQ(dispatch.entries.size(), 3u);
  EXPECT_EQ(dispatch.configurations[dispatch.entries[0].choice], kA);
  EXPECT_EQ(dispatch.configurations[dispatch.entries[1].choice], kB);
  EXPECT_EQ(dispatch.configurations[dispatch.entries[2].choice], kA);
}

TEST(Dispatch, SortsEntriesByLength) {
  History history;
  for (const int length : {4096, 512, 65536, 1024}) history.add(problem_of_length(length), kA, 1);
  const auto table = history.table();
  std::vector<int> lengths;
  for (const auto& entry : table.classes[0].entries) lengths.push_back(entry.problem.nq);
  EXPECT_EQ(lengths, (std::vector<int>{512, 1024, 4096, 65536}));
}

TEST(Dispatch, KeepsClassesApart) {
  History history;
  auto causal = problem_of_length(1024);
  causal.causal = true;
  history.add(problem_of_length(1024), kA, 1);
  history.add(causal, kB, 1);
  const auto table = history.table();
  ASSERT_EQ(table.classes.size(), 2u);
  EXPECT_LT(table.classes[0].class_text, table.classes[1].class_text);
  EXPECT_EQ(choose(table, causal).configuration, kB);
  EXPECT_EQ(choose(table, problem_of_length(1024)).configuration, kA);
}

TEST(Dispatch, TrustsTheConfirmationRaceMoreThanTheSearch) {
  History history;
  history.add(problem_of_length(1024), kA, 1);
  history.add(problem_of_length(1024), kB, 1.5);
  history.race(problem_of_length(1024), "r1", {{kA, 1.4}, {kB, 1.2}});
  const auto table = history.table();
  EXPECT_EQ(table.classes[0].configurations, std::vector<std::string>{kB});
  EXPECT_EQ(table.classes[0].entries[0].best_ms, 1.2);
}

TEST(Dispatch, UsesTheLatestRaceOnly) {
  History history;
  history.race(problem_of_length(1024), "r1", {{kA, 0.5}, {kB, 0.6}});
  history.race(problem_of_length(1024), "r2", {{kA, 1.4}, {kB, 1.2}});
  const auto table = history.table();
  EXPECT_EQ(table.classes[0].configurations, std::vector<std::string>{kB});
  EXPECT_EQ(table.classes[0].entries[0].best_ms, 1.2);
}

TEST(Dispatch, LetsNoSearchTimeBeatTheWinnerOfTheRace) {
  History history;
  history.race(problem_of_length(1024), "r1", {{kA, 1.4}, {kB, 1.2}});
  history.add(problem_of_length(1024), kC, 0.1);
  EXPECT_EQ(history.table().classes[0].entries[0].best_ms, 1.2);
}

TEST(Dispatch, LeavesOutTrialsOfAnOlderSource) {
  History history;
  history.add(problem_of_length(1024), kA, 0.5).trial.source_hash = "v0";
  history.add(problem_of_length(1024), kB, 1);
  history.add(problem_of_length(2048), kA, 3);
  history.add(problem_of_length(2048), kB, 3.5);
  const auto table = history.table();
  EXPECT_EQ(choose(table, problem_of_length(1024)).configuration, kB);
  EXPECT_EQ(choose(table, problem_of_length(2048)).configuration, kA);
}

TEST(Dispatch, LeavesOutFailures) {
  History history;
  history.add(problem_of_length(1024), kA, 0).trial.evaluation.status = Status::timed_out;
  history.add(problem_of_length(1024), kB, 1);
  EXPECT_EQ(history.table().classes[0].configurations, std::vector<std::string>{kB});
}

TEST(Dispatch, NeverChoosesWhatGaveAWrongResultOnAnyShapeOfTheClass) {
  History history;
  history.add(problem_of_length(1024), kA, 1);
  history.add(problem_of_length(1024), kB, 2);
  history.add(problem_of_length(2048), kA, 0).trial.evaluation.status = Status::wrong_result;
  EXPECT_EQ(history.table().classes[0].configurations, std::vector<std::string>{kB});
}

TEST(Dispatch, LeavesOutDevicesOfAnotherModel) {
  History history;
  auto& other = history.add(problem_of_length(1024), kA, 1).session.device;
  other.uuid = "gpu-2";
  other.target.multiprocessors = 78;
  history.add(problem_of_length(1024), kB, 2);
  EXPECT_EQ(history.table().classes[0].configurations, std::vector<std::string>{kB});
}

TEST(Dispatch, PoolsTheTrialsOfDevicesOfOneModel) {
  History history;
  history.add(problem_of_length(1024), kA, 1).session.device.uuid = "gpu-2";
  history.add(problem_of_length(2048), kB, 2);
  ASSERT_EQ(history.table().classes[0].entries.size(), 2u);
  EXPECT_EQ(choose(history.table(), problem_of_length(1024)).configuration, kA);
}

TEST(Dispatch, LeavesOutYardsticksAndWhatThisBuildDoesNotKnow) {
  History history;
  history.add(problem_of_length(1024), "unfused_cuda.forward{}", 0.1);
  history.add(problem_of_length(1024), "retired.forward{}", 0.1);
  history.add(problem_of_length(1024), "simt.forward{retired=1}", 0.1);
  history.add(problem_of_length(1024), kB, 2);
  EXPECT_EQ(history.table().classes[0].configurations, std::vector<std::string>{kB});
}

TEST(Dispatch, DoesNotMixWarmAndColdTimes) {
  History history;
  history.add(problem_of_length(1024), kA, 0.1);
  history.add(problem_of_length(1024), kB, 2).trial.evaluation.measurement.cache = CacheState::cold;
  history.add(problem_of_length(1024), kA, 3).trial.evaluation.measurement.cache = CacheState::cold;
  EXPECT_EQ(history.table().classes[0].configurations, std::vector<std::string>{kB});
}

TEST(Dispatch, GivesTheTimeOfTheBaseline) {
  History history;
  const auto problem = problem_of_length(1024);
  history.add(problem, baseline_text(problem, history.device.target), 3);
  history.add(problem, kA, 1);
  history.add(problem_of_length(2048), kA, 2);
  const auto table = history.table();
  EXPECT_EQ(table.classes[0].entries[0].baseline_ms, 3);
  EXPECT_EQ(table.classes[0].entries[1].baseline_ms, 0);
}

TEST(Dispatch, RefusesAHistoryWithoutSuccessfulTrials) {
  History history;
  history.add(problem_of_length(1024), kA, 0).trial.evaluation.status = Status::crashed;
  try {
    history.table();
    FAIL() << "accepted";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("gpu-1"), std::string::npos);
  }
}

TEST(Choose, SaysThatATunedShapeIsExact) {
  History history;
  history.add(problem_of_length(1024), kA, 1);
  const auto table = history.table();
  const auto choice = choose(table, problem_of_length(1024));
  EXPECT_EQ(choice.match, Match::exact);
  EXPECT_EQ(choice.configuration, kA);
  EXPECT_EQ(choice.entry, &table.classes[0].entries[0]);
}

TEST(Choose, TakesTheNearestLengthOnALogarithmicScale) {
  History history;
  history.add(problem_of_length(1024), kA, 1);
  history.add(problem_of_length(8192), kB, 1);
  const auto table = history.table();
  EXPECT_EQ(choose(table, problem_of_length(2500)).configuration, kA);
  EXPECT_EQ(choose(table, problem_of_length(3500)).configuration, kB);
  EXPECT_EQ(choose(table, problem_of_length(1)).configuration, kA);
  EXPECT_EQ(choose(table, problem_of_length(1 << 20)).configuration, kB);
  EXPECT_EQ(choose(table, problem_of_length(2500)).match, Match::nearest);
}

TEST(Choose, LooksAtQueriesKeysAndHeadsAndNotOnlyAtTheirProduct) {
  History history;
  auto wide = problem_of_length(1);
  wide.nq = 4096;
  wide.nk = 64;
  auto square = problem_of_length(512);
  auto many = problem_of_length(512);
  many.batch = 64;
  history.add(wide, kA, 1);
  history.add(square, kB, 1);
  history.add(many, kC, 1);
  const auto table = history.table(0.0);
  auto near_wide = wide;
  near_wide.nq = 5000;
  EXPECT_EQ(choose(table, near_wide).configuration, kA);
  auto near_many = many;
  near_many.batch = 4;
  near_many.heads = 12;
  EXPECT_EQ(choose(table, near_many).configuration, kC);
  EXPECT_EQ(choose(table, problem_of_length(600)).configuration, kB);
}

TEST(Choose, FallsBackToTheBaselineForAClassThatWasNotTuned) {
  History history;
  history.add(problem_of_length(1024), kA, 1);
  const auto table = history.table();
  auto other = problem_of_length(1024);
  other.head_dim = 128;
  const auto choice = choose(table, other);
  EXPECT_EQ(choice.match, Match::default_choice);
  // The first family in order of preference that serves the problem.
  EXPECT_EQ(choice.configuration, baseline_text(other, history.device.target, "mma"));
  EXPECT_EQ(choice.entry, nullptr);
}

TEST(Choose, ConsultsTheNearestDeviceAndSaysSo) {
  History history;
  kernels::DeviceInfo small = history.device, large = history.device, here = history.device;
  small.name = "Small GPU", small.uuid = "gpu-small", small.target.multiprocessors = 20;
  large.name = "Large GPU", large.uuid = "gpu-large", large.target.multiprocessors = 140;
  here.name = "This GPU", here.uuid = "gpu-here", here.target.multiprocessors = 132;
  history.add(problem_of_length(1024), kB, 1).session.device = small;
  history.add(problem_of_length(1024), kA, 1).session.device = large;
  const auto table = dispatch_table_for(history.trials, here);
  const auto choice = choose(table, problem_of_length(1024), here);
  EXPECT_EQ(choice.configuration, kA);
  EXPECT_EQ(choice.match, Match::other_device);
  EXPECT_NE(choice.reason.find("Large GPU"), std::string::npos) << choice.reason;
}

TEST(Choose, TakesTheTableOfItsOwnModelForItsOwn) {
  History history;
  kernels::DeviceInfo twin = history.device;
  twin.uuid = "gpu-2";
  history.add(problem_of_length(1024), kA, 1);
  const auto choice = choose(dispatch_table_for(history.trials, twin), problem_of_length(1024), twin);
  EXPECT_EQ(choice.match, Match::exact);
}

TEST(Choose, ConsultsNoDeviceOfAnotherComputeCapability) {
  History history;
  kernels::DeviceInfo older = history.device;
  older.target = kernels::target_for_arch("sm_80");
  history.add(problem_of_length(1024), kA, 1);
  EXPECT_THROW(dispatch_table_for(history.trials, older), std::invalid_argument);
}

TEST(Choose, TakesTheDefaultWhereTheOtherDevicesChoiceCannotRun) {
  History history;
  history.add(problem_of_length(1024), kA, 1);
  kernels::DeviceInfo here = history.device;
  here.name = "Tiny GPU";
  here.target.smem_per_block_bytes = 1024;
  const auto choice = choose(history.table(), problem_of_length(1024), here);
  EXPECT_EQ(choice.match, Match::default_choice);
}

TEST(Cover, FindsASmallerCoverThanGreedyWould) {
  constexpr double kFar = 1.0;
  // Greedy starts with the last, which covers four, and then needs two more.
  const std::vector<std::vector<double>> regrets = {
      {0, 0, 0, kFar, kFar, kFar}, {kFar, kFar, kFar, 0, 0, 0}, {kFar, 0, 0, 0, 0, kFar}};
  EXPECT_EQ(smallest_cover(regrets, 0.02), (std::vector<std::size_t>{0, 1}));
}

TEST(Cover, PrefersTheLeastTotalRegretAmongTheSmallest) {
  const std::vector<std::vector<double>> regrets = {{0.019, 0.019}, {0.001, 0.002}, {0.0, 0.015}};
  EXPECT_EQ(smallest_cover(regrets, 0.02), std::vector<std::size_t>{1});
}

TEST(Cover, CoversEveryShapeWhenThereAreTooManyCandidatesForAnExactAnswer) {
  constexpr std::size_t kShapes = 30, kCandidates = 2000;
  std::vector<std::vector<double>> regrets(kCandidates, std::vector<double>(kShapes, 1.0));
  for (std::size_t i = 0; i < kCandidates; ++i) {
    regrets[i][i % kShapes] = 0.0;
    regrets[i][(i * 7 + 3) % kShapes] = 0.01;
  }
  const auto chosen = smallest_cover(regrets, 0.02);
  EXPECT_LE(chosen.size(), 20u);
  for (std::size_t shape = 0; shape < kShapes; ++shape) {
    EXPECT_TRUE(std::any_of(chosen.begin(), chosen.end(), [&](auto i) { return regrets[i][shape] <= 0.02; }));
  }
}

TEST(Cover, TreatsUnknownTimesAsNotCovering) {
  constexpr double kUnknown = std::numeric_limits<double>::infinity();
  EXPECT_EQ(smallest_cover({{0, kUnknown}, {kUnknown, 0}}, 10), (std::vector<std::size_t>{0, 1}));
}

}  // namespace
}  // namespace fcsa::tuner
