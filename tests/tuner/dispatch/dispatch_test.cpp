#include "tuner/dispatch/dispatch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "tests/tuner/history.h"
#include "tuner/dispatch/cover.h"

namespace fcsa::tuner {
namespace {

using testing::History;

kernels::Problem problem_of_length(int length) {
  return testing::square_problem(length);
}

const std::string kA = "simt.forward{warps=2}", kB = "simt.forward{warps=8}", kC = "simt.forward{unroll=1}";

const std::string kShort = "simt.forward{min_blocks=1}", kLong = "simt.forward{unroll=4}";

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

TEST(Dispatch, SetsAnEarlierRaceInRelationThroughWhatTookPartInBoth) {
  History history;
  history.race(problem_of_length(1024), "r1", {{kA, 1.0}, {kB, 1.1}, {kC, 3.0}});
  history.race(problem_of_length(1024), "r2", {{kA, 2.0}, {kB, 2.2}});
  history.race(problem_of_length(2048), "r3", {{kA, 9.0}, {kC, 8.0}});
  const auto table = history.table();
  const auto& dispatch = table.classes[0];
  ASSERT_EQ(dispatch.configurations, (std::vector<std::string>{kC, kA}));
  EXPECT_NEAR(dispatch.entries[0].times_ms[0], 6.0, 1e-9);
  EXPECT_NEAR(dispatch.entries[0].times_ms[1], 2.0, 1e-9);
}

TEST(Dispatch, PricesWhatATableWithoutTheShapeWouldChoose) {
  History history;
  for (const int length : {512, 1024, 2048}) {
    const double ms = 1e-6 * length * length;
    history.race(problem_of_length(length), std::to_string(length), {{kShort, ms}, {kLong, 1.1 * ms}});
  }
  history.race(problem_of_length(4096), "4096", {{kShort, 22.0}, {kLong, 20.0}});
  const auto table = history.table();
  const auto& dispatch = table.classes[0];
  EXPECT_EQ(dispatch.entries[3].left_out_choice, kShort);
  EXPECT_NEAR(*dispatch.entries[3].left_out_regret, 0.1, 1e-9);
  EXPECT_NEAR(*dispatch.entries[0].left_out_regret, 0.0, 1e-9);
  EXPECT_NEAR(dispatch.left_out.worst_regret, 0.1, 1e-9);
  EXPECT_EQ(dispatch.left_out.median_regret, 0);
  EXPECT_EQ(dispatch.left_out.priced, 4u);
}

TEST(Dispatch, CountsShapesWithoutAPrice) {
  History history;
  history.add(problem_of_length(512), kA, 1);
  history.add(problem_of_length(1024), kB, 1);
  const auto table = history.table();
  EXPECT_EQ(table.classes[0].left_out.unpriced, 2u);
  EXPECT_EQ(table.classes[0].entries[0].left_out_choice, kB);
  EXPECT_FALSE(table.classes[0].entries[0].left_out_regret);
}

TEST(Dispatch, LetsNoSearchTimeBeatTheWinnerOfTheRace) {
  History history;
  history.race(problem_of_length(1024), "r1", {{kA, 1.4}, {kB, 1.2}});
  history.add(problem_of_length(1024), kC, 0.1);
  EXPECT_EQ(history.table().classes[0].entries[0].best_ms, 1.2);
}

// A race is long, and the GPU slower at its power limit than in the search: what the search found to be
// slower than the winner stays so.
TEST(Dispatch, ComparesSearchTimesThroughWhatTookPartInTheRaceToo) {
  History history;
  history.add(problem_of_length(1024), kA, 1.0);
  history.add(problem_of_length(1024), kB, 1.01);
  history.add(problem_of_length(1024), kC, 1.1);
  history.race(problem_of_length(1024), "r1", {{kA, 1.2}, {kB, 1.212}});
  history.add(problem_of_length(2048), kC, 5.0);  // nothing else will do there
  const auto table = history.table(0).classes[0];
  EXPECT_EQ(table.configurations.at(table.entries[0].choice), kA);
  const auto place = std::find(table.configurations.begin(), table.configurations.end(), kC);
  ASSERT_NE(place, table.configurations.end());
  EXPECT_NEAR(table.entries[0].times_ms.at(place - table.configurations.begin()), 1.1 * 1.2, 1e-9);
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

// kShort is the faster up to 1,024 queries, kLong from 8,192 on; their tiles are alike.
History of_short_and_long() {
  History history;
  for (const int length : {512, 1024, 8192, 16384}) {
    const double ms = 1e-6 * length * length;
    history.race(problem_of_length(length), std::to_string(length),
                 {{kShort, length < 4096 ? ms : 1.2 * ms}, {kLong, length < 4096 ? 1.2 * ms : ms}});
  }
  return history;
}

TEST(Choose, TakesForAnotherShapeWhatIsFastestAroundIt) {
  const auto table = of_short_and_long().table();
  EXPECT_EQ(choose(table, problem_of_length(700)).configuration, kShort);
  EXPECT_EQ(choose(table, problem_of_length(1500)).configuration, kShort);
  EXPECT_EQ(choose(table, problem_of_length(6000)).configuration, kLong);
  EXPECT_EQ(choose(table, problem_of_length(1 << 20)).configuration, kLong);
}

TEST(Choose, NamesTheNearestShapeAndThePredictedTimeOfAnother) {
  const auto table = of_short_and_long().table();
  const auto choice = choose(table, problem_of_length(700));
  EXPECT_EQ(choice.match, Match::nearest);
  EXPECT_EQ(choice.entry, &table.classes[0].entries[0]);
  EXPECT_GT(choice.predicted_ms, 1e-6 * 512 * 512);
  EXPECT_LT(choice.predicted_ms, 1e-6 * 1024 * 1024);
  EXPECT_NE(choice.reason.find("N = 512"), std::string::npos) << choice.reason;
}

// Tiles of 128 and of 256 rows, as fast as each other in whole tiles.
TEST(Choose, TakesTheTilesThatWasteTheFewestQueries) {
  const std::string narrow = "simt.forward{}", wide = "simt.forward{warps=8}";
  History history;
  for (const int length : {1024, 2048, 4096}) {
    auto problem = problem_of_length(length);
    problem.heads = problem.kv_heads = 132;
    const double ms = 1e-6 * length * length;
    history.race(problem, std::to_string(length), {{narrow, 1.03 * ms}, {wide, ms}});
  }
  for (const int length : {64, 128}) {
    auto problem = problem_of_length(length);
    problem.heads = problem.kv_heads = 132;
    history.race(problem, std::to_string(length), {{narrow, 1}, {wide, 2}});
  }
  const auto table = history.table();
  auto problem = problem_of_length(2048);
  problem.heads = problem.kv_heads = 132;
  EXPECT_EQ(choose(table, problem).configuration, wide);
  problem.nq = problem.nk = 2048 + 100;
  EXPECT_EQ(choose(table, problem).configuration, narrow);
}

TEST(Choose, CountsTheMultiprocessorsOfTheDeviceAtHand) {
  const std::string narrow = "simt.forward{}", wide = "simt.forward{warps=8}";
  History history;
  for (const int heads : {66, 132, 264, 528}) {
    auto problem = problem_of_length(1024);
    problem.heads = problem.kv_heads = heads;
    history.race(problem, std::to_string(heads), {{narrow, 1.03 * heads}, {wide, 1.0 * heads}});
  }
  auto problem = problem_of_length(128);
  problem.nk = 1024;
  problem.heads = problem.kv_heads = 132;
  history.race(problem, "few", {{narrow, 10}, {wide, 20}});
  const auto table = history.table();
  auto larger = history.device;
  larger.name = "Larger GPU";
  larger.target.multiprocessors = 264;
  auto between = problem_of_length(1024);
  between.heads = between.kv_heads = 33;  // 132 wide tiles, 264 narrow ones
  EXPECT_EQ(choose(table, between).configuration, wide);
  EXPECT_EQ(choose(table, between, larger).configuration, narrow);
}

TEST(Choose, TakesNothingThatWasNotMeasuredOnTheNearestShape) {
  History history;
  history.add(problem_of_length(1024), kA, 1);
  history.add(problem_of_length(8192), kB, 1e-3);
  EXPECT_EQ(choose(history.table(), problem_of_length(1100)).configuration, kA);
}

// Gradients by atomics are the fastest everywhere, and never the same twice.
History history_of_gradients() {
  History history;
  for (const int length : {512, 2048}) {
    auto problem = square_problem(length);
    problem.op = kernels::Op::backward;
    history.race(problem, "race" + std::to_string(length),
                 {{"simt.backward{dq_atomics=1}", 1.0},
                  {"simt.backward{}", 1.5},
                  {"simt.backward{key_stages=1}", 1.6}});
  }
  return history;
}

TEST(Choose, TakesTheNextPredictedOneWhereTheFirstDoesNotFit) {
  DispatchTable table = history_of_gradients().table();
  DispatchClass& dispatch = table.classes.front();
  dispatch.configurations = {"simt.backward{dq_atomics=1}", "simt.backward{}", "simt.backward{key_stages=1}"};
  for (auto& entry : dispatch.entries) entry.times_ms = {1.0, 1.5, 1.6}, entry.choice = 0;
  dispatch.rule = fit_rule(dispatch, table.device.target.multiprocessors);
  for (const int length : {512, 700}) {
    auto problem = square_problem(length);
    problem.op = kernels::Op::backward;
    EXPECT_EQ(choose(table, problem).configuration, "simt.backward{dq_atomics=1}");
    problem.deterministic = true;
    const Choice choice = choose(table, problem);
    EXPECT_EQ(choice.configuration, "simt.backward{}") << choice.reason;
    EXPECT_EQ(choice.match, Match::nearest);
    EXPECT_NE(choice.reason.find("dq_atomics=1} doesn't fit: atomics"), std::string::npos) << choice.reason;
  }
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

TEST(Cover, FindsTheSmallestAmongManyThatOthersMakeSuperfluous) {
  constexpr double kFar = 1.0;
  std::vector<std::vector<double>> regrets(3000, {0.01, kFar, kFar, kFar, kFar, kFar});
  regrets[1700] = {0, 0, 0, kFar, kFar, kFar};
  regrets[2200] = {kFar, kFar, kFar, 0, 0, 0};
  regrets[2900] = {kFar, 0, 0, 0, 0, kFar};
  EXPECT_EQ(smallest_cover(regrets, 0.02), (std::vector<std::size_t>{1700, 2200}));
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
