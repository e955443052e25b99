// The Evaluator that does it for real: compile processes, a worker process per device, a cache of binaries.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runner/verification/inputs.h"
#include "runner/verification/verification.h"
#include "runner/worker/measurement.h"
#include "tuner/trials/evaluator.h"

namespace fcsa::runner {

struct ProcessEvaluatorOptions {
  std::string executable;      // the fcsa program, started as `fcsa __worker ...` and `fcsa __compile ...`
  std::string device = "cpu";  // selector
  int compile_jobs = 0;        // 0: one per core
  std::filesystem::path cache_directory;  // empty: $XDG_CACHE_HOME/fcsa or ~/.cache/fcsa
  std::chrono::duration<double> compile_deadline{120};
  std::chrono::duration<double> evaluate_deadline{
      60};  // of a job in the worker, on top of what its size needs
  MeasurementOptions measurement;
  std::uint64_t seed = 1;
  // Of the batches in turn, what the key mask of the measured problem shows: so many of its first keys, below
  // 1 that share of them. Empty: the mask is drawn.
  std::vector<double> key_lengths;
  const std::atomic<bool>* stop =
      nullptr;  // what is under way ends with tuner::Interrupted soon after it is set
};

// The inputs of a check, and what the rows that are compared may cost in the reference.
struct OneCheck {
  Values values = Values::normal;
  Placement placement = Placement::dense;
  double reference_flops = kFullReferenceFlops;
};

class ProcessEvaluator final : public tuner::Evaluator {
 public:
  // Starts a worker and asks it what the device is. Throws std::runtime_error (no such device, no compiler).
  explicit ProcessEvaluator(ProcessEvaluatorOptions options);
  ~ProcessEvaluator() override;

  const kernels::DeviceInfo& device() const override;
  tuner::CacheState cache_state() const override;
  std::string source_hash(const tuner::Candidate& candidate) override;
  void prefetch(std::span<const tuner::Candidate> candidates) override;
  void cancel(std::span<const tuner::Candidate> candidates) override;
  std::size_t first_ready(std::span<const tuner::Candidate> candidates) override;
  tuner::Evaluation evaluate(const tuner::Candidate& candidate) override;
  std::vector<tuner::Evaluation> race(std::span<const tuner::Candidate> candidates) override;
  void end_at(std::chrono::steady_clock::time_point deadline) override;
  // Why only kernels that are built in can be measured, and what to do; empty when there is a compiler.
  const std::string& missing_compiler() const;
  // Compile and verify, no timing: `fcsa verify`. With more than one launch of the problem itself, all have
  // to give the same bits.
  tuner::Evaluation verify(const tuner::Candidate& candidate, int launches = 1);
  // The same with one check only, of the candidate's problem.
  tuner::Evaluation verify(const tuner::Candidate& candidate, const OneCheck& check, int launches = 1);
  // At least `launches` more launches of a candidate that has passed evaluate() or verify(), in batches of
  // Measurement::launches_per_sample; fewer where `limit` ends them. `fcsa bench`.
  tuner::Evaluation measure(const tuner::Candidate& candidate, int launches,
                            std::chrono::duration<double> limit);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fcsa::runner
