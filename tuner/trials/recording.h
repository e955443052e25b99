// Evaluates candidates through the sink: what it already has is not measured again, what is new is kept at
// once.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tuner/trials/evaluator.h"

namespace fcsa::tuner {

using Clock = std::function<std::chrono::steady_clock::time_point()>;

class RecordingEvaluator {
 public:
  RecordingEvaluator(Evaluator& evaluator, TrialSink& sink, std::uint64_t seed, Clock clock);

  struct Result {
    Evaluation evaluation;
    bool reused = false;
  };
  // The sink's latest trial with the same key, or a new one. Failures are reused too, except launch_failed
  // and out_of_memory, which depend on what else the device is doing.
  Result evaluate(const Candidate& candidate);
  // Asks for compilation of those that are neither in the sink nor asked for before.
  void prefetch(std::span<const Candidate> candidates);
  // Those were asked for and are no longer wanted.
  void cancel(std::span<const Candidate> candidates);
  // Index of the first that needn't be measured, or else of one that is compiled; waits for that.
  // Precondition: at least one, all of them prefetched.
  std::size_t first_ready(std::span<const Candidate> candidates);
  // Measures them interleaved and records the results together, as one race of that phase; races are never
  // reused.
  std::vector<Trial> race(std::span<const Candidate> candidates, Phase phase);

  void end_at(std::chrono::steady_clock::time_point deadline) { evaluator_.end_at(deadline); }
  const kernels::DeviceInfo& device() const { return evaluator_.device(); }
  const std::string& source_hash(const Candidate& candidate) { return look_up(candidate).source_hash; }
  // In the evaluator: all together, and those of one phase.
  double spent_s() const { return std::accumulate(spent_s_.begin(), spent_s_.end(), 0.0); }
  double spent_s(Phase phase) const { return spent_s_.at(static_cast<std::size_t>(phase)); }
  double waited_s() const { return waited_s_; }  // in first_ready(), which counts as search

 private:
  struct Known {
    std::string source_hash;
    std::optional<Evaluation> earlier;
  };
  const Known& look_up(const Candidate& candidate);
  Trial trial_of(const Candidate& candidate, Phase phase, const std::string& race_id, Evaluation evaluation);
  template <typename Call>
  auto timed(Phase phase, Call&& call);

  Evaluator& evaluator_;
  TrialSink& sink_;
  std::uint64_t seed_;
  Clock clock_;
  std::array<double, 4> spent_s_{};  // by phase
  double waited_s_ = 0;
  std::unordered_map<std::string, Known> known_;  // by problem and configuration
  std::unordered_set<std::string> prefetched_;    // source hashes
};

// "simt.forward{...}" of the candidate, and back. Throws std::invalid_argument for what no family reads.
std::string configuration_text(const Candidate& candidate);
Candidate candidate_of(const kernels::Problem& problem, const std::string& configuration);
// Now, ISO 8601, UTC: "2025-01-31T12:00:00.250Z".
std::string timestamp();

}  // namespace fcsa::tuner
