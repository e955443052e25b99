// An explanation of a choice, for people and as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "tuner/dispatch/explanation.h"

namespace fcsa::cli {

// `measured_on` is the device of the table, `device` the one that was asked about.
struct ExplanationContext {
  const kernels::DeviceInfo& device;
  const kernels::DeviceInfo& measured_on;
  double epsilon = 0;
};

std::string to_text(const tuner::Explanation& explanation, const ExplanationContext& context);
nlohmann::ordered_json to_json(const tuner::Explanation& explanation, const ExplanationContext& context);

// What the table chooses on every tuned shape, what that costs, and what leaving the shape out would.
std::string overview_text(const tuner::DispatchTable& table);
nlohmann::ordered_json overview_json(const tuner::DispatchTable& table);

}  // namespace fcsa::cli
