#include "tuner/workloads/served.h"

#include <fmt/format.h>

namespace fcsa::tuner {

bool runs_on(const WorkloadEntry& entry, kernels::DeviceKind kind) {
  return !entry.device || *entry.device == kind;
}

std::string unserved(const kernels::Problem& problem, const kernels::Target& target,
                     const std::vector<const kernels::Family*>& families) {
  std::string reasons;
  for (const auto* family : families) {
    if (!family->tunable() || family->device_kind() != target.kind) continue;
    const std::string reason = family->unsupported(problem, target);
    if (reason.empty()) return {};
    reasons += (reasons.empty() ? "" : "; ") + reason;
  }
  return fmt::format("no kernel serves '{}': {}", kernels::to_text(problem),
                     reasons.empty() ? "there is no family for this device" : reasons);
}

std::string unserved(const kernels::Problem& problem, const kernels::Target& target) {
  std::vector<const kernels::Family*> all;
  for (const auto& family : kernels::families()) all.push_back(family.get());
  return unserved(problem, target, all);
}

ServedProblems served_problems(const Workload& workload, const kernels::Target& target,
                               const std::vector<const kernels::Family*>& families) {
  ServedProblems served;
  for (const auto& entry : workload.entries) {
    if (!runs_on(entry, target.kind)) continue;
    const std::string why = unserved(entry.problem, target, families);
    if (why.empty()) {
      served.problems.push_back(entry.problem);
      continue;
    }
    const std::string message = fmt::format("{}:{}: {}", workload.file, entry.line, why);
    if (!entry.recorded) throw WorkloadError(message);
    served.notes.push_back(message + "; left out");
  }
  if (served.problems.empty())
    throw WorkloadError(fmt::format(
        "{}:{}: none of its problems is for this device: {}", workload.file, workload.entries.front().line,
        served.notes.empty() ? "all were recorded on the other kind" : served.notes.front()));
  return served;
}

}  // namespace fcsa::tuner
