#include "tuner/search/expected_losses.h"

#include <limits>
#include <set>
#include <stdexcept>
#include <string>

#include "tuner/dispatch/expected_loss.h"

namespace fcsa::tuner {
namespace {

// As text. Of each the latest race decides, by the last that took part in it.
std::set<std::string> raced_problems(const std::vector<StoredTrial>& trials, const std::string& device_uuid,
                                     const std::function<bool(const Trial&)>& current) {
  std::set<std::string> seen, raced;
  for (auto stored = trials.rbegin(); stored != trials.rend(); ++stored) {
    const Trial& trial = stored->trial;
    if (trial.phase != Phase::confirm || stored->session.device.uuid != device_uuid) continue;
    auto problem = kernels::to_text(trial.problem);
    if (seen.insert(problem).second && current(trial)) raced.insert(std::move(problem));
  }
  return raced;
}

}  // namespace

ExpectedLosses::ExpectedLosses(std::vector<StoredTrial> trials, const kernels::DeviceInfo& device,
                               double epsilon, const std::function<bool(const Trial&)>& current)
    : device_(device) {
  const auto raced = raced_problems(trials, device.uuid, current);
  std::erase_if(trials, [&](const StoredTrial& stored) {
    return !raced.contains(kernels::to_text(stored.trial.problem));
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
