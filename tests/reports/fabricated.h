// Trials as a tuner would have stored them, made up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tuner/trials/store.h"

namespace fcsa::reports::fabricated {

kernels::DeviceInfo gpu();  // 80 GiB, served by the simt family
kernels::DeviceInfo cpu();

// f32, head dim 64, 16,384 tokens, 32 heads.
kernels::Problem problem(int length);

// Text of the configuration that the report must take for the baseline, or for the unfused yardstick.
std::string baseline(const kernels::DeviceInfo& device, const kernels::Problem& problem);
std::string unfused(const kernels::DeviceInfo& device);
// Another one of the device's tunable family, made up from a number: parameters that the family has.
std::string variant(const kernels::DeviceInfo& device, int number);

tuner::Evaluation took(double median_ms);  // ok, interval of 1% either side, 64 MiB of which 1 MiB extra
tuner::Evaluation failed(tuner::Status status, const std::string& message);

class Database {
 public:
  explicit Database(kernels::DeviceInfo device, const std::string& session = "session-1");

  Database& search(const kernels::Problem& problem, const std::string& configuration,
                   const tuner::Evaluation& evaluation);
  Database& confirm(const std::string& race, const kernels::Problem& problem,
                    const std::string& configuration, const tuner::Evaluation& evaluation);
  // Baseline in 2 ms, a variant in 1 ms, unfused in 4 ms; searched and confirmed in one race.
  Database& tuned(const kernels::Problem& problem);

  const std::vector<tuner::StoredTrial>& trials() const { return trials_; }
  const kernels::DeviceInfo& device() const { return session_.device; }

 private:
  tuner::StoredTrial& add(const kernels::Problem& problem, const std::string& configuration,
                          const tuner::Evaluation& evaluation);

  tuner::Session session_;
  std::vector<tuner::StoredTrial> trials_;
};

std::vector<tuner::StoredTrial> joined(const Database& one, const Database& other);

// A tuning run that looks like a real one: `evaluations` seeded trials per length with failures, memory that
// grows as it should and, past 16k, an unfused baseline that runs out of it.
struct Shape {
  std::vector<int> lengths = {512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};
  int evaluations = 60;
  double flops_per_second = 30e12;  // of the best kernel on long sequences
  kernels::DType dtype = kernels::DType::f32;
  int head_dim = 64;
  bool causal = false;
  int heads = 32;
  int interrupted_after = 0;  // the length whose search is the last thing that was done
  std::uint64_t seed = 1;
};
void add_realistic(Database& database, const Shape& shape);

// Databases that a report has to cope with.
std::vector<tuner::StoredTrial> two_devices();
std::vector<tuner::StoredTrial> interrupted();      // searched, some confirmed, one length not begun
std::vector<tuner::StoredTrial> nothing_worked();   // every trial failed, in every way
std::vector<tuner::StoredTrial> many(std::size_t);  // about so many trials, 40 sections

}  // namespace fcsa::reports::fabricated
