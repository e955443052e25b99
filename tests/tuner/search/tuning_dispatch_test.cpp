// What tune() does for the dispatch table.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/tuner/fake_family.h"
#include "tuner/search/tuning.h"
#include "tuner/trials/recording.h"

namespace fcsa::tuner {
namespace {

using Dispatch = TuningOptions::Dispatch;

kernels::Problem problem_of(int length, int batch) {
  kernels::Problem problem;
  problem.nq = problem.nk = length;
  problem.batch = batch;
  return problem;
}

// The cpu family, of whose configurations every other is the faster on long sequences.
Evaluation time_of(const Candidate& candidate) {
  const auto& p = candidate.problem;
  const bool short_one = std::hash<std::string>{}(configuration_text(candidate)) % 2;
  return testing::succeeded((p.nq < 1000) == short_one ? 1e-6 * p.batch * p.nq * p.nk
                                                       : 1.2e-6 * p.batch * p.nq * p.nk);
}

struct Bench {
  testing::FakeEvaluator evaluator{time_of};
  testing::MemorySink sink;
  TuningOptions options{.strategy = "random", .max_evaluations = 4, .dispatch = Dispatch::yes};
  std::vector<kernels::Problem> problems{problem_of(256, 16), problem_of(4096, 1)};
  std::vector<Progress> progress;
  std::atomic<bool> stop{false};

  Bench() {
    evaluator.info.target.arch = "generic";
    evaluator.info.target.l2_bytes = 1 << 20;
    evaluator.info.target.smem_per_block_bytes = 1 << 15;
  }
  TuningOutcome run() {
    options.clock = [this] { return evaluator.now(); };
    return tune(
        problems, {&kernels::family_named("cpu")}, evaluator, sink, options,
        [this](const Progress& p) { progress.push_back(p); }, stop);
  }
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
