// The parent's side of a worker process: sends jobs, notices hangs and deaths, and starts another when
// needed.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/target.h"
#include "runner/process/child_process.h"
#include "runner/worker/job.h"
#include "tuner/trials/trial.h"

namespace fcsa::runner {

// How long a worker may be silent in each stage.
struct StageLimits {
  std::chrono::duration<double> verifying{60};  // one candidate
  std::chrono::duration<double> measuring{60};  // all of them
};

class WorkerClient {
 public:
  // A job that is under way when `interrupted` becomes true is ended, within a tenth of a second, by
  // tuner::Interrupted.
  WorkerClient(
      std::string executable, std::string device, std::function<bool()> interrupted = [] { return false; });

  // Asks a worker. Throws std::runtime_error when the device can't be opened.
  kernels::DeviceInfo describe();
  // One Evaluation per candidate. A candidate that kills or blocks the worker is timed_out, crashed or
  // launch_failed and the others are run again without it. A worker that is killed from outside is started
  // again once before the candidate is blamed. Throws std::runtime_error when a worker can't be started.
  std::vector<tuner::Evaluation> run(const Job& job, const StageLimits& limits);

 private:
  struct Attempt {
    std::vector<tuner::Evaluation> evaluations;  // when it went through
    tuner::Status status = tuner::Status::ok;    // else: what happened
    std::string message;
    std::optional<JobProgress> last;  // what was being done then; nothing: the worker had not begun
    bool killed_from_outside = false;
  };

  Attempt attempt(const Job& job, const StageLimits& limits);
  Attempt ended(std::optional<JobProgress> last);
  void start();
  Received receive(SteadyTime deadline);

  std::string executable_;
  std::string device_;
  std::function<bool()> interrupted_;
  std::unique_ptr<ChildProcess> child_;
};

}  // namespace fcsa::runner
