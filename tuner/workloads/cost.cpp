#include "tuner/workloads/cost.h"

#include <algorithm>
#include <utility>

#include "tuner/dispatch/expected_loss.h"
#include "tuner/workloads/served.h"

namespace fcsa::tuner {

std::vector<WorkloadCost> costs_of(const Workload& workload, const DispatchTable& table,
                                   const kernels::DeviceInfo& device) {
  std::vector<WorkloadCost> costs;
  for (const auto& entry : workload.entries) {
    if (!runs_on(entry, device.target.kind) || !unserved(entry.problem, device.target).empty()) continue;
    WorkloadCost cost{&entry, choose(table, entry.problem, device)};
    cost.ms = cost.choice.predicted_ms;
    cost.loss = expected_loss(table, cost.choice, entry.problem, device);
    costs.push_back(std::move(cost));
  }
  std::stable_sort(costs.begin(), costs.end(), [](const auto& a, const auto& b) {
    return std::pair(a.ms > 0, -a.lost_ms()) < std::pair(b.ms > 0, -b.lost_ms());
  });
  return costs;
}

WorkloadTotal total_of(const std::vector<WorkloadCost>& costs) {
  WorkloadTotal total;
  for (const auto& cost : costs) {
    total.ms += cost.weighted_ms();
    total.lost_ms += cost.lost_ms();
    ++(cost.ms > 0 ? total.known : total.unknown);
  }
  return total;
}

}  // namespace fcsa::tuner
