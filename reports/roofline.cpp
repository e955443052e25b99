#include "reports/roofline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "reports/axes.h"

namespace fcsa::reports {
namespace {

using kernels::Problem;

// One limit of the arithmetic.
struct Roof {
  std::string name;
  double flops_per_second = 0;
};

std::optional<Roof> roof(const DevicePeaks& peaks, const std::string& arithmetic, const std::string& name,
                         double share = 1) {
  const auto found = peaks.flops_per_second.find(arithmetic);
  if (found == peaks.flops_per_second.end()) return {};
  return Roof{name, found->second * share};
}

// The highest first; empty when the data sheet doesn't tell.
std::vector<Roof> roofs_of(const Problem& problem, const DevicePeaks& peaks) {
  std::vector<std::optional<Roof>> candidates;
  if (problem.dtype != kernels::DType::f32) {
    const std::string dtype(kernels::to_text(problem.dtype));
    candidates = {roof(peaks, dtype, dtype + " on tensor cores")};
  } else if (problem.allow_tf32) {
    candidates = {roof(peaks, "tf32", "TF32"), roof(peaks, "f32", "f32")};
  } else {
    candidates = {roof(peaks, "tf32", "f32 as three TF32 products", 1.0 / 3), roof(peaks, "f32", "f32")};
  }
  std::vector<Roof> roofs;
  for (const auto& candidate : candidates)
    if (candidate) roofs.push_back(*candidate);
  std::stable_sort(roofs.begin(), roofs.end(),
                   [](const Roof& a, const Roof& b) { return a.flops_per_second > b.flops_per_second; });
  return roofs;
}

std::string bandwidth_text(double bytes_per_second) {
  return bytes_per_second >= 1e12 ? significant(bytes_per_second / 1e12) + " TB/s"
                                  : significant(bytes_per_second / 1e9) + " GB/s";
}

double intensity(const Point& point) {
  return kernels::flops(point.problem) / kernels::bytes(point.problem);
}

// What one device's figure is made of.
struct Ceiling {
  const DevicePeaks* peaks = nullptr;  // null: unknown
  std::vector<Roof> roofs;

  bool known() const { return peaks != nullptr && !roofs.empty(); }
  double at(double flop_per_byte) const {
    return std::min(roofs.front().flops_per_second, peaks->bytes_per_second * flop_per_byte);
  }
};

Curve curve_of(const std::vector<const Point*>& points, Role role, const SpeedUnit& unit) {
  Curve curve = role_curve(role);
  for (const Point* point : points) {
    const Entry& entry = point->of(role);
    if (!entry.measured() || measurement_of(entry).median_ms <= 0) continue;
    const double speed = flops_per_second(*point, measurement_of(entry)) / unit.flops;
    curve.samples.push_back({intensity(*point), speed, speed, speed, !entry.confirmed});
  }
  std::stable_sort(curve.samples.begin(), curve.samples.end(),
                   [](const Sample& a, const Sample& b) { return a.x < b.x; });
  return curve;
}

Table numbers_table(const std::vector<const Point*>& points, const Ceiling& ceiling, const SpeedUnit& unit) {
  Table table{{"N", "FLOP per byte", "tuned, " + unit.name}, {}};
  if (ceiling.known()) table.header.insert(table.header.end(), {"limit, " + unit.name, "tuned of limit"});
  for (const Point* point : points) {
    const Entry& tuned = point->of(Role::tuned);
    if (!tuned.measured()) continue;
    const double speed = flops_per_second(*point, measurement_of(tuned));
    auto& row = table.rows.emplace_back();
    row = {fmt::format("{}", point->problem.nk), significant(intensity(*point)),
           significant(speed / unit.flops, 4)};
    if (!ceiling.known()) continue;
    const double limit = ceiling.at(intensity(*point));
    row.push_back(significant(limit / unit.flops, 4));
    row.push_back(fmt::format("{:.0f}%", 100 * speed / limit));
  }
  return table;
}

std::string note_of(const DeviceResults& device, const Ceiling& ceiling, tuner::CacheState cache) {
  if (!ceiling.known()) {
    return fmt::format(
        "No limits are drawn: fcsa doesn't know the peaks of {}; fcsa report --peaks FILE tells it.",
        device.device.name);
  }
  std::string text = "Limits:";
  for (const Roof& limit : ceiling.roofs)
    text += fmt::format(" {} TFLOP/s {},", significant(limit.flops_per_second / 1e12), limit.name);
  text +=
      fmt::format(" {} memory ({}).", bandwidth_text(ceiling.peaks->bytes_per_second), ceiling.peaks->source);
  if (cache == tuner::CacheState::warm) text += " Warm cache: what fits into it can pass the memory's limit.";
  return text;
}

Figure make_figure(const Section& section, const DeviceResults& device, std::size_t index,
                   const Ceiling& ceiling, const SpeedUnit& unit) {
  const auto& points = section.by_device[index];
  Figure figure{.title = "Roofline",
                .device = index,
                .note = note_of(device, ceiling, points.front()->cache),
                .missing = "nothing worked",
                .text = {},
                .numbers = numbers_table(points, ceiling, unit),
                .plot = {}};
  figure.plot.unit = unit.name;
  figure.plot.x_label = "FLOP per byte";
  for (const Role role : {Role::unfused, Role::baseline, Role::tuned})
    figure.plot.curves.push_back(curve_of(points, role, unit));
  if (std::any_of(points.begin(), points.end(), [](const Point* point) { return !point->confirmed(); }))
    figure.note += fmt::format(" {}", kUnconfirmedNote);
  figure.text.title =
      fmt::format("Speed against arithmetic intensity: {} on {}", section.title, device.label);
  for (const auto& row : figure.numbers.rows)
    figure.text.description +=
        fmt::format("{}N {}: {} {} at {} FLOP per byte", figure.text.description.empty() ? "" : "; ", row[0],
                    row[2], unit.name, row[1]);
  return figure;
}

// The memory's limit from the edge of the plot up to `flat`, where the highest arithmetic limit begins.
std::vector<Sample> slope_samples(const Plot& plot, double slope, double flat) {
  const double first = std::max(plot.x.low, plot.y.low / slope);
  return {{first, slope * first, slope * first, slope * first}, {flat / slope, flat, flat, flat}};
}

// Lines and their labels, once the axes are known.
void draw_ceiling(Plot& plot, const Ceiling& ceiling, const SpeedUnit& unit) {
  const double slope = ceiling.peaks->bytes_per_second / unit.flops;
  for (const Roof& limit : ceiling.roofs) {
    const double flat = limit.flops_per_second / unit.flops;
    const bool highest = &limit == &ceiling.roofs.front();
    Curve line{.label = "",
               .colour = Colour::ink,
               .marker = Marker::none,
               .dashed = !highest,
               .width = 1.2,
               .samples = {{flat / slope, flat, flat, flat}, {plot.x.high, flat, flat, flat}}};
    if (highest) line.samples.insert(line.samples.begin(), slope_samples(plot, slope, flat).front());
    plot.curves.insert(plot.curves.begin(), std::move(line));
    plot.labels.push_back({.x = plot.x.high, .y = flat, .text = significant(flat) + " " + unit.name});
  }
  // Left of a rising line there is room, the more the higher.
  constexpr double kHeight = 0.7;
  const auto ends = slope_samples(plot, slope, ceiling.roofs.front().flops_per_second / unit.flops);
  const double at = ends[0].x * std::pow(ends[1].x / ends[0].x, kHeight);
  plot.labels.push_back({.x = at,
                         .y = slope * at,
                         .text = bandwidth_text(ceiling.peaks->bytes_per_second),
                         .side = Side::left});
}

// Room for the limits too, both of them, where the points are far away.
Extent with_limits(Extent extent, const FigureRow& row, const std::vector<Ceiling>& ceilings,
                   const SpeedUnit& unit) {
  constexpr double kRoomForSlope = 20, kRoomForFlat = 8, kMargin = 2;
  for (auto* values : {&extent.x, &extent.y})
    if (!values->empty()) values->push_back(*std::min_element(values->begin(), values->end()) / kMargin);
  for (const Figure& figure : row) {
    const Ceiling& ceiling = ceilings[figure.device];
    if (figure.plot.empty() || !ceiling.known()) continue;
    for (const Roof& limit : ceiling.roofs) {
      extent.x.push_back(limit.flops_per_second / ceiling.peaks->bytes_per_second / kRoomForSlope);
      extent.x.push_back(limit.flops_per_second / ceiling.peaks->bytes_per_second * kRoomForFlat);
      extent.y.push_back(limit.flops_per_second / unit.flops);
    }
  }
  return extent;
}

Ceiling ceiling_of(const std::vector<const Point*>& points, const DeviceResults& device,
                   const std::vector<DevicePeaks>& peaks) {
  Ceiling ceiling{.peaks = find_peaks(peaks, device.device), .roofs = {}};
  if (ceiling.peaks != nullptr && !points.empty())
    ceiling.roofs = roofs_of(points.front()->problem, *ceiling.peaks);
  return ceiling;
}

}  // namespace

FigureRow roofline_figures(const Section& section, const std::vector<DeviceResults>& devices,
                           const std::vector<DevicePeaks>& peaks) {
  FigureRow row;
  std::vector<Ceiling> ceilings;  // by device
  for (std::size_t d = 0; d < devices.size(); ++d) {
    ceilings.push_back(ceiling_of(section.by_device[d], devices[d], peaks));
    if (section.by_device[d].empty()) continue;
    row.push_back(make_figure(section, devices[d], d, ceilings[d],
                              speed_unit(section, devices, devices[d].device.target.kind)));
  }
  for (const auto kind : {kernels::DeviceKind::cuda, kernels::DeviceKind::cpu}) {
    const SpeedUnit unit = speed_unit(section, devices, kind);
    FigureRow of_kind;
    std::copy_if(row.begin(), row.end(), std::back_inserter(of_kind),
                 [&](const Figure& figure) { return devices[figure.device].device.target.kind == kind; });
    const Extent extent = with_limits(extent_of(row, devices, kind), of_kind, ceilings, unit);
    row = with_axes(std::move(row), devices, kind,
                    {decimal_axis(extent.x, false), decimal_axis(extent.y, true)});
  }
  for (Figure& figure : row) {
    if (figure.plot.empty()) continue;
    const SpeedUnit unit = speed_unit(section, devices, devices[figure.device].device.target.kind);
    if (ceilings[figure.device].known()) draw_ceiling(figure.plot, ceilings[figure.device], unit);
  }
  return row;
}

}  // namespace fcsa::reports
