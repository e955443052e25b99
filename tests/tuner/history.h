// Trials of one imaginary GPU, for tests of dispatch tables.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tuner/dispatch/dispatch.h"

namespace fcsa::tuner::testing {

inline kernels::Problem square_problem(int length) {
  kernels::Problem problem;
  problem.nq = problem.nk = length;
  return problem;
}

// Each trial is a second later than the one before.
struct History {
  History() {
    device.uuid = "gpu-1";
    device.target = kernels::target_for_arch("sm_90a");
  }

  kernels::DeviceInfo device;
  std::vector<StoredTrial> trials;

  StoredTrial& add(const kernels::Problem& problem, const std::string& configuration, double median_ms) {
    StoredTrial stored;
    stored.id = static_cast<std::int64_t>(trials.size()) + 1;
    stored.session.device = device;
    stored.trial.problem = problem;
    stored.trial.configuration = configuration;
    stored.trial.source_hash = "v1";
    const auto second = std::to_string(1000 + trials.size());
    stored.trial.finished_at = "2025-01-01T00:" + second.substr(0, 2) + ":" + second.substr(2) + "Z";
    stored.trial.evaluation.measurement.median_ms = median_ms;
    trials.push_back(stored);
    return trials.back();
  }
  void race(const kernels::Problem& problem, const std::string& id,
            const std::vector<std::pair<std::string, double>>& medians) {
    for (const auto& [configuration, median_ms] : medians) {
      auto& stored = add(problem, configuration, median_ms);
      stored.trial.phase = Phase::confirm;
      stored.trial.race_id = id;
    }
  }
  DispatchTable table(double epsilon = 0.02) const { return make_dispatch_table(trials, "gpu-1", epsilon); }
};

}  // namespace fcsa::tuner::testing
