// A tuning run on toys: the families, evaluator, sink and options that the tests of tune() share.
#pragma once

#include <atomic>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "tests/tuner/fake_family.h"
#include "tuner/search/tuning.h"

namespace fcsa::tuner::testing {

inline kernels::Problem problem_of_length(int length) {
  kernels::Problem problem;
  problem.nq = problem.nk = length;
  return problem;
}

// 24 configurations; the fastest is toy.forward{a=8,b=2}, 1 ms, and the baseline takes 6 ms.
inline Evaluation toy_time(const Candidate& candidate) {
  if (!candidate.family->tunable()) return succeeded(20);
  const auto& c = candidate.configuration;
  return succeeded(1 + std::abs(c.at("a") - 8) * 0.5 + std::abs(c.at("b") - 2) * 1.5);
}

struct Bench {
  Bench() { unfused.is_tunable = false; }

  ToyFamily toy{"toy", {parameter("a", {1, 2, 4, 8, 16, 32}, 1), parameter("b", {1, 2, 3, 4}, 1)}};
  ToyFamily unfused{"unfused", {}};
  FakeEvaluator evaluator{toy_time};
  MemorySink sink;
  TuningOptions options{.strategy = "exhaustive"};
  std::vector<kernels::Problem> problems{problem_of_length(1024)};
  std::vector<Progress> progress;
  std::function<void(const Progress&)> also;
  std::atomic<bool> stop{false};

  TuningOutcome run() {
    options.clock = [this] { return evaluator.now(); };
    return tune(
        problems, {&toy, &unfused}, evaluator, sink, options,
        [this](const Progress& p) {
          progress.push_back(p);
          if (also) also(p);
        },
        stop);
  }
};

inline std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

}  // namespace fcsa::tuner::testing
