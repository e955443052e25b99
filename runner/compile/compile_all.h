// Compiles without a device: `fcsa compile`.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/target.h"
#include "tuner/trials/evaluator.h"

namespace fcsa::runner {

struct CompileOnlyOptions {
  std::string executable;
  int compile_jobs = 0;
  std::filesystem::path cache_directory;
  std::chrono::duration<double> deadline{120};
  const std::atomic<bool>* stop = nullptr;  // ends it with tuner::Interrupted
};

struct CompileJob {
  tuner::Candidate candidate;
  kernels::Target target;
};

// One Evaluation per candidate and target (ok, pruned, compile_failed, timed_out or crashed, with resources),
// reported as they finish; results in order.
std::vector<tuner::Evaluation> compile_all(
    std::span<const CompileJob> jobs, const CompileOnlyOptions& options,
    const std::function<void(std::size_t, const tuner::Evaluation&)>& done);

}  // namespace fcsa::runner
