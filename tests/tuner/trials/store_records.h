// A store in a folder of its own, and records to put into it.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include <fmt/format.h>

#include "tuner/trials/store.h"
#include "tuner/trials/store_fields.h"

namespace fcsa::tuner {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "fcsa_store_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp " + name);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline std::string read_bytes(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline void write_bytes(const std::filesystem::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

inline Session make_session(const std::string& id, const std::string& device_uuid = "GPU-1") {
  Session session;
  session.id = id;
  session.started_at = "2026-01-02T03:04:05Z";
  session.command = "fcsa tune --seq 512,1024";
  session.host = "node7";
  session.fcsa_version = "0.1.0";
  session.seed = 18446744073709551615u;
  session.device.index = 3;
  session.device.name = "NVIDIA H100 80GB HBM3";
  session.device.uuid = device_uuid;
  session.device.driver = "580.159.04 (CUDA 13.0)";
  session.device.compiler = "NVRTC 13.0";
  auto& target = session.device.target;
  target.kind = kernels::DeviceKind::cuda;
  target.arch = "sm_90a";
  target.compute_capability = 90;
  target.multiprocessors = 132;
  target.max_threads_per_block = 1024;
  target.smem_per_block_bytes = 232448;
  target.l2_bytes = 52428800;
  target.memory_bytes = 85017493504;
  return session;
}

// A trial with a different value in every field, told apart from others by its number.
inline Trial make_trial(int number = 1) {
  Trial trial;
  trial.problem.nq = 512;
  trial.problem.nk = 640;
  trial.configuration = "made_up.forward{block_m=64,block_n=" + std::to_string(number) + "}";
  trial.source_hash = "hash" + std::to_string(number);
  trial.finished_at = "2026-01-02T03:05:00Z";
  trial.seed = 9223372036854775809u;
  auto& evaluation = trial.evaluation;
  evaluation.measurement = {.samples_ms = {0.1, 1.0 / 3, 2e-300},
                            .launches_per_sample = 16,
                            .cache = CacheState::cold,
                            .median_ms = 1.0 / 3,
                            .ci_low_ms = 0.1,
                            .ci_high_ms = 0.7,
                            .peak_memory_bytes = 5000000000,
                            .extra_memory_bytes = 4096,
                            .clocks = {.sm_mhz = 1755.5,
                                       .memory_mhz = 2619,
                                       .temperature_c = 61,
                                       .power_w = 655.25,
                                       .throttle_reasons = "sw_power_cap,hw_slowdown"}};
  evaluation.accuracy = {.error = 1.5e-7, .tolerance = 2.5e-7};
  evaluation.resources = {.registers = 168, .spill_bytes = 4, .stack_bytes = 8, .smem_bytes = 98304};
  evaluation.compile_ms = 412.625;
  return trial;
}

// Every field of a record as lines of text, so that a difference names its field.
struct Lines {
  std::string text;

  template <typename T>
  void operator()(const char* name, const T& value) {
    text += fmt::format("{}={}\n", name, field_text(value));
  }
};

inline std::string all_fields(const Session& session) {
  Lines lines;
  visit_session(session, lines);
  visit_device(session.device, lines);
  return lines.text;
}

inline std::string all_fields(const Trial& trial) {
  Lines lines;
  visit_problem_fields(trial.problem, lines);
  lines("configuration", trial.configuration);
  visit_trial(trial, lines);
  return lines.text;
}

inline TrialKey key_of(const Trial& trial, const Session& session) {
  return {.device_uuid = session.device.uuid,
          .driver = session.device.driver,
          .problem = kernels::to_text(trial.problem),
          .configuration = trial.configuration,
          .source_hash = trial.source_hash,
          .cache = trial.evaluation.measurement.cache};
}

}  // namespace fcsa::tuner
