#include "tuner/trials/trial_history.h"

#include <algorithm>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "tuner/trials/recording.h"

namespace fcsa::tuner {
namespace {

using Kernel = std::pair<std::string, std::string>;  // class and configuration

Kernel kernel_of(const StoredTrial* stored) {
  return {kernels::class_text(stored->trial.problem), stored->trial.configuration};
}

// Known to this build, tunable, and still readable by its family.
bool is_known(const StoredTrial* stored) {
  try {
    return candidate_of(stored->trial.problem, stored->trial.configuration).family->tunable();
  } catch (const std::invalid_argument&) {
    return false;
  }
}

// The others depend on what else the device is doing.
bool blames_the_kernel(Status status) {
  return status == Status::compile_failed || status == Status::wrong_result || status == Status::timed_out ||
         status == Status::crashed;
}

// Kernels that failed in a refresh and have not been tuned since.
std::set<Kernel> failed_since(const TrialList& trials) {
  std::set<Kernel> failed;
  for (const auto* stored : trials) {
    const Status status = stored->trial.evaluation.status;
    if (stored->trial.phase == Phase::refresh && blames_the_kernel(status)) failed.insert(kernel_of(stored));
    if (status == Status::ok) failed.erase(kernel_of(stored));
  }
  return failed;
}

std::set<Kernel> wrong_ones(const TrialList& trials) {
  std::set<Kernel> wrong;
  for (const auto* stored : trials)
    if (stored->trial.evaluation.status == Status::wrong_result) wrong.insert(kernel_of(stored));
  return wrong;
}

TrialList usable_of(TrialList trials) {
  std::erase_if(trials, [](const auto* stored) { return !is_known(stored); });
  const auto failed = failed_since(trials);
  std::erase_if(trials, [&](const auto* stored) {
    return stored->trial.phase == Phase::refresh || failed.contains(kernel_of(stored));
  });
  std::map<Kernel, std::string> newest_source;
  for (const auto* stored : trials) newest_source[kernel_of(stored)] = stored->trial.source_hash;
  std::erase_if(trials, [&](const auto* stored) {
    return stored->trial.source_hash != newest_source.at(kernel_of(stored));
  });
  const auto wrong = wrong_ones(trials);
  std::erase_if(trials, [&](const auto* stored) {
    return stored->trial.evaluation.status != Status::ok || wrong.contains(kernel_of(stored));
  });
  return trials;
}

}  // namespace

bool same_model(const kernels::DeviceInfo& a, const kernels::DeviceInfo& b) {
  return a.name == b.name && a.target.kind == b.target.kind && a.target.arch == b.target.arch &&
         a.target.multiprocessors == b.target.multiprocessors;
}

std::map<std::string, TrialList> by_shape(const TrialList& trials) {
  std::map<std::string, TrialList> shapes;
  for (const auto* stored : trials) shapes[kernels::to_text(stored->trial.problem)].push_back(stored);
  return shapes;
}

const StoredTrial* latest(const TrialList& trials, const kernels::Problem& problem,
                          const std::string& configuration) {
  const StoredTrial* found = nullptr;
  for (const auto* stored : trials) {
    const Trial& trial = stored->trial;
    if (trial.configuration != configuration || trial.problem != problem) continue;
    if (trial.phase == Phase::search && found != nullptr && found->trial.phase != Phase::search) continue;
    found = stored;
  }
  return found;
}

TrialHistory::TrialHistory(const std::vector<StoredTrial>& trials, const kernels::DeviceInfo& device) {
  for (const auto& stored : trials)
    if (same_model(stored.session.device, device)) all_.push_back(&stored);
  std::stable_sort(all_.begin(), all_.end(), [](const auto* a, const auto* b) {
    return std::tie(a->trial.finished_at, a->id) < std::tie(b->trial.finished_at, b->id);
  });
  usable_ = usable_of(all_);
  for (const auto* stored : usable_) by_class_[kernels::class_text(stored->trial.problem)].push_back(stored);
}

const TrialList& TrialHistory::of_class(const std::string& class_text) const {
  static const TrialList kNone;
  const auto found = by_class_.find(class_text);
  return found == by_class_.end() ? kNone : found->second;
}

}  // namespace fcsa::tuner
