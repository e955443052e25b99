#include "reports/quantities.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "reports/axes.h"

namespace fcsa::reports {
namespace {

using tuner::Measurement;

std::optional<Sample> speed_sample(const Point& point, Role role, double unit) {
  const Entry& entry = point.of(role);
  if (!entry.measured()) return {};
  const Measurement& m = measurement_of(entry);
  if (m.ci_low_ms <= 0 || m.ci_high_ms <= 0 || m.median_ms <= 0) return {};
  const double work = kernels::flops(point.problem) * 1e3 / unit;
  return Sample{static_cast<double>(point.problem.nk), work / m.median_ms, work / m.ci_high_ms,
                work / m.ci_low_ms, !entry.confirmed};
}

std::optional<Sample> time_sample(const Point& point, Role role) {
  const Entry& entry = point.of(role);
  if (!entry.measured() || measurement_of(entry).median_ms <= 0) return {};
  const Measurement& m = measurement_of(entry);
  return Sample{static_cast<double>(point.problem.nk), m.median_ms, m.ci_low_ms, m.ci_high_ms,
                !entry.confirmed};
}

std::optional<Sample> speedup_sample(const Point& point, Role over) {
  const auto ratio = speedup(point, Role::tuned, over);
  if (!ratio) return {};
  return Sample{static_cast<double>(point.problem.nk), ratio->value, ratio->low, ratio->high, false};
}

std::optional<Sample> memory_sample(const Point& point, Role role, std::size_t Measurement::*field) {
  const Entry& entry = point.of(role);
  if (entry.memory == nullptr) return {};
  const double bytes = static_cast<double>(entry.memory->*field);
  return Sample{static_cast<double>(point.problem.nk), bytes, bytes, bytes, false};
}

std::optional<double> peer_speed(const PeerMeasurement& measurement, double unit) {
  if (!measurement.median_ms) return {};
  return kernels::flops(measurement.problem) * 1e3 / unit / *measurement.median_ms;
}

Axis speedup_axis(const std::vector<double>& values, bool headroom) {
  constexpr double kLargestLinear = 5;
  const bool wide = std::any_of(values.begin(), values.end(), [](double v) { return v > kLargestLinear; });
  std::vector<double> with_one = values;
  with_one.push_back(1.0);
  return wide ? binary_axis(with_one, Binary::factor, headroom) : ratio_axis(with_one, headroom);
}

Quantity memory_quantity(std::string title, std::size_t Measurement::*field, std::string note) {
  return {.title = std::move(title),
          .unit = "bytes",
          .sample = [field](const Point& point, Role role) { return memory_sample(point, role, field); },
          .text = bytes_text,
          .axis = [](const std::vector<double>& values,
                     bool headroom) { return binary_axis(values, Binary::bytes, headroom); },
          .label_prefix = "",
          .reference = {},
          .note = std::move(note),
          .missing = "nothing worked"};
}

}  // namespace

Quantity speed_quantity(const SpeedUnit& unit) {
  return {.title = "Speed",
          .unit = unit.name,
          .sample = [unit](const Point& point, Role role) { return speed_sample(point, role, unit.flops); },
          .text = [](double value) { return significant(value, 4); },
          .axis = zero_axis,
          .label_prefix = "",
          .crosses_at_bottom = true,
          .per_kind = true,
          .reference = {},
          .note = "",
          .missing = "nothing worked",
          .peer = [unit](const PeerMeasurement& m) { return peer_speed(m, unit.flops); }};
}

Quantity time_quantity() {
  return {.title = "Time per call",
          .unit = "ms",
          .sample = time_sample,
          .text = [](double value) { return significant(value, 4); },
          .axis = decimal_axis,
          .label_prefix = "",
          .reference = {},
          .note = "",
          .missing = "nothing worked",
          .peer = [](const PeerMeasurement& m) { return m.median_ms; }};
}

Quantity speedup_quantity(Role over) {
  return {.title = fmt::format("Speed-up over {}", to_text(over)),
          .unit = "times as fast",
          .sample = speedup_sample,
          .text = [](double value) { return significant(value); },
          .axis = speedup_axis,
          .roles = {over},
          .label_prefix = "tuned over ",
          .reference = 1.0,
          .note = "",
          .missing = "no confirmation race had both"};
}

Quantity peak_memory_quantity() {
  Quantity quantity = memory_quantity("Peak memory", &Measurement::peak_memory_bytes,
                                      "During one launch: inputs, outputs, workspace, scratch.");
  quantity.peer = [](const PeerMeasurement& m) { return m.peak_bytes; };
  return quantity;
}

Quantity extra_memory_quantity() {
  return memory_quantity("Extra memory", &Measurement::extra_memory_bytes,
                         "Beyond inputs and outputs: workspace and scratch.");
}

}  // namespace fcsa::reports
