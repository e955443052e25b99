// What the figures plot for each role against the sequence length.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "reports/figures.h"

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
};

Quantity speed_quantity(const SpeedUnit& unit);
Quantity time_quantity();
Quantity speedup_quantity(Role over);  // of the tuned configuration
Quantity memory_quantity(std::string title, std::size_t tuner::Measurement::*field, std::string note);

}  // namespace fcsa::reports
