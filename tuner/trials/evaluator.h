// How the tuner gets trials and where it puts them. The runner implements Evaluator, the store TrialSink;
// tests supply their own.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "tuner/trials/trial.h"

namespace fcsa::tuner {

// Thrown instead of a result when what was under way was stopped: by the user, or at the evaluator's
// deadline. It says nothing about the candidates.
class Interrupted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// evaluate(), race() and first_ready() may throw Interrupted.
class Evaluator {
 public:
  virtual ~Evaluator() = default;
  virtual const kernels::DeviceInfo& device() const = 0;
  virtual CacheState cache_state() const = 0;
  // Identity of the binary that the candidate would be compiled to; compiles nothing.
  virtual std::string source_hash(const Candidate& candidate) = 0;
  // Starts compiling in the background, in this order; returns at once. Work that is never evaluated is
  // harmless.
  virtual void prefetch(std::span<const Candidate> candidates) = 0;
  // Compile (or wait for it), verify, measure. A bad candidate is an Evaluation with its status, never an
  // exception; exceptions (std::runtime_error) mean that the environment is broken and tuning can't go on.
  virtual Evaluation evaluate(const Candidate& candidate) = 0;
  // Measures candidates of one problem interleaved in one process: one Evaluation each, in order.
  virtual std::vector<Evaluation> race(std::span<const Candidate> candidates) = 0;
  // What hasn't begun to compile needn't be compiled any more.
  virtual void cancel(std::span<const Candidate> candidates) = 0;
  // Index of the first that can be evaluated without waiting for a compiler; waits until there is one.
  // Precondition: at least one, all of them prefetched.
  virtual std::size_t first_ready(std::span<const Candidate> candidates) = 0;
  // What is under way then is stopped, and nothing more is begun.
  virtual void end_at(std::chrono::steady_clock::time_point /*deadline*/) {}
};

class TrialSink {
 public:
  virtual ~TrialSink() = default;
  // All of them or, when it fails or is killed, none: half a race has another winner. Durable when it
  // returns: a kill -9 afterwards loses nothing.
  virtual void record(std::span<const Trial> trials) = 0;
  // The latest search-phase trial with this key, from any session.
  virtual std::optional<Trial> find(const TrialKey& key) = 0;
  // Everything there is, of all sessions and devices, in order of recording.
  virtual std::vector<StoredTrial> recorded() const = 0;
};

}  // namespace fcsa::tuner
