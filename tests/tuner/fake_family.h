// Test doubles of what the tuner works with: a toy family, an evaluator that computes times, a sink in
// memory.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tuner/trials/evaluator.h"

namespace fcsa::tuner::testing {

class ToyFamily : public kernels::Family {
 public:
  ToyFamily(std::string name, std::vector<kernels::Parameter> parameters)
      : name_(std::move(name)), parameters_(std::move(parameters)) {}

  std::vector<kernels::Constraint> rules;
  bool is_tunable = true;
  std::string not_served;

  std::string name() const override { return name_; }
  kernels::DeviceKind device_kind() const override { return kernels::DeviceKind::cpu; }
  bool tunable() const override { return is_tunable; }
  std::string unsupported(const kernels::Problem&, const kernels::Target&) const override {
    return not_served;
  }
  std::vector<kernels::Parameter> parameters(kernels::Op) const override { return parameters_; }
  std::vector<kernels::Constraint> constraints(kernels::Op) const override { return rules; }
  kernels::Configuration baseline(const kernels::Problem& problem, const kernels::Target&) const override {
    return kernels::configuration_from_text(kernels::kernel_name(*this, problem.op),
                                            kernels::kernel_name(*this, problem.op), parameters_);
  }
  kernels::KernelTemplate kernel_template(kernels::Op) const override { return {}; }
  kernels::LaunchPlan plan(const kernels::Traits&, const kernels::Configuration&,
                           const kernels::BackwardArgs&) const override {
    return {};
  }
  kernels::Tile tile(const kernels::Configuration&) const override { return {}; }

  kernels::Configuration configuration(const std::string& text) const {
    return kernels::configuration_from_text(text, text.substr(0, text.find('{')), parameters_);
  }

 private:
  std::string name_;
  std::vector<kernels::Parameter> parameters_;
};

inline kernels::Parameter parameter(std::string name, std::vector<int> values, int default_value) {
  return {std::move(name), std::move(values), default_value, "of a test"};
}

inline Evaluation succeeded(double median_ms, double half_interval_ms = 0) {
  Evaluation evaluation;
  evaluation.measurement.samples_ms = {median_ms};
  evaluation.measurement.median_ms = median_ms;
  evaluation.measurement.ci_low_ms = median_ms - half_interval_ms;
  evaluation.measurement.ci_high_ms = median_ms + half_interval_ms;
  return evaluation;
}

inline Evaluation failed(Status status) {
  Evaluation evaluation;
  evaluation.status = status;
  evaluation.message = "as the test wants";
  return evaluation;
}

inline std::string text_of(const Candidate& candidate) {
  return kernels::to_text(*candidate.family, candidate.problem.op, candidate.configuration);
}

inline kernels::DeviceInfo fake_device() {
  kernels::DeviceInfo device;
  device.uuid = "device-1";
  device.driver = "driver-1";
  return device;
}

class FakeEvaluator : public Evaluator {
 public:
  using Answer = std::function<Evaluation(const Candidate&)>;
  explicit FakeEvaluator(Answer answer) : on_evaluate(answer), on_race(std::move(answer)) {}

  Answer on_evaluate, on_race;
  kernels::DeviceInfo info = fake_device();
  std::string source_version = "v1";
  std::chrono::duration<double> each{0};  // fake time that an evaluation or a contender takes
  std::optional<std::chrono::duration<double>> each_of_race;  // that a contender takes, where it is another

  // In order: "prefetch X", "evaluate X", "race X Y Z", each X as "<problem> <configuration>".
  std::vector<std::string> events;
  std::vector<std::string> evaluated;
  std::vector<std::string> prefetched;
  std::vector<std::vector<std::string>> races;

  std::chrono::steady_clock::time_point now() const { return now_; }

  const kernels::DeviceInfo& device() const override { return info; }
  CacheState cache_state() const override { return CacheState::warm; }
  std::string source_hash(const Candidate& candidate) override { return source_version + text_of(candidate); }
  void prefetch(std::span<const Candidate> candidates) override {
    for (const auto& candidate : candidates) {
      prefetched.push_back(text_of(candidate));
      events.push_back("prefetch " + text_of(candidate));
    }
  }
  void cancel(std::span<const Candidate> candidates) override {
    for (const auto& candidate : candidates) events.push_back("cancel " + text_of(candidate));
  }
  std::size_t first_ready(std::span<const Candidate>) override { return 0; }
  Evaluation evaluate(const Candidate& candidate) override {
    pass(each, 1);
    evaluated.push_back(text_of(candidate));
    events.push_back("evaluate " + text_of(candidate));
    return on_evaluate(candidate);
  }
  std::vector<Evaluation> race(std::span<const Candidate> candidates) override {
    pass(each_of_race.value_or(each), candidates.size());
    std::vector<Evaluation> evaluations;
    std::vector<std::string> names;
    for (const auto& candidate : candidates) {
      names.push_back(text_of(candidate));
      evaluations.push_back(on_race(candidate));
    }
    events.push_back("race");
    races.push_back(names);
    return evaluations;
  }

 private:
  void pass(std::chrono::duration<double> one, std::size_t count) {
    now_ += std::chrono::duration_cast<std::chrono::steady_clock::duration>(one * static_cast<double>(count));
  }

  std::chrono::steady_clock::time_point now_{};
};

class MemorySink : public TrialSink {
 public:
  kernels::DeviceInfo device = fake_device();
  std::vector<Trial> trials;
  std::vector<std::size_t> at_a_time;  // how many each call recorded

  void record(std::span<const Trial> recorded) override {
    at_a_time.push_back(recorded.size());
    trials.insert(trials.end(), recorded.begin(), recorded.end());
  }
  std::optional<Trial> find(const TrialKey& key) override {
    const auto match = std::find_if(trials.rbegin(), trials.rend(), [&](const Trial& trial) {
      return trial.phase == Phase::search && key.device_uuid == device.uuid && key.driver == device.driver &&
             key.problem == kernels::to_text(trial.problem) && key.configuration == trial.configuration &&
             key.source_hash == trial.source_hash && key.cache == trial.evaluation.measurement.cache;
    });
    return match == trials.rend() ? std::nullopt : std::optional<Trial>(*match);
  }
  std::vector<StoredTrial> recorded() const override {
    Session session;
    session.device = device;
    std::vector<StoredTrial> stored;
    for (const auto& trial : trials)
      stored.push_back({static_cast<std::int64_t>(stored.size()) + 1, session, trial});
    return stored;
  }
  std::size_t count(Phase phase) const {
    return static_cast<std::size_t>(std::count_if(trials.begin(), trials.end(),
                                                  [&](const Trial& trial) { return trial.phase == phase; }));
  }
};

}  // namespace fcsa::tuner::testing
