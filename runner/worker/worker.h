// The work of a worker process: verify candidates on a device, then measure those that are right.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "runner/device/device.h"
#include "runner/verification/inputs.h"
#include "runner/verification/verification.h"
#include "runner/worker/job.h"
#include "tuner/trials/trial.h"

namespace fcsa::runner {

// A sticky device error: this process can't use the device any more.
class DeviceLost : public std::runtime_error {
 public:
  explicit DeviceLost(const JobFailure& failure) : std::runtime_error(failure.message), failure_(failure) {}
  const JobFailure& failure() const { return failure_; }

 private:
  JobFailure failure_;
};

class Worker {
 public:
  explicit Worker(Device& device) : device_(device), verifier_(device) {}

  // One Evaluation per candidate, in order, without compile_ms and resources. `on_progress` is called before
  // anything that may not return. Throws DeviceLost.
  std::vector<tuner::Evaluation> run(const Job& job,
                                     const std::function<void(const JobProgress&)>& on_progress);

 private:
  struct Entrant {
    const CandidateJob* candidate = nullptr;
    std::unique_ptr<Module> module;
    tuner::Evaluation evaluation;
  };

  template <typename Work>
  void with_room(const Check& target, const Work& work);
  void verify(Entrant& entrant);
  bool passed_before(Entrant& entrant) const;
  void check(Entrant& entrant, const Check& check);
  void measure_survivors(const Job& job, std::vector<Entrant>& entrants,
                         const std::function<void(const JobProgress&)>& on_progress);
  void measure_together(const Job& job, std::vector<Entrant*>& entrants,
                        const std::function<void(std::size_t)>& starting);
  void measure_memory(Entrant& entrant, DeviceTensors& tensors);
  std::vector<kernels::BackwardArgs> argument_sets(const Check& check, tuner::CacheState cache,
                                                   std::size_t workspace_bytes);
  void fail(std::size_t candidate, Entrant& entrant);

  Device& device_;
  Verifier verifier_;
  // What passed in this process, on which problem: a race of what was evaluated takes no second look.
  std::map<std::string, tuner::Accuracy> passed_;
  // Further inputs of the latest problem measured cold.
  std::vector<DeviceTensors> rotation_;
  std::string rotation_key_;
};

}  // namespace fcsa::runner
