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
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tuner/search/space.h"
#include "tuner/search/tuning.h"

namespace {

using namespace fcsa;

double seconds(std::chrono::steady_clock::time_point from) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
}

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

// As many queries as keys, or every number of queries with every number of keys.
std::vector<kernels::Problem> shapes(int head_dim, bool all_pairs) {
  kernels::Problem problem;
  problem.dtype = kernels::DType::bf16, problem.head_dim = head_dim, problem.causal = true;
  problem.heads = problem.kv_heads = 2048 / head_dim;
  problem.batch = 4;
  std::vector<kernels::Problem> list;
  for (int nq = 256; nq <= (all_pairs ? 8192 : 2048); nq *= 2)
    for (int nk = 256; nk <= 8192; nk *= 2) {
      if (!all_pairs && nk != nq) continue;
      problem.nq = nq, problem.nk = nk;
      list.push_back(problem);
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

// Keeps everything and finds nothing.
class ForgetfulSink final : public tuner::TrialSink {
 public:
  explicit ForgetfulSink(const kernels::DeviceInfo& device) { session_.device = device; }
  void record(std::span<const tuner::Trial> trials) override {
    for (const auto& trial : trials)
      trials_.push_back({static_cast<std::int64_t>(trials_.size()) + 1, session_, trial});
  }
  std::optional<tuner::Trial> find(const tuner::TrialKey&) override { return std::nullopt; }
  std::vector<tuner::StoredTrial> recorded() const override { return trials_; }

 private:
  tuner::Session session_;
  std::vector<tuner::StoredTrial> trials_;
};

void measure(int head_dim, const tuner::TuningOptions& options) {
  const auto& family = kernels::family_named("wgmma");
  InstantEvaluator evaluator;
  const auto& target = evaluator.device().target;
  const auto problems = shapes(head_dim, options.dispatch == tuner::TuningOptions::Dispatch::yes);
  {
    auto start = std::chrono::steady_clock::now();
    const tuner::Space space(family, problems[0], target);
    const double class_s = seconds(start);
    start = std::chrono::steady_clock::now();
    for (const auto& problem : problems) space.worth_trying(problem, target);
    std::printf("D = %d: %zu configurations; class %.1f ms, shape %.1f ms\n", head_dim, space.size(),
                1e3 * class_s, 1e3 * seconds(start) / static_cast<double>(problems.size()));
  }
  ForgetfulSink sink(evaluator.device());
  const std::atomic<bool> stop{false};
  const auto outcome = tuner::tune(problems, {&family}, evaluator, sink, options, {}, stop);
  const double own_s = outcome.total_s - outcome.evaluating_s;
  std::size_t evaluations = 0;
  for (const auto& problem : outcome.problems) evaluations += problem.measured;
  std::size_t probes = 0;
  for (const auto& dispatch : outcome.classes) probes += dispatch.probes;
  std::printf("D = %d: %zu shapes, %zu evaluations by %s, %zu probes: own work %.2f s, peak %.0f MiB\n",
              head_dim, problems.size(), evaluations, options.strategy.c_str(), probes, own_s, peak_mib());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    tuner::TuningOptions options;
    options.max_evaluations = argc > 1 ? static_cast<std::size_t>(std::max(1, std::atoi(argv[1]))) : 200;
    if (argc > 2) options.strategy = argv[2];
    if (argc > 3) options.dispatch = tuner::TuningOptions::Dispatch::yes;
    for (const int head_dim : {128, 64}) measure(head_dim, options);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "search_work: %s\n", error.what());
    return 1;
  }
}
