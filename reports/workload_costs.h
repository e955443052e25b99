// A workload in a report: what it takes with what was tuned, and what of that is expected to be lost.
#pragma once

#include <string>
#include <vector>

#include "reports/comparison.h"
#include "reports/format.h"
#include "tuner/workloads/workload.h"

namespace fcsa::reports {

// On one device.
struct WorkloadCosts {
  std::string device;   // its label
  std::string summary;  // a sentence with the time of all calls, and what is expected to be lost
  Table table;          // a row for each problem, what loses most first
};

// On each of the devices, with the dispatch table of its trials.
std::vector<WorkloadCosts> workload_costs(const tuner::Workload& workload,
                                          const std::vector<DeviceResults>& devices);

std::string workload_html(const tuner::Workload& workload, const std::vector<WorkloadCosts>& costs);
std::string workload_markdown(const tuner::Workload& workload, const std::vector<WorkloadCosts>& costs);
std::string workload_csv(const std::vector<WorkloadCosts>& costs);

}  // namespace fcsa::reports
