// Which problems of a workload a device runs.
#pragma once

#include <string>
#include <vector>

#include "kernels/family.h"
#include "tuner/workloads/workload.h"

namespace fcsa::tuner {

bool runs_on(const WorkloadEntry& entry, kernels::DeviceKind kind);

// Why none of the tunable families serves the problem; empty when one does.
std::string unserved(const kernels::Problem& problem, const kernels::Target& target,
                     const std::vector<const kernels::Family*>& families);
// Of all families of the device's kind.
std::string unserved(const kernels::Problem& problem, const kernels::Target& target);

struct ServedProblems {
  std::vector<kernels::Problem> problems;
  std::vector<std::string> notes;  // what was recorded, and isn't served: with file and line
};

// Those for this kind of device. Throws WorkloadError with file and line for one that somebody wrote and no
// family serves, and where nothing is left.
ServedProblems served_problems(const Workload& workload, const kernels::Target& target,
                               const std::vector<const kernels::Family*>& families);

}  // namespace fcsa::tuner
