#include "tuner/trials/trial.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <stdexcept>

#include "tuner/trials/recording.h"

namespace fcsa::tuner {
namespace {

TEST(Trial, EveryStatusReadsBackFromItsText) {
  for (const auto status :
       {Status::ok, Status::pruned, Status::compile_failed, Status::launch_failed, Status::out_of_memory,
        Status::wrong_result, Status::timed_out, Status::crashed}) {
    EXPECT_EQ(status_from_text(to_text(status)), status);
  }
}

TEST(Trial, EveryPhaseAndCacheStateReadsBackFromItsText) {
  for (const auto phase : {Phase::search, Phase::confirm, Phase::probe, Phase::refresh})
    EXPECT_EQ(phase_from_text(to_text(phase)), phase);
  for (const auto state : {CacheState::warm, CacheState::cold}) {
    EXPECT_EQ(cache_state_from_text(to_text(state)), state);
  }
}

TEST(Trial, ACandidateIsReadBackFromItsTextAndNotFromThatOfAnotherPass) {
  const std::string text = "simt.forward{warps=8}";
  kernels::Problem problem;
  EXPECT_EQ(configuration_text(candidate_of(problem, text)), text);
  problem.op = kernels::Op::backward;
  EXPECT_THROW(candidate_of(problem, text), std::invalid_argument);
}

TEST(Trial, StatusesAreCalledAsTheDesignSays) {
  EXPECT_EQ(to_text(Status::wrong_result), "wrong_result");
  EXPECT_EQ(to_text(Status::out_of_memory), "out_of_memory");
}

TEST(Trial, AnUnknownStatusIsRefusedWithTheAcceptedOnes) {
  try {
    status_from_text("fine");
    FAIL() << "accepted";
  } catch (const std::invalid_argument& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("'fine'"), std::string::npos) << message;
    EXPECT_NE(message.find("timed_out"), std::string::npos) << message;
  }
}

TEST(Summary, TakesTheMiddleSampleWhateverTheOrder) {
  EXPECT_EQ(summarize({5, 1, 3}).median, 3);
  EXPECT_EQ(summarize({4, 1, 2, 3}).median, 2.5);
}

TEST(Summary, UsesTheExtremesBelowSixSamples) {
  const auto summary = summarize({5, 1, 3, 2, 4});
  EXPECT_EQ(summary.low, 1);
  EXPECT_EQ(summary.high, 5);
}

TEST(Summary, UsesTheOrderStatisticsOfTheBinomialTable) {
  const auto interval = [](int n) {
    std::vector<double> samples(static_cast<std::size_t>(n));
    std::iota(samples.begin(), samples.end(), 1.0);
    const auto summary = summarize(samples);
    return std::pair(summary.low, summary.high);
  };
  EXPECT_EQ(interval(6), std::pair(1.0, 6.0));
  EXPECT_EQ(interval(8), std::pair(1.0, 8.0));
  EXPECT_EQ(interval(9), std::pair(2.0, 8.0));
  EXPECT_EQ(interval(20), std::pair(6.0, 15.0));
  EXPECT_EQ(interval(100), std::pair(40.0, 61.0));
}

TEST(Summary, CoversTheTrueMedianInAtLeast95PercentOfDraws) {
  std::mt19937 random(7);
  std::exponential_distribution<double> draw(1.0);
  const double true_median = std::log(2.0);
  int covered = 0;
  for (int repeat = 0; repeat < 2000; ++repeat) {
    std::vector<double> samples(25);
    for (auto& sample : samples) sample = draw(random);
    const auto summary = summarize(samples);
    covered += summary.low <= true_median && true_median <= summary.high;
  }
  EXPECT_GE(covered, 1880);
}

TEST(Summary, OneSampleIsItsOwnInterval) {
  const auto summary = summarize({2.5});
  EXPECT_EQ(summary.low, 2.5);
  EXPECT_EQ(summary.median, 2.5);
  EXPECT_EQ(summary.high, 2.5);
}

TEST(Summary, RefusesNoSamples) {
  EXPECT_THROW(summarize({}), std::invalid_argument);
}

}  // namespace
}  // namespace fcsa::tuner
