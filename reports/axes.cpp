#include "reports/axes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "reports/format.h"

namespace fcsa::reports {
namespace {

constexpr int kMostTicks = 8;

struct Range {
  double low = 0, high = 0;
};

// Of the positive values; empty (0, 0) when there is none.
Range positive_range(const std::vector<double>& values) {
  Range range;
  for (const double value : values) {
    if (!(value > 0) || !std::isfinite(value)) continue;
    range.low = range.low == 0 ? value : std::min(range.low, value);
    range.high = std::max(range.high, value);
  }
  return range;
}

// A range of one value, or a narrow one, is widened to `least` times, so that it has ticks and flat curves
// look flat.
Range padded(Range range, double least, bool headroom) {
  const double ratio = range.high / range.low;
  const double widen = std::max(ratio < least ? std::sqrt(least / ratio) : 1.0, 1.08);
  range.low /= widen;
  range.high *= widen;
  if (headroom) range.high *= std::pow(range.high / range.low, 0.18);
  return range;
}

std::vector<double> decimal_ticks(const Range& range) {
  const double decades = std::log10(range.high / range.low);
  const std::vector<double> steps = decades > 2.5 ? std::vector<double>{1} : std::vector<double>{1, 2, 5};
  std::vector<double> ticks;
  for (int exponent = static_cast<int>(std::floor(std::log10(range.low)));
       std::pow(10, exponent) <= range.high; ++exponent) {
    for (const double step : steps) {
      const double at = step * std::pow(10, exponent);
      if (at >= range.low && at <= range.high) ticks.push_back(at);
    }
  }
  return ticks;
}

// 1, 2 or 5 times a power of ten: between four and eight ticks from zero to `high`.
double tick_step(double high) {
  const double power = std::pow(10, std::floor(std::log10(high / 4)));
  for (const double step : {5.0, 2.0}) {
    if (high / (step * power) >= 4) return step * power;
  }
  return power;
}

std::vector<double> binary_ticks(const Range& range) {
  const int first = static_cast<int>(std::ceil(std::log2(range.low) - 1e-9));
  const int last = static_cast<int>(std::floor(std::log2(range.high) + 1e-9));
  const int step = std::max(1, (last - first + kMostTicks - 1) / kMostTicks);
  std::vector<double> ticks;
  for (int exponent = first; exponent <= last; exponent += step) ticks.push_back(std::exp2(exponent));
  return ticks;
}

}  // namespace

Axis length_axis(const std::vector<int>& lengths) {
  const std::set<int> distinct(lengths.begin(), lengths.end());
  Axis axis{.logarithmic = true, .low = 1, .high = 2, .ticks = {}};
  if (distinct.empty()) return axis;
  const double pad = distinct.size() == 1 ? 2.0 : 1.15;
  axis.low = *distinct.begin() / pad;
  axis.high = *distinct.rbegin() * pad;
  const Range exact{static_cast<double>(*distinct.begin()), static_cast<double>(*distinct.rbegin())};
  const std::vector<double> powers = binary_ticks(exact);
  if (powers.size() >= 2) {
    for (const double at : powers) axis.ticks.push_back({at, length_text(static_cast<int>(at))});
    return axis;
  }
  const std::size_t step = 1 + distinct.size() / kMostTicks;
  std::size_t index = 0;
  for (const int length : distinct) {
    if (index++ % step == 0) axis.ticks.push_back({static_cast<double>(length), length_text(length)});
  }
  return axis;
}

Axis zero_axis(const std::vector<double>& values, bool headroom) {
  const double largest = positive_range(values).high;
  Axis axis{.logarithmic = false, .low = 0, .high = 1, .ticks = {}};
  if (largest == 0) return axis;
  axis.high = largest * (headroom ? 1.25 : 1.08);
  const double step = tick_step(axis.high);
  for (int i = 0; i * step <= axis.high; ++i) axis.ticks.push_back({i * step, fmt::format("{:g}", i * step)});
  return axis;
}

Axis ratio_axis(const std::vector<double>& values, bool headroom) {
  Range range = positive_range(values);
  if (range.high == 0) range = {1, 1};
  range = {std::min(range.low, 1.0), std::max(range.high, 1.0)};
  const double pad = std::max(0.05, 0.1 * (range.high - range.low));
  Axis axis{.logarithmic = false,
            .low = range.low - pad,
            .high = range.high + (headroom ? 4 : 1) * pad,
            .ticks = {}};
  const double step = tick_step(1.5 * (axis.high - axis.low));
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  for (int i = static_cast<int>(std::ceil(axis.low / step)); i * step <= axis.high; ++i)
    axis.ticks.push_back({i * step, fmt::format("{:.{}f}x", i * step, decimals)});
  return axis;
}

Axis share_axis(const std::vector<double>& values) {
  Axis axis{.logarithmic = false, .low = 0, .high = 1, .ticks = {}};
  const double smallest = positive_range(values).low;
  for (const double step : {0.01, 0.02, 0.05, 0.1, 0.2}) {
    axis.low = std::floor(smallest / step) * step;
    axis.ticks.clear();
    if (axis.low >= 1) axis.low = 1 - step;
    for (int i = 0; axis.low + i * step < 1 + step / 2; ++i)
      axis.ticks.push_back({axis.low + i * step, fmt::format("{:.0f}%", 100 * (axis.low + i * step))});
    if (axis.ticks.size() <= kMostTicks) break;
  }
  axis.high = 1 + 0.03 * (1 - axis.low);
  return axis;
}

Axis decimal_axis(const std::vector<double>& values, bool headroom) {
  Range range = positive_range(values);
  if (range.high == 0) return {.logarithmic = true, .low = 0.1, .high = 10, .ticks = {{1, "1"}}};
  range = padded(range, 10, headroom);
  Axis axis{.logarithmic = true, .low = range.low, .high = range.high, .ticks = {}};
  for (const double at : decimal_ticks(range)) axis.ticks.push_back({at, fmt::format("{:g}", at)});
  return axis;
}

Axis binary_axis(const std::vector<double>& values, Binary kind, bool headroom) {
  Range range = positive_range(values);
  if (range.high == 0) return {.logarithmic = false, .low = 0, .high = 1, .ticks = {{0, "0"}}};
  range = padded(range, kind == Binary::bytes ? 16 : 4, headroom);
  const bool any_zero = std::any_of(values.begin(), values.end(), [](double value) { return value == 0; });
  Axis axis{.logarithmic = true, .low = range.low, .high = range.high, .ticks = {}};
  for (const double at : binary_ticks(range)) {
    axis.ticks.push_back({at, kind == Binary::bytes ? bytes_text(at) : fmt::format("{:g}x", at)});
  }
  if (any_zero) {
    axis.low = range.low / std::pow(range.high / range.low, 0.15);
    axis.ticks.push_back({axis.low, "0"});
  }
  return axis;
}

}  // namespace fcsa::reports
