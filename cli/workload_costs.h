// What a workload takes and is expected to lose, for people and as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "tuner/workloads/cost.h"

namespace fcsa::cli {

std::string costs_text(const tuner::Workload& workload, const tuner::DispatchTable& table,
                       const kernels::DeviceInfo& device);
nlohmann::ordered_json costs_json(const tuner::Workload& workload, const tuner::DispatchTable& table,
                                  const kernels::DeviceInfo& device);

}  // namespace fcsa::cli
