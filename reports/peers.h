// What else computes attention, as `python -m flash_cosine_sim_attention.compare` measured it (compare.csv),
// for lines beside a report's own.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reports/comparison.h"

namespace fcsa::reports {

// One peer on one problem. What wasn't measured is missing.
struct PeerMeasurement {
  std::string peer;  // "fa3"
  kernels::Problem problem;
  kernels::DeviceKind kind = kernels::DeviceKind::cpu;
  std::string device;  // kernels::DeviceInfo::name
  std::string torch;   // version
  tuner::CacheState cache = tuner::CacheState::warm;
  std::optional<double> median_ms = std::nullopt;
  // Inputs and outputs included. Backward: of both passes, so that what the forward pass keeps is there.
  std::optional<double> peak_bytes = std::nullopt;
  bool out_of_memory = false;
};

struct Peers {
  std::string file;
  std::vector<std::string> names;  // in the order of the file
  std::vector<PeerMeasurement> measurements;
};

// Without the lines of this package itself. Throws std::invalid_argument with file, line, what is wrong and
// what is allowed.
Peers peers_from_csv(std::string_view text, const std::string& file);

// Whether it is of the point's problem, on its device, in its cache state. A bound that the point's caller
// promises is no other problem.
bool is_of(const PeerMeasurement& measurement, const Point& point, const kernels::DeviceInfo& device);

// What is not drawn, and why; empty when everything is.
std::string left_out_note(const Peers& peers, const std::vector<DeviceResults>& devices);

}  // namespace fcsa::reports
