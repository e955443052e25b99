// How the tuning loop keeps the device busy while compilers work, on a machine in simulated time.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>

#include "tests/tuner/search/tuning_bench.h"
#include "tuner/search/strategy.h"

namespace fcsa::tuner {
namespace {

using testing::MemorySink;
using testing::parameter;
using testing::problem_of_length;
using testing::succeeded;
using testing::text_of;
using testing::ToyFamily;

// Compile processes that work in the background while one device measures, in seconds that nobody waits for.
class SimulatedEvaluator final : public Evaluator {
 public:
  std::size_t processes = 16;
  double measure_s = 0.1;
  double waited_s = 0, measured_s = 0;
  std::vector<std::string> evaluated, cancelled;
  double slowdown = 1;  // of the compilers

  std::chrono::steady_clock::time_point now() const {
    return std::chrono::steady_clock::time_point(
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(
            std::chrono::duration<double>(now_s_)));
  }

  const kernels::DeviceInfo& device() const override { return info_; }
  CacheState cache_state() const override { return CacheState::warm; }
  std::string source_hash(const Candidate& candidate) override { return text_of(candidate); }
  void prefetch(std::span<const Candidate> candidates) override {
    for (const auto& candidate : candidates) queue_.push_back({text_of(candidate), now_s_});
  }
  void cancel(std::span<const Candidate> candidates) override {
    begin_until(now_s_);
    for (const auto& candidate : candidates) {
      const auto queued = std::find_if(queue_.begin(), queue_.end(),
                                       [&](const auto& q) { return q.first == text_of(candidate); });
      if (queued == queue_.end()) continue;
      cancelled.push_back(queued->first);
      queue_.erase(queued);
    }
  }
  std::size_t first_ready(std::span<const Candidate> candidates) override {
    for (;;) {
      begin_until(now_s_);
      double next_s = std::numeric_limits<double>::infinity();
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        const auto done = done_at_s_.find(text_of(candidates[i]));
        if (done == done_at_s_.end()) continue;
        if (done->second <= now_s_) return i;
        next_s = std::min(next_s, done->second);
      }
      if (!queue_.empty()) next_s = std::min(next_s, *std::min_element(free_at_s_.begin(), free_at_s_.end()));
      waited_s += next_s - now_s_;
      now_s_ = next_s;
    }
  }
  Evaluation evaluate(const Candidate& candidate) override {
    first_ready({&candidate, 1});
    now_s_ += measure_s;
    measured_s += measure_s;
    evaluated.push_back(text_of(candidate));
    const auto& c = candidate.configuration;
    double ms = 1;
    for (const auto& [name, value] : c.values) ms += std::abs(value - 5) * 0.1;
    return succeeded(ms);
  }
  std::vector<Evaluation> race(std::span<const Candidate> candidates) override {
    std::vector<Evaluation> evaluations(candidates.size(), succeeded(1));
    return evaluations;
  }

 private:
  // Half a second to one and a half, decided by the text: always the same for the same kernel.
  double compile_s(const std::string& text) const {
    return slowdown * (0.5 + static_cast<double>(std::hash<std::string>{}(text) % 100) / 100);
  }

  void begin_until(double time_s) {
    free_at_s_.resize(processes, 0);
    while (!queue_.empty()) {
      double& free_at_s = *std::min_element(free_at_s_.begin(), free_at_s_.end());
      if (free_at_s > time_s) return;
      const auto [text, since_s] = queue_.front();
      queue_.erase(queue_.begin());
      free_at_s = std::max(free_at_s, since_s) + compile_s(text);
      done_at_s_[text] = free_at_s;
    }
  }

  kernels::DeviceInfo info_ = testing::fake_device();
  double now_s_ = 0;
  std::vector<double> free_at_s_;
  std::vector<std::pair<std::string, double>> queue_;
  std::map<std::string, double> done_at_s_;
};

struct SimulatedTuning {
  SimulatedTuning() {
    for (const char* name : {"a", "b", "c", "d"})
      parameters.push_back(parameter(name, {1, 2, 3, 4, 5, 6, 7, 8}, 1));
  }

  TuningOutcome run(const std::string& strategy, std::size_t pending) {
    const ToyFamily toy("toy", parameters);
    MemorySink sink;
    TuningOptions options{.strategy = strategy};
    options.pending = pending;
    options.max_evaluations = 250;
    options.budget = std::chrono::duration<double>(10000);
    options.clock = [this] { return evaluator.now(); };
    const std::atomic<bool> stop{false};
    return tune({problem_of_length(1024)}, {&toy}, evaluator, sink, options, {}, stop);
  }

  std::vector<kernels::Parameter> parameters;
  SimulatedEvaluator evaluator;
};

class WithEveryStrategy : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(, WithEveryStrategy,
                         ::testing::Values("auto", "surrogate", "local", "genetic", "annealing", "evolution",
                                           "random"),
                         [](const auto& info) { return info.param; });

// 16 compile processes at a second each, and a device that takes a tenth: all but busy without any waste.
TEST_P(WithEveryStrategy, TheDeviceWaitsForACompilerForLessThanATenthOfTheTime) {
  SimulatedTuning tuning;
  const auto outcome = tuning.run(GetParam(), 40);
  const auto& evaluator = tuning.evaluator;
  EXPECT_GE(evaluator.evaluated.size(), 250u);
  EXPECT_LT(outcome.waiting_s, 0.1 * (evaluator.waited_s + evaluator.measured_s));
  EXPECT_NEAR(outcome.waiting_s, evaluator.waited_s, 1.6);  // which counts the baseline's too
}

TEST_P(WithEveryStrategy, TheSearchIsTheSameWhateverIsCompiledFirst) {
  SimulatedTuning quick, slow;
  slow.evaluator.slowdown = 7;
  slow.evaluator.processes = 3;
  const auto first = quick.run(GetParam(), 12), second = slow.run(GetParam(), 12);
  EXPECT_EQ(first.problems[0].best, second.problems[0].best);
  EXPECT_NE(quick.evaluator.evaluated, slow.evaluator.evaluated);  // the order, at least
  // What is cancelled may have been measured before in one of the two.
  if (GetParam() == "local") return;
  const auto sorted = [](std::vector<std::string> texts) {
    std::sort(texts.begin(), texts.end());
    return texts;
  };
  EXPECT_EQ(sorted(quick.evaluator.evaluated), sorted(slow.evaluator.evaluated));
}

TEST(TuningPending, WhatWasCancelledIsNotCompiled) {
  SimulatedTuning tuning;
  tuning.evaluator.slowdown = 5;
  tuning.run("local", 40);
  EXPECT_FALSE(tuning.evaluator.cancelled.empty());
}

}  // namespace
}  // namespace fcsa::tuner
