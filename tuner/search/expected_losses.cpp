#include "tuner/search/expected_losses.h"

#include <limits>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

#include "tuner/dispatch/expected_loss.h"

namespace fcsa::tuner {
namespace {

// As text: those of which a family was searched, not its baseline alone measured, as it is in a run without
// time.
std::set<std::string> searched_problems(const std::vector<StoredTrial>& trials,
                                        const std::string& device_uuid) {
  std::map<std::pair<std::string, std::string>, std::set<std::string>> tried;  // by problem and kernel
  for (const auto& [id, session, trial] : trials)
    if (trial.phase == Phase::search && session.device.uuid == device_uuid)
      tried[{kernels::to_text(trial.problem), kernels::kernel_of(trial.configuration)}].insert(
          trial.configuration);
  std::set<std::string> searched;
  for (const auto& [key, configurations] : tried)
    if (configurations.size() > 1) searched.insert(key.first);
  return searched;
}

// As text: of those, the ones that were raced. The last that took part in the latest race decides.
std::set<std::string> tuned_problems(const std::vector<StoredTrial>& trials, const std::string& device_uuid,
                                     const std::function<bool(const Trial&)>& current) {
  const auto searched = searched_problems(trials, device_uuid);
  std::set<std::string> seen, tuned;
  for (auto stored = trials.rbegin(); stored != trials.rend(); ++stored) {
    const Trial& trial = stored->trial;
    if (trial.phase != Phase::confirm || stored->session.device.uuid != device_uuid) continue;
    auto problem = kernels::to_text(trial.problem);
    if (searched.contains(problem) && seen.insert(problem).second && current(trial))
      tuned.insert(std::move(problem));
  }
  return tuned;
}

}  // namespace

ExpectedLosses::ExpectedLosses(std::vector<StoredTrial> trials, const kernels::DeviceInfo& device,
                               double epsilon, const std::function<bool(const Trial&)>& current)
    : device_(device) {
  const auto tuned = tuned_problems(trials, device.uuid, current);
  std::erase_if(trials, [&](const StoredTrial& stored) {
    return !tuned.contains(kernels::to_text(stored.trial.problem));
  });
  try {
    table_ = make_dispatch_table(trials, device.uuid, epsilon);
  } catch (const std::invalid_argument&) {  // nothing succeeded
  }
}

double ExpectedLosses::of(const kernels::Problem& problem) const {
  constexpr double kUnknown = std::numeric_limits<double>::infinity();
  if (!table_) return kUnknown;
  return expected_loss(*table_, choose(*table_, problem, device_), problem, device_).value_or(kUnknown);
}

}  // namespace fcsa::tuner
