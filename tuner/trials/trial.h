// A trial: one configuration tried on one problem on one device, with everything needed to believe it later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/family.h"

namespace fcsa::tuner {

enum class Status {
  ok,
  pruned,
  compile_failed,
  launch_failed,
  out_of_memory,
  wrong_result,
  timed_out,
  crashed
};
// search: measured alone. confirm: the contenders for first place, the baseline and the unfused yardstick
// measured interleaved in one process; ratios are only ever taken inside one race. probe: a race for the
// dispatch table, of configurations it chooses among, on tuned shapes and on others between them. refresh: a
// race that checks what tuning chose, and chooses nothing.
enum class Phase { search, confirm, probe, refresh };
// warm: inputs may stay in cache between launches. cold: launches rotate among input sets larger than twice
// the L2.
enum class CacheState { warm, cold };

std::string_view to_text(Status status);
std::string_view to_text(Phase phase);
std::string_view to_text(CacheState state);
Status status_from_text(std::string_view text);  // these throw std::invalid_argument
Phase phase_from_text(std::string_view text);
CacheState cache_state_from_text(std::string_view text);

// From the compiler's log; zero where unknown (CPU).
struct Resources {
  int registers = 0;  // per thread, the largest of the kernels
  int spill_bytes = 0;
  int stack_bytes = 0;
  int smem_bytes = 0;  // static and dynamic, the largest of the launches
};

// Zero or empty where the device doesn't tell.
struct Clocks {
  double sm_mhz = 0;
  double memory_mhz = 0;
  double temperature_c = 0;
  double power_w = 0;
  std::string throttle_reasons;  // comma-separated NVML clock event reasons, "" when none
};

struct Measurement {
  std::vector<double> samples_ms;  // per launch, in the order taken
  int launches_per_sample = 1;
  CacheState cache = CacheState::warm;
  double median_ms = 0;
  double ci_low_ms = 0;  // 95% confidence interval of the median, distribution-free (order statistics)
  double ci_high_ms = 0;
  std::size_t peak_memory_bytes = 0;   // on the device during one launch: inputs, outputs, lse, workspace
  std::size_t extra_memory_bytes = 0;  // of that, beyond inputs and outputs: workspace and scratch
  Clocks clocks;                       // while measuring
};

// Worst row error over everything verified, relative to what is allowed (DESIGN: twice a plain
// implementation's).
struct Accuracy {
  double error = 0;
  double tolerance = 0;
};

struct Evaluation {
  Status status = Status::ok;
  std::string message;  // empty when ok
  Measurement measurement;
  Accuracy accuracy;
  Resources resources;
  double compile_ms = 0;  // zero when the binary came from the cache
};

struct Candidate {
  kernels::Problem problem;
  const kernels::Family* family = nullptr;
  kernels::Configuration configuration;
};

// One run of the tuner on one device.
struct Session {
  std::string id;          // random, unique across machines
  std::string started_at;  // ISO 8601, UTC
  std::string command;     // as typed
  std::string host;
  std::string fcsa_version;
  std::uint64_t seed = 0;
  kernels::DeviceInfo device;
};

struct Trial {
  kernels::Problem problem;
  std::string configuration;  // text form, "simt.forward{...}"
  std::string source_hash;    // of source without comments, options, architecture, compiler version
  Phase phase = Phase::search;
  std::string race_id;      // equal for trials measured interleaved; empty in the search phase
  std::string finished_at;  // ISO 8601, UTC
  std::uint64_t seed = 0;   // of the inputs
  Evaluation evaluation;
};

struct StoredTrial {
  std::int64_t id = 0;
  Session session;
  Trial trial;
};

// Throws std::invalid_argument that names the value of a successful trial that no measurement gives: times,
// their interval and their samples are finite and above 0. What failed has nothing to check.
void check_plausible(const Trial& trial);

// What makes two trials the same work: resume and dispatch use only matching ones.
struct TrialKey {
  std::string device_uuid;
  std::string driver;
  std::string problem;  // kernels::to_text(problem)
  std::string configuration;
  std::string source_hash;
  CacheState cache = CacheState::warm;
};

// Distribution-free summary of samples; all of them kept. Precondition: not empty.
struct Summary {
  double median = 0, low = 0, high = 0;
};
Summary summarize(std::vector<double> samples);

}  // namespace fcsa::tuner
