// What the figures plot for each role against the sequence length.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "reports/figures.h"
#include "reports/peers.h"

namespace fcsa::reports {

// What is plotted for the roles against the length.
struct Quantity {
  std::string title, unit;
  std::function<std::optional<Sample>(const Point&, Role)> sample;
  std::function<std::string(double)> text;
  std::function<Axis(const std::vector<double>&, bool headroom)> axis;
  std::vector<Role> roles = {Role::unfused, Role::baseline, Role::tuned};  // drawn in this order
  std::string label_prefix;
  bool crosses_at_bottom = false;
  bool per_kind = false;  // y axis shared only by devices of the same kind
  std::optional<double> reference;
  std::string note;
  std::string missing;  // why there may be nothing to plot
  // Of a peer's measurement; null: of peers nothing is shown.
  std::function<std::optional<double>(const PeerMeasurement&)> peer = nullptr;
  const Peers* peers = nullptr;  // null: there are none
};

Quantity speed_quantity(const SpeedUnit& unit);
Quantity time_quantity();
Quantity speedup_quantity(Role over);  // of the tuned configuration
Quantity peak_memory_quantity();
Quantity extra_memory_quantity();

}  // namespace fcsa::reports
