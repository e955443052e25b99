// Searching where the most is expected to be lost, until little is.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/tuner/search/cpu_tuning_bench.h"

namespace fcsa::tuner {
namespace {

using testing::problem_of;

struct Bench : testing::CpuBench {
  Bench() { options.until = 0.05; }

  // In the order of their first trial.
  std::vector<int> lengths_tried() const {
    std::vector<int> lengths;
    for (const auto& trial : sink.trials)
      if (std::find(lengths.begin(), lengths.end(), trial.problem.nq) == lengths.end())
        lengths.push_back(trial.problem.nq);
    return lengths;
  }
};

TEST(TuningUntil, LeavesOutShapesOnWhichLittleIsExpectedToBeLost) {
  Bench bench;
  bench.problems = {problem_of(2048, 4), problem_of(2112, 4), problem_of(2176, 4)};
  const auto outcome = bench.run();
  ASSERT_EQ(outcome.problems.size(), 3u);
  EXPECT_FALSE(outcome.problems[0].best.empty());
  EXPECT_FALSE(outcome.problems[0].expected_loss);
  ASSERT_TRUE(outcome.problems[1].expected_loss);
  EXPECT_GT(*outcome.problems[1].expected_loss, 0);
  EXPECT_LE(*outcome.problems[1].expected_loss, 0.05);
  EXPECT_EQ(outcome.problems[1].measured, 0u);
  EXPECT_EQ(outcome.problems[1].problem, problem_of(2112, 4));
  EXPECT_NE(outcome.problems[1].message.find("not searched: expected to lose"), std::string::npos);
}

TEST(TuningUntil, SearchesNextWhereTheMostIsExpectedToBeLost) {
  Bench bench;
  bench.problems = {problem_of(1024, 4), problem_of(1536, 4), problem_of(4096, 4), problem_of(16384, 4)};
  bench.options.until = 1e-6;
  const auto outcome = bench.run();
  const auto tried = bench.lengths_tried();
  EXPECT_EQ(std::vector<int>(tried.begin(), tried.begin() + 2), (std::vector<int>{1024, 16384}));
  EXPECT_EQ(tried.back(), 1536);
  for (std::size_t i = 0; i < bench.problems.size(); ++i)
    EXPECT_EQ(outcome.problems[i].problem, bench.problems[i]);
}

TEST(TuningUntil, SearchesEveryClassOfWhichNothingIsKnown) {
  Bench bench;
  bench.problems = {problem_of(2048, 4), problem_of(2048, 4)};
  bench.problems[1].causal = true;
  for (const auto& problem : bench.run().problems) EXPECT_FALSE(problem.best.empty());
}

TEST(TuningUntil, SaysWhatIsExpectedOfTheRestWhenTheBudgetEndsFirst) {
  Bench bench;
  bench.problems = {problem_of(2048, 4), problem_of(64, 1), problem_of(2048, 4)};
  bench.problems[2].causal = true;
  bench.evaluator.each = std::chrono::seconds(1);
  bench.options.budget = std::chrono::seconds(4);
  const auto problems = bench.run().problems;
  EXPECT_FALSE(problems[0].expected_loss);
  ASSERT_TRUE(problems[1].expected_loss && problems[2].expected_loss);
  EXPECT_GT(*problems[1].expected_loss, 0.05);
  EXPECT_TRUE(std::isfinite(*problems[1].expected_loss));
  EXPECT_TRUE(std::isinf(*problems[2].expected_loss));
  EXPECT_NE(problems[1].message.find("the budget of 4 s ended"), std::string::npos) << problems[1].message;
  EXPECT_NE(problems[1].message.find("expected to lose"), std::string::npos) << problems[1].message;
  EXPECT_NE(problems[2].message.find("nothing like it was tuned"), std::string::npos);
}

TEST(TuningUntil, DoesNotSearchAgainWhatWasTunedUnlessItsSourceHasChanged) {
  Bench bench;
  bench.problems = {problem_of(512, 4), problem_of(8192, 4)};
  bench.run();
  for (const auto& problem : bench.run().problems) {
    ASSERT_TRUE(problem.expected_loss);
    EXPECT_LE(*problem.expected_loss, 0.02);
  }
  bench.evaluator.source_version = "v2";
  for (const auto& problem : bench.run().problems) EXPECT_GT(problem.measured, 0u);
}

// Baselines alone say nothing of what a search would find.
TEST(TuningUntil, CountsAsTunedWhatWasSearchedAndRaced) {
  Bench bench;
  bench.problems = {problem_of(2048, 4)};
  const auto is_searched = [&] { return !bench.run().problems[0].expected_loss; };
  bench.options.max_evaluations = 1;
  EXPECT_TRUE(is_searched());
  bench.options.max_evaluations = 4;
  EXPECT_TRUE(is_searched());
  EXPECT_FALSE(is_searched());
  std::erase_if(bench.sink.trials, [](const Trial& trial) { return trial.phase == Phase::confirm; });
  EXPECT_TRUE(is_searched());
}

TEST(TuningUntil, ProbesNothingWhenLittleIsExpectedToBeLost) {
  Bench bench;
  bench.options.dispatch = TuningOptions::Dispatch::yes;
  bench.problems = {problem_of(256, 16), problem_of(4096, 1), problem_of(4160, 1)};
  const auto outcome = bench.run();
  EXPECT_TRUE(outcome.problems[1].expected_loss || outcome.problems[2].expected_loss);
  EXPECT_EQ(bench.sink.count(Phase::probe), 0u);
  ASSERT_EQ(outcome.classes.size(), 1u);
  EXPECT_GT(outcome.classes[0].shapes, 1u);
}

}  // namespace
}  // namespace fcsa::tuner
