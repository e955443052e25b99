// What a workload takes with a dispatch table, and what of that is expected to be lost.
#pragma once

#include <optional>
#include <vector>

#include "tuner/dispatch/dispatch.h"
#include "tuner/workloads/workload.h"

namespace fcsa::tuner {

struct WorkloadCost {
  const WorkloadEntry* entry = nullptr;  // of the workload
  Choice choice;                         // its entry is the table's
  // Of one call, measured or predicted; 0: nothing like it was tuned.
  double ms = 0;
  // Against the best that a search would find: 0.1 is 10%. None where nothing is known.
  std::optional<double> loss = std::nullopt;

  double weighted_ms() const { return ms * static_cast<double>(entry->count); }
  double lost_ms() const { return loss ? weighted_ms() * *loss / (1 + *loss) : 0; }
};

struct WorkloadTotal {
  double ms = 0, lost_ms = 0;          // weighted by count, of the entries with a time
  std::size_t known = 0, unknown = 0;  // entries

  double loss() const { return ms > lost_ms ? lost_ms / (ms - lost_ms) : 0; }  // of the time without it
};

// Of the entries that kernels of the device serve, those that are expected to lose the most time first, what
// nothing is known of before them. Both arguments must outlive the result.
std::vector<WorkloadCost> costs_of(const Workload& workload, const DispatchTable& table,
                                   const kernels::DeviceInfo& device);
WorkloadTotal total_of(const std::vector<WorkloadCost>& costs);

}  // namespace fcsa::tuner
