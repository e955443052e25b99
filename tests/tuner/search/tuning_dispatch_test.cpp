// What tune() does for the dispatch table.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/tuner/search/cpu_tuning_bench.h"

namespace fcsa::tuner {
namespace {

using Dispatch = TuningOptions::Dispatch;
using testing::problem_of;

struct Bench : testing::CpuBench {
  Bench() { options.dispatch = Dispatch::yes; }
};

TEST(TuningForDispatch, AddsTheEmptiestShapeOfTheGrid) {
  Bench bench;
  const auto outcome = bench.run();
  ASSERT_EQ(outcome.problems.size(), 3u);
  EXPECT_TRUE(outcome.problems[2].added);
  EXPECT_EQ(outcome.problems[2].problem, problem_of(256, 1));
  EXPECT_FALSE(outcome.problems[2].best.empty());
  EXPECT_FALSE(outcome.problems[0].added);
}

TEST(TuningForDispatch, ProbesAfterTheSearchAndReportsIt) {
  Bench bench;
  const auto outcome = bench.run();
  EXPECT_GT(bench.sink.count(Phase::probe), 0u);
  ASSERT_EQ(outcome.classes.size(), 1u);
  EXPECT_GT(outcome.classes[0].probes, 0u);
  EXPECT_GT(outcome.classes[0].shapes, 3u);
  EXPECT_EQ(outcome.classes[0].left_out.unpriced, 0u);
  EXPECT_FALSE(bench.progress.back().probe.empty());
}

TEST(TuningForDispatch, KeepsProbesWithinTheBudget) {
  Bench bench;
  bench.options.max_evaluations = 0;
  bench.options.budget = std::chrono::seconds(100);
  bench.evaluator.each = std::chrono::milliseconds(500);
  bench.run();
  EXPECT_GT(bench.sink.count(Phase::probe), 0u);
  EXPECT_LE(bench.evaluator.now().time_since_epoch(), std::chrono::seconds(103));
  const auto first = std::find_if(bench.progress.begin(), bench.progress.end(),
                                  [](const Progress& p) { return !p.probe.empty(); });
  EXPECT_LE(first->elapsed_s, 90);
}

TEST(TuningForDispatch, ProbesOnlyWhatTheSinkHasWhenAskedTo) {
  Bench bench;
  bench.options.dispatch = Dispatch::no;
  EXPECT_TRUE(bench.run().classes.empty());
  EXPECT_EQ(bench.sink.count(Phase::probe), 0u);
  const auto searched = bench.sink.count(Phase::search);
  bench.options.dispatch = Dispatch::only;
  const auto outcome = bench.run();
  EXPECT_TRUE(outcome.problems.empty());
  EXPECT_EQ(outcome.classes.size(), 1u);
  EXPECT_EQ(bench.sink.count(Phase::search), searched);
  EXPECT_GT(bench.sink.count(Phase::probe), 0u);
}

TEST(TuningForDispatch, DoesNotRepeatProbesOfAnEarlierRun) {
  Bench bench;
  bench.run();
  const auto before = bench.sink.count(Phase::probe);
  bench.options.dispatch = Dispatch::only;
  bench.run();
  EXPECT_LT(bench.sink.count(Phase::probe) - before, before);
}

TEST(TuningForDispatch, StopsWhenAskedTo) {
  Bench bench;
  bench.stop = true;
  const auto outcome = bench.run();
  EXPECT_TRUE(outcome.interrupted);
  EXPECT_TRUE(bench.sink.trials.empty());
}

}  // namespace
}  // namespace fcsa::tuner
