// What a tuning run does itself, without a device: the evaluator answers at once.
//   search_work [evaluations of a shape] [strategy]
// Prints, for forward wgmma on an H200 (bf16, causal), what the space of a class and that of a shape take,
// and the tuner's own work for every evaluation.
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "tuner/search/space.h"
#include "tuner/search/tuning.h"

namespace {

using namespace fcsa;

constexpr int kShapes = 4;

double seconds(std::chrono::steady_clock::time_point from) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
}

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

std::vector<kernels::Problem> shapes(int head_dim) {
  std::vector<kernels::Problem> list(kShapes);
  int length = 512;
  for (auto& problem : list) {
    problem.dtype = kernels::DType::bf16, problem.head_dim = head_dim, problem.causal = true;
    problem.heads = problem.kv_heads = 2048 / head_dim;
    problem.nq = problem.nk = length, problem.batch = 16384 / length;
    length *= 2;
  }
  return list;
}

// Slower for every step away from one configuration, and a little by chance.
tuner::Evaluation answer(const tuner::Candidate& candidate) {
  double time_ms = 1;
  unsigned mixed = 17;
  for (const auto& parameter : candidate.family->parameters(candidate.problem.op)) {
    const int value = candidate.configuration.at(parameter.name);
    time_ms *= 1 + 0.1 * std::abs(value - parameter.values.back()) / (1 + std::abs(parameter.values.back()));
    mixed = mixed * 31 + static_cast<unsigned>(value);
  }
  time_ms *= 1 + 0.02 * (mixed % 97) / 97;
  tuner::Evaluation evaluation;
  evaluation.measurement.samples_ms = {time_ms};
  evaluation.measurement.median_ms = evaluation.measurement.ci_low_ms = evaluation.measurement.ci_high_ms =
      time_ms;
  return evaluation;
}

class InstantEvaluator final : public tuner::Evaluator {
 public:
  InstantEvaluator() {
    info_.target = kernels::target_for_arch("sm_90a");
    info_.name = "NVIDIA H200", info_.uuid = "none";
  }
  const kernels::DeviceInfo& device() const override { return info_; }
  tuner::CacheState cache_state() const override { return tuner::CacheState::warm; }
  std::string source_hash(const tuner::Candidate& candidate) override {
    return kernels::to_text(*candidate.family, candidate.problem.op, candidate.configuration);
  }
  void prefetch(std::span<const tuner::Candidate>) override {}
  void cancel(std::span<const tuner::Candidate>) override {}
  std::size_t first_ready(std::span<const tuner::Candidate>) override { return 0; }
  tuner::Evaluation evaluate(const tuner::Candidate& candidate) override { return answer(candidate); }
  std::vector<tuner::Evaluation> race(std::span<const tuner::Candidate> candidates) override {
    std::vector<tuner::Evaluation> evaluations;
    for (const auto& candidate : candidates) evaluations.push_back(answer(candidate));
    return evaluations;
  }

 private:
  kernels::DeviceInfo info_;
};

class NoSink final : public tuner::TrialSink {
 public:
  void record(std::span<const tuner::Trial>) override {}
  std::optional<tuner::Trial> find(const tuner::TrialKey&) override { return std::nullopt; }
  std::vector<tuner::StoredTrial> recorded() const override { return {}; }
};

void measure(int head_dim, const tuner::TuningOptions& options) {
  const auto& family = kernels::family_named("wgmma");
  InstantEvaluator evaluator;
  const auto& target = evaluator.device().target;
  const auto problems = shapes(head_dim);
  {
    auto start = std::chrono::steady_clock::now();
    const tuner::Space space(family, problems[0], target);
    const double class_s = seconds(start);
    start = std::chrono::steady_clock::now();
    for (const auto& problem : problems) space.worth_trying(problem, target);
    std::printf("D = %d: %zu configurations; class %.1f ms, shape %.1f ms\n", head_dim, space.size(),
                1e3 * class_s, 1e3 * seconds(start) / kShapes);
  }
  NoSink sink;
  const std::atomic<bool> stop{false};
  const auto outcome = tuner::tune(problems, {&family}, evaluator, sink, options, {}, stop);
  const double own_s = outcome.total_s - outcome.evaluating_s;
  std::size_t evaluations = 0;
  for (const auto& problem : outcome.problems) evaluations += problem.measured;
  std::printf("D = %d: %zu evaluations of %d shapes by %s: own work %.2f s, %.1f ms each; peak %.0f MiB\n",
              head_dim, evaluations, kShapes, options.strategy.c_str(), own_s,
              1e3 * own_s / static_cast<double>(evaluations), peak_mib());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    tuner::TuningOptions options;
    options.max_evaluations = argc > 1 ? static_cast<std::size_t>(std::max(1, std::atoi(argv[1]))) : 200;
    if (argc > 2) options.strategy = argv[2];
    for (const int head_dim : {128, 64}) measure(head_dim, options);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "search_work: %s\n", error.what());
    return 1;
  }
}
