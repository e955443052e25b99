#include "tuner/trials/refresh_trials.h"

#include <set>
#include <string>
#include <utility>

namespace fcsa::tuner {
namespace {

// The others depend on what else the device is doing.
bool blames_the_kernel(Status status) {
  return status == Status::compile_failed || status == Status::wrong_result || status == Status::timed_out ||
         status == Status::crashed;
}

}  // namespace

bool of_refresh(const Trial& trial) {
  return trial.race_id.starts_with(kRefreshRace);
}

std::vector<const StoredTrial*> without_refreshes(const std::vector<const StoredTrial*>& trials) {
  using Kernel = std::pair<std::string, std::string>;
  const auto kernel_of = [](const Trial& trial) {
    return Kernel{kernels::class_text(trial.problem), trial.configuration};
  };
  std::set<Kernel> failed;
  for (const auto* stored : trials) {
    const Status status = stored->trial.evaluation.status;
    if (of_refresh(stored->trial) && blames_the_kernel(status)) failed.insert(kernel_of(stored->trial));
    if (status == Status::ok) failed.erase(kernel_of(stored->trial));
  }
  std::vector<const StoredTrial*> kept;
  for (const auto* stored : trials)
    if (!of_refresh(stored->trial) && !failed.contains(kernel_of(stored->trial))) kept.push_back(stored);
  return kept;
}

}  // namespace fcsa::tuner
