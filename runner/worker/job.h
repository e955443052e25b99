// What the parent asks of a worker, and what it hears back.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "runner/verification/verification.h"
#include "runner/worker/measurement.h"

namespace fcsa::runner {

// A compiled candidate. The plans in the checks belong to its configuration.
struct CandidateJob {
  Binary binary;
  std::vector<Check> small_checks;  // run first
  Check full_check;                 // of the shape that is measured
};

// Candidates of one problem: each is verified, then those that passed are measured interleaved.
struct Job {
  std::vector<CandidateJob> candidates;
  MeasurementOptions measurement;
  bool verify = true;  // false: the same binary passed on the same problem before
  bool measure = true;
  // Report every sample, not only the first of each candidate: dearer, but a death then has one suspect.
  bool report_every_sample = false;
};

// What the worker is about to do: if nothing more is heard, this candidate did it.
struct JobProgress {
  std::size_t candidate = 0;
  std::string stage;  // "verifying", "measuring"
};

// A device error that spoils the process: the worker ends after saying which candidate it was.
struct JobFailure {
  std::size_t candidate = 0;
  std::string message;
};

}  // namespace fcsa::runner
