#include "tuner/search/tuning.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/tuner/search/tuning_bench.h"

namespace fcsa::tuner {
namespace {

using testing::Bench;
using testing::failed;
using testing::message_of;
using testing::problem_of_length;
using testing::toy_time;

TEST(TuningRun, RepeatsNoTrialWhenRunAgain) {
  Bench bench;
  bench.run();
  bench.evaluator.evaluated.clear();
  bench.evaluator.prefetched.clear();
  const auto outcome = bench.run();
  EXPECT_TRUE(bench.evaluator.evaluated.empty());
  EXPECT_TRUE(bench.evaluator.prefetched.empty());
  EXPECT_EQ(outcome.problems[0].reused, 24u);
  EXPECT_EQ(outcome.problems[0].measured, 0u);
  EXPECT_EQ(outcome.problems[0].best, "toy.forward{a=8,b=2}");
  EXPECT_EQ(bench.evaluator.races.size(), 2u);
}

TEST(TuningRun, ResumesWhereAnInterruptedRunStopped) {
  Bench bench;
  bench.options.strategy = "local";
  bench.options.max_evaluations = 20;
  Bench whole;
  whole.options = bench.options;
  whole.run();

  bench.also = [&](const Progress& p) {
    if (p.evaluation == 7) bench.stop = true;
  };
  bench.run();
  EXPECT_EQ(bench.evaluator.evaluated.size(), 7u);
  bench.stop = false;
  bench.also = nullptr;
  bench.run();
  EXPECT_EQ(bench.evaluator.evaluated, whole.evaluator.evaluated);
}

TEST(TuningRun, MeasuresAgainWhenTheSourceChanged) {
  Bench bench;
  bench.run();
  bench.evaluator.source_version = "v2";
  EXPECT_EQ(bench.run().problems[0].measured, 24u);
}

TEST(TuningRun, MeasuresAgainOnAnotherDevice) {
  Bench bench;
  bench.run();
  bench.sink.device.uuid = "device-2";
  EXPECT_EQ(bench.run().problems[0].measured, 24u);
}

TEST(TuningRun, ReusesFailuresExceptThoseThatMayPass) {
  for (const auto status : {Status::pruned, Status::compile_failed, Status::wrong_result, Status::timed_out,
                            Status::crashed, Status::launch_failed, Status::out_of_memory}) {
    Bench bench;
    bench.evaluator.on_evaluate = [&](const Candidate& candidate) {
      return testing::text_of(candidate) == "toy.forward{b=3}" ? failed(status) : toy_time(candidate);
    };
    bench.run();
    bench.evaluator.evaluated.clear();
    bench.run();
    const bool may_pass = status == Status::launch_failed || status == Status::out_of_memory;
    EXPECT_EQ(bench.evaluator.evaluated.size(), may_pass ? 1u : 0u) << to_text(status);
  }
}

TEST(TuningRun, StopsAtTheLimitOfEvaluationsPerProblem) {
  Bench bench;
  bench.problems = {problem_of_length(512), problem_of_length(1024)};
  bench.options.max_evaluations = 9;
  const auto outcome = bench.run();
  EXPECT_EQ(outcome.problems[0].measured, 9u);
  EXPECT_EQ(outcome.problems[1].measured, 9u);
}

TEST(TuningRun, CompilesNothingBeyondTheLimitOfEvaluations) {
  Bench bench;
  bench.options.max_evaluations = 9;
  bench.run();
  EXPECT_EQ(bench.evaluator.prefetched.size(), 9u);
}

TEST(TuningRun, KeepsToItsBudgetAndStillRacesEveryProblem) {
  Bench bench;
  bench.problems = {problem_of_length(512), problem_of_length(1024), problem_of_length(2048)};
  bench.evaluator.each = std::chrono::duration<double>(1);
  bench.options.finalists = 2;
  bench.options.budget = std::chrono::duration<double>(40);
  const auto outcome = bench.run();
  EXPECT_EQ(bench.evaluator.races.size(), 3u);
  EXPECT_LE(outcome.total_s, 43);
  EXPECT_GE(outcome.total_s, 35);
}

TEST(TuningRun, MeasuresBaselinesAndRacesEvenWithoutAnyBudget) {
  Bench bench;
  bench.problems = {problem_of_length(512), problem_of_length(1024)};
  bench.evaluator.each = std::chrono::duration<double>(1);
  bench.options.budget = std::chrono::duration<double>(0);
  const auto outcome = bench.run();
  EXPECT_EQ(bench.evaluator.evaluated.size(), 2u);
  EXPECT_EQ(bench.evaluator.races.size(), 2u);
  for (const auto& problem : outcome.problems) {
    EXPECT_EQ(problem.best, "toy.forward{}");
    EXPECT_EQ(problem.unfused_ms, 20);
  }
}

TEST(TuningRun, GivesTimeThatOneProblemDoesNotNeedToTheOthers) {
  Bench bench;
  bench.problems = {problem_of_length(512), problem_of_length(1024)};
  bench.problems[0].causal = true;
  bench.toy.rules = {
      {"small when causal", [](const kernels::Problem& p, const kernels::Configuration& c, const auto&) {
         return !p.causal || (c.at("b") == 1 && c.at("a") <= 2);
       }}};
  bench.evaluator.each = std::chrono::duration<double>(1);
  bench.options.budget = std::chrono::duration<double>(32);
  const auto outcome = bench.run();
  EXPECT_EQ(outcome.problems[0].measured, 2u);
  EXPECT_GT(outcome.problems[1].measured, 15u);
}

TEST(TuningRun, DividesTheBudgetOverProblems) {
  Bench bench;
  bench.problems = {problem_of_length(512), problem_of_length(1024)};
  bench.evaluator.each = std::chrono::duration<double>(1);
  bench.evaluator.each_of_race = std::chrono::duration<double>(0.1);
  bench.options.budget = std::chrono::duration<double>(24);
  const auto outcome = bench.run();
  EXPECT_GE(outcome.problems[0].measured, 8u);
  EXPECT_GE(outcome.problems[1].measured, 8u);
}

// Compilation and verification of the baselines say little about races.
TEST(TuningRun, TriesSomethingOnEveryProblemThoughBaselinesTookLong) {
  Bench bench;
  bench.problems = {problem_of_length(512), problem_of_length(1024), problem_of_length(2048)};
  bench.evaluator.each = std::chrono::duration<double>(1);
  bench.evaluator.each_of_race = std::chrono::duration<double>(0.1);
  bench.options.budget = std::chrono::duration<double>(12);
  for (const auto& problem : bench.run().problems) EXPECT_GE(problem.measured, 3u);
}

TEST(TuningRun, StopsBetweenTrialsAndLosesNothing) {
  Bench bench;
  bench.problems = {problem_of_length(512), problem_of_length(1024)};
  bench.also = [&](const Progress& p) {
    if (p.problem == 1 && p.evaluation == 5) bench.stop = true;
  };
  const auto outcome = bench.run();
  EXPECT_TRUE(outcome.interrupted);
  EXPECT_EQ(bench.sink.trials.size(), bench.evaluator.evaluated.size());
  EXPECT_TRUE(bench.evaluator.races.empty());
  ASSERT_EQ(outcome.problems.size(), 2u);
  EXPECT_NE(outcome.problems[0].best, "");
  for (const auto& problem : outcome.problems)
    EXPECT_NE(problem.message.find("interrupted"), std::string::npos);
}

TEST(TuningRun, DoesNothingWhenStoppedBeforeItStarts) {
  Bench bench;
  bench.stop = true;
  EXPECT_TRUE(bench.run().interrupted);
  EXPECT_TRUE(bench.evaluator.evaluated.empty());
}

TEST(TuningRun, PassesOnWhatTheEvaluatorThrowsAfterRecordingTheRest) {
  Bench bench;
  bench.evaluator.on_evaluate = [&](const Candidate& candidate) {
    if (bench.evaluator.evaluated.size() == 4) throw std::runtime_error("the compiler is gone");
    return toy_time(candidate);
  };
  EXPECT_EQ(message_of([&] { bench.run(); }), "the compiler is gone");
  EXPECT_EQ(bench.sink.trials.size(), 3u);
}

TEST(TuningRun, RefusesAnUnknownStrategyBeforeMeasuringAnything) {
  Bench bench;
  bench.options.strategy = "magic";
  EXPECT_NE(message_of([&] { bench.run(); }).find("magic"), std::string::npos);
  EXPECT_TRUE(bench.evaluator.evaluated.empty());
}

TEST(TuningRun, ReportsProgressAfterEveryTrialAndAtTheStartOfAProblem) {
  Bench bench;
  bench.evaluator.each = std::chrono::duration<double>(1);
  bench.options.budget = std::chrono::duration<double>(600);
  bench.run();
  std::size_t trials = 0, starts = 0;
  for (const auto& p : bench.progress) {
    ++(p.candidate != nullptr ? trials : starts);
    EXPECT_EQ(p.problems, 1u);
    EXPECT_LE(p.evaluation, p.evaluations);
    EXPECT_LE(p.remaining_s, 600 - p.elapsed_s);
  }
  EXPECT_EQ(trials, 24u);
  EXPECT_EQ(starts, 1u);
  EXPECT_EQ(bench.progress.back().evaluations, 24u);
  EXPECT_EQ(bench.progress.back().best, "toy.forward{a=8,b=2}");
  EXPECT_EQ(bench.progress.back().baseline_ms, 6);
  EXPECT_LT(bench.progress.back().remaining_s, 20);
}

TEST(TuningRun, CountsTheTimeInsideTheEvaluatorApart) {
  Bench bench;
  bench.evaluator.each = std::chrono::duration<double>(1);
  const auto outcome = bench.run();
  EXPECT_DOUBLE_EQ(outcome.total_s, 24 + 6);
  EXPECT_DOUBLE_EQ(outcome.evaluating_s, outcome.total_s);
}

TEST(TuningRun, RecordsEachTrialAtOnceAndEachRaceAsAWhole) {
  Bench bench;
  bench.run();
  const auto& recorded = bench.sink.at_a_time;
  ASSERT_EQ(recorded.size(), 25u);
  EXPECT_EQ(std::count(recorded.begin(), recorded.end(), 1u), 24);
  EXPECT_EQ(recorded.back(), bench.evaluator.races.front().size());
}

TEST(TuningRun, WorksWithoutAnyProblem) {
  Bench bench;
  bench.problems.clear();
  EXPECT_TRUE(bench.run().problems.empty());
}

}  // namespace
}  // namespace fcsa::tuner
