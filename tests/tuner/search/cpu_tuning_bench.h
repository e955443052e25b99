// A tuning run of the cpu family, of whose shapes there is a dispatch table, on a device that computes times.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "tests/tuner/fake_family.h"
#include "tuner/search/tuning.h"
#include "tuner/trials/recording.h"

namespace fcsa::tuner::testing {

inline kernels::Problem problem_of(int length, int batch) {
  kernels::Problem problem;
  problem.nq = problem.nk = length;
  problem.batch = batch;
  return problem;
}

// The cpu family, of whose configurations every other is the faster on long sequences.
inline Evaluation time_of(const Candidate& candidate) {
  const auto& p = candidate.problem;
  const bool short_one = std::hash<std::string>{}(configuration_text(candidate)) % 2;
  return succeeded((p.nq < 1000) == short_one ? 1e-6 * p.batch * p.nq * p.nk
                                              : 1.2e-6 * p.batch * p.nq * p.nk);
}

struct CpuBench {
  FakeEvaluator evaluator{time_of};
  MemorySink sink;
  TuningOptions options{.strategy = "random", .max_evaluations = 4};
  std::vector<kernels::Problem> problems{problem_of(256, 16), problem_of(4096, 1)};
  std::vector<Progress> progress;
  std::atomic<bool> stop{false};

  CpuBench() {
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

}  // namespace fcsa::tuner::testing
