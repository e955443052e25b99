#include "reports/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <tuple>
#include <utility>

#include "reports/axes.h"
#include "reports/parameter_figure.h"
#include "reports/peer_lines.h"
#include "reports/quantities.h"
#include "reports/roofline.h"
#include "reports/search_figure.h"

namespace fcsa::reports {
namespace {

using kernels::DeviceKind;
using tuner::Measurement;

constexpr double kCrossesTop = 0.93;
constexpr double kCrossesBottom = 0.04;
constexpr double kCrossesStep = 0.08;  // between the rows of different roles

std::vector<double> heights(const std::vector<const Point*>& points, const Quantity& quantity) {
  std::vector<double> values;
  for (const Point* point : points) {
    for (const Role role : quantity.roles) {
      const auto sample = quantity.sample(*point, role);
      if (sample) values.insert(values.end(), {sample->low, sample->y, sample->high});
    }
  }
  return values;
}

bool any_out_of_memory(const std::vector<const Point*>& points, const Quantity& quantity) {
  return std::any_of(points.begin(), points.end(), [&](const Point* point) {
    return std::any_of(quantity.roles.begin(), quantity.roles.end(),
                       [&](Role role) { return point->of(role).out_of_memory(); });
  });
}

Axis shared_axis(const Section& section, const std::vector<DeviceResults>& devices, const Quantity& quantity,
                 DeviceKind kind) {
  std::vector<double> values;
  bool crosses = false;
  for (std::size_t d = 0; d < devices.size(); ++d) {
    if (quantity.per_kind && devices[d].device.target.kind != kind) continue;
    const std::vector<double> more = heights(section.by_device[d], quantity);
    values.insert(values.end(), more.begin(), more.end());
    for (const PeerLine& line : peer_lines(quantity, devices[d], section.by_device[d]))
      for (const Sample& sample : line.curve.samples) values.push_back(sample.y);
    crosses = crosses || any_out_of_memory(section.by_device[d], quantity);
  }
  return quantity.axis(values, crosses && !quantity.crosses_at_bottom);
}

Axis shared_lengths(const Section& section) {
  std::vector<int> lengths;
  for (const auto& points : section.by_device) {
    for (const Point* point : points) lengths.push_back(point->problem.nk);
  }
  return length_axis(lengths);
}

std::string cell_text(const Point& point, Role role, const Quantity& quantity) {
  const Entry& entry = point.of(role);
  const auto sample = quantity.sample(point, role);
  if (!sample) {
    std::string status = entry.measured() ? "" : entry.status_text();
    std::replace(status.begin(), status.end(), '_', ' ');
    return status;
  }
  std::string text = quantity.text(sample->y);
  if (sample->low < sample->high) {
    text += fmt::format(" [{}, {}]", quantity.text(sample->low), quantity.text(sample->high));
  }
  return sample->open ? text + " (unconfirmed)" : text;
}

std::string cell_text(const PeerLine& line, double length, const Quantity& quantity) {
  for (const Sample& sample : line.curve.samples)
    if (sample.x == length) return quantity.text(sample.y);
  const auto& lengths = line.out_of_memory;
  return std::find(lengths.begin(), lengths.end(), length) != lengths.end() ? "out of memory" : "";
}

Table numbers_table(const std::vector<const Point*>& points, const Quantity& quantity,
                    const std::vector<PeerLine>& peers) {
  Table table{{"N"}, {}};
  const std::vector<Role> roles(quantity.roles.rbegin(), quantity.roles.rend());
  for (const Role role : roles) table.header.push_back(quantity.label_prefix + std::string(to_text(role)));
  for (const PeerLine& line : peers) table.header.push_back(line.curve.label);
  for (const Point* point : points) {
    std::vector<std::string>& row = table.rows.emplace_back();
    row.push_back(fmt::format("{}", point->problem.nk));
    for (const Role role : roles) row.push_back(cell_text(*point, role, quantity));
    for (const PeerLine& line : peers) row.push_back(cell_text(line, point->problem.nk, quantity));
  }
  return table;
}

// "tuned 1.02 at 512 to 3.4 at 8k; ..."
std::string in_words(const std::vector<Curve>& curves, const std::function<std::string(double)>& text) {
  std::string words;
  for (auto curve = curves.rbegin(); curve != curves.rend(); ++curve) {
    if (curve->samples.empty()) continue;
    const Sample &first = curve->samples.front(), &last = curve->samples.back();
    words += fmt::format("{}{} {} at {}", words.empty() ? "" : "; ", curve->label, text(first.y),
                         length_text(static_cast<int>(first.x)));
    if (curve->samples.size() > 1)
      words += fmt::format(" to {} at {}", text(last.y), length_text(static_cast<int>(last.x)));
  }
  return words;
}

void add_crosses(Plot& plot, const std::vector<const Point*>& points, const Quantity& quantity) {
  for (const Role role : quantity.roles) {
    Crosses crosses{.label = "out of memory", .colour = role_curve(role).colour, .x = {}};
    for (const Point* point : points) {
      if (point->of(role).out_of_memory()) crosses.x.push_back(point->problem.nk);
    }
    if (crosses.x.empty()) continue;
    const double offset = kCrossesStep * static_cast<double>(plot.crosses.size());
    crosses.height = quantity.crosses_at_bottom ? kCrossesBottom + offset : kCrossesTop - offset;
    plot.crosses.push_back(std::move(crosses));
  }
}

void add_sentence(std::string& note, std::string_view sentence) {
  note += fmt::format("{}{}", note.empty() ? "" : " ", sentence);
}

Figure make_figure(const Section& section, const DeviceResults& device, std::size_t index,
                   const Quantity& quantity) {
  const std::vector<const Point*>& points = section.by_device[index];
  Figure figure{.title = quantity.title,
                .device = index,
                .note = quantity.note,
                .missing = quantity.missing,
                .text = {},
                .numbers = {},
                .plot = {}};
  Plot& plot = figure.plot;
  plot.unit = quantity.unit;
  plot.x_label = "sequence length N";
  plot.reference = quantity.reference;
  const std::vector<PeerLine> peers = peer_lines(quantity, device, points);
  for (auto line = peers.rbegin(); line != peers.rend(); ++line) plot.curves.push_back(line->curve);
  bool unconfirmed = false;
  for (const Role role : quantity.roles) {
    Curve curve = role_curve(role);
    curve.label = quantity.label_prefix + curve.label;
    if (quantity.roles.size() == 1) curve.width = role_curve(Role::tuned).width;
    for (const Point* point : points) {
      const auto sample = quantity.sample(*point, role);
      if (sample) curve.samples.push_back(*sample);
      unconfirmed = unconfirmed || (sample && sample->open);
    }
    plot.curves.push_back(std::move(curve));
  }
  add_crosses(plot, points, quantity);
  if (unconfirmed) add_sentence(figure.note, kUnconfirmedNote);
  if (!peers.empty()) add_sentence(figure.note, peers_note(*quantity.peers, peers));
  figure.text.title =
      fmt::format("{} against sequence length: {} on {}", quantity.title, section.title, device.label);
  figure.text.description = fmt::format("{}: {}", quantity.unit, in_words(plot.curves, quantity.text));
  if (!plot.crosses.empty()) figure.text.description += "; some lengths run out of memory (crosses)";
  figure.numbers = numbers_table(points, quantity, peers);
  return figure;
}

// A logarithmic axis has no zero: it is drawn at the axis' lower end, which has that label.
void show_zeros(Plot& plot) {
  if (!plot.y.logarithmic) return;
  for (Curve& curve : plot.curves) {
    for (Sample& sample : curve.samples) {
      if (sample.y == 0) sample.y = sample.low = sample.high = plot.y.low;
    }
  }
}

FigureRow quantity_row(const Section& section, const std::vector<DeviceResults>& devices,
                       const std::function<Quantity(DeviceKind)>& quantity_for) {
  FigureRow row;
  const Axis lengths = shared_lengths(section);
  for (std::size_t d = 0; d < devices.size(); ++d) {
    if (section.by_device[d].empty()) continue;
    const DeviceKind kind = devices[d].device.target.kind;
    const Quantity quantity = quantity_for(kind);
    Figure figure = make_figure(section, devices[d], d, quantity);
    figure.plot.x = lengths;
    figure.plot.y = shared_axis(section, devices, quantity, kind);
    show_zeros(figure.plot);
    row.push_back(std::move(figure));
  }
  return row;
}

}  // namespace

Curve role_curve(Role role) {
  Curve curve;
  curve.label = to_text(role);
  switch (role) {
    case Role::tuned:
      curve.colour = Colour::tuned;
      curve.width = 2;
      break;
    case Role::baseline:  // still seen where the tuned curve lies on it
      curve.colour = Colour::baseline;
      curve.marker = Marker::square;
      curve.width = 3.5;
      break;
    case Role::unfused:
      curve.colour = Colour::unfused;
      curve.marker = Marker::triangle;
      curve.dashed = true;
      break;
  }
  return curve;
}

Extent extent_of(const FigureRow& row, const std::vector<DeviceResults>& devices, DeviceKind kind) {
  Extent extent;
  for (const Figure& figure : row) {
    if (devices[figure.device].device.target.kind != kind) continue;
    for (const Curve& curve : figure.plot.curves) {
      for (const Sample& sample : curve.samples) {
        extent.x.push_back(sample.x);
        extent.y.push_back(sample.y);
      }
    }
  }
  return extent;
}

FigureRow with_axes(FigureRow row, const std::vector<DeviceResults>& devices, DeviceKind kind,
                    const std::pair<Axis, Axis>& x_and_y) {
  for (Figure& figure : row) {
    if (devices[figure.device].device.target.kind != kind) continue;
    std::tie(figure.plot.x, figure.plot.y) = x_and_y;
  }
  return row;
}

double flops_per_second(const Point& point, const Measurement& measurement) {
  return kernels::flops(point.problem) * 1e3 / measurement.median_ms;
}

SpeedUnit speed_unit(const Section& section, const std::vector<DeviceResults>& devices, DeviceKind kind) {
  double fastest = 0;
  for (std::size_t d = 0; d < devices.size(); ++d) {
    if (devices[d].device.target.kind != kind) continue;
    for (const Point* point : section.by_device[d]) {
      for (const Role role : kRoles) {
        if (!point->of(role).measured()) continue;
        fastest = std::max(fastest, flops_per_second(*point, measurement_of(point->of(role))));
      }
    }
  }
  return fastest > 0 && fastest < 1e12 ? SpeedUnit{1e9, "GFLOP/s"} : SpeedUnit{};
}

std::vector<FigureRow> make_figures(const Section& section, const std::vector<DeviceResults>& devices,
                                    const std::vector<DevicePeaks>& peaks, const Peers* peers) {
  const auto with_peers = [&](Quantity quantity) {
    quantity.peers = peers;
    return quantity;
  };
  const auto same_for_all = [&](const Quantity& quantity) {
    return quantity_row(section, devices, [quantity](DeviceKind) { return quantity; });
  };
  const auto speed = [&](DeviceKind kind) {
    return with_peers(speed_quantity(speed_unit(section, devices, kind)));
  };
  Quantity over_unfused = speedup_quantity(Role::unfused);
  if (!section.has_yardstick()) over_unfused.missing = "there is no unfused backward pass";
  return {quantity_row(section, devices, speed),
          same_for_all(speedup_quantity(Role::baseline)),
          same_for_all(over_unfused),
          roofline_figures(section, devices, peaks),
          same_for_all(with_peers(time_quantity())),
          same_for_all(with_peers(peak_memory_quantity())),
          same_for_all(extra_memory_quantity()),
          search_figures(section, devices, Effort::evaluations),
          search_figures(section, devices, Effort::time),
          parameter_figures(section, devices)};
}

}  // namespace fcsa::reports
