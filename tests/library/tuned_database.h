// A tuning database with one trial, whose configuration no family would take by itself.
#pragma once

#include <filesystem>
#include <string>

#include "runner/cpu/cpu_device.h"
#include "tuner/trials/store.h"

namespace fcsa::library {

// Valid on this CPU.
inline std::string configuration_of_tuned_database(int head_dim, kernels::Op op = kernels::Op::forward) {
  const kernels::DeviceInfo device = runner::cpu::describe_cpu("");
  const auto& family = kernels::family_named("cpu");
  kernels::Problem problem;
  problem.op = op;
  problem.head_dim = head_dim;
  auto configuration = family.baseline(problem, device.target);
  for (auto& [name, value] : configuration.values) {
    if (name == "row_groups" && op == kernels::Op::forward) value = 8;
    if (name == "unroll" && op == kernels::Op::backward) value = value == 1 ? 2 : 1;
  }
  return kernels::to_text(family, problem.op, configuration);
}

inline void write_tuned_database(const std::filesystem::path& file, const kernels::Problem& problem,
                                 const kernels::DeviceInfo& device, const std::string& configuration) {
  tuner::Session session;
  session.id = "session";
  session.device = device;
  tuner::Trial trial;
  trial.problem = problem;
  trial.configuration = configuration;
  trial.source_hash = "hash";
  trial.finished_at = "2026-01-02T03:05:00Z";
  trial.evaluation.measurement.samples_ms = {0.25};
  trial.evaluation.measurement.median_ms = 0.25;
  tuner::Store store(file, tuner::Store::Mode::read_write);
  store.begin_session(session);
  store.record(trial);
}

inline void write_tuned_database(const std::filesystem::path& file, const kernels::Problem& problem,
                                 const kernels::DeviceInfo& device) {
  write_tuned_database(file, problem, device, configuration_of_tuned_database(problem.head_dim, problem.op));
}

}  // namespace fcsa::library
