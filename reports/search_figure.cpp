#include "reports/search_figure.h"

#include <fmt/format.h>

#include <algorithm>

#include "reports/axes.h"

namespace fcsa::reports {
namespace {

// Best so far after each evaluation that improved on it, and at the end.
struct Progress {
  const Point* point = nullptr;
  std::vector<Sample> samples;  // x: evaluations, y: FLOP/s
  std::size_t evaluations = 0;
};

Progress progress_of(const Point& point) {
  Progress progress{&point, {}, 0};
  double best = 0;
  for (const tuner::StoredTrial* stored : point.trials) {
    const tuner::Trial& trial = stored->trial;
    if (trial.phase != tuner::Phase::search || trial.evaluation.status == tuner::Status::pruned) continue;
    if (is_yardstick(trial.configuration)) continue;
    ++progress.evaluations;
    if (trial.evaluation.status != tuner::Status::ok || trial.evaluation.measurement.median_ms <= 0) continue;
    const double speed = flops_per_second(point, trial.evaluation.measurement);
    if (speed <= best) continue;
    best = speed;
    progress.samples.push_back({static_cast<double>(progress.evaluations), best, best, best, false});
  }
  if (best > 0 && progress.samples.back().x < static_cast<double>(progress.evaluations)) {
    progress.samples.push_back({static_cast<double>(progress.evaluations), best, best, best, false});
  }
  return progress;
}

std::vector<Progress> all_progress(const std::vector<const Point*>& points) {
  std::vector<Progress> all;
  for (const Point* point : points) {
    Progress progress = progress_of(*point);
    if (!progress.samples.empty()) all.push_back(std::move(progress));
  }
  return all;
}

// At most as many as there are colours, the shortest and the longest among them.
std::vector<Progress> spread(const std::vector<Progress>& all) {
  if (all.size() <= kRampColours) return all;
  std::vector<Progress> chosen;
  for (std::size_t i = 0; i < kRampColours; ++i)
    chosen.push_back(all[i * (all.size() - 1) / (kRampColours - 1)]);
  return chosen;
}

Colour ramp_colour(std::size_t index, std::size_t count) {
  const std::size_t step = count > 1 ? index * (kRampColours - 1) / (count - 1) : kRampColours / 2;
  return static_cast<Colour>(static_cast<std::size_t>(Colour::ramp1) + step);
}

Table numbers_table(const std::vector<Progress>& all, const SpeedUnit& unit) {
  Table table{{"N", "evaluations", "first that worked, " + unit.name, "best, " + unit.name,
               "best found at evaluation"},
              {}};
  for (const Progress& progress : all) {
    const auto best = std::find_if(progress.samples.begin(), progress.samples.end(),
                                   [&](const Sample& s) { return s.y == progress.samples.back().y; });
    table.rows.push_back({fmt::format("{}", progress.point->problem.nk),
                          fmt::format("{}", progress.evaluations),
                          significant(progress.samples.front().y / unit.flops, 4),
                          significant(best->y / unit.flops, 4), fmt::format("{:.0f}", best->x)});
  }
  return table;
}

Figure make_figure(const Section& section, const DeviceResults& device, std::size_t index,
                   const SpeedUnit& unit) {
  const std::vector<Progress> all = all_progress(section.by_device[index]);
  const std::vector<Progress> shown = spread(all);
  Figure figure{.title = "Search progress",
                .device = index,
                .note = "Best so far, measured alone.",
                .text = {fmt::format("Best speed so far against evaluations: {} on {}", section.title,
                                     device.device.name),
                         fmt::format("{}, one curve per sequence length", unit.name)},
                .numbers = numbers_table(all, unit),
                .plot = {}};
  figure.plot.unit = unit.name;
  figure.plot.x_label = "evaluations";
  figure.plot.key_beside = true;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    Curve curve{.label = length_text(shown[i].point->problem.nk),
                .colour = ramp_colour(i, shown.size()),
                .marker = Marker::none,
                .steps = true,
                .samples = shown[i].samples};
    if (curve.samples.size() == 1) curve.marker = Marker::circle;
    for (Sample& sample : curve.samples) sample.y = sample.low = sample.high = sample.y / unit.flops;
    figure.plot.curves.push_back(std::move(curve));
  }
  if (shown.size() < all.size())
    figure.note += fmt::format(" {} of {} lengths are drawn.", shown.size(), all.size());
  return figure;
}

// Gives the figures of devices of one kind the same ranges.
void share_axes(FigureRow& row, const std::vector<DeviceResults>& devices, kernels::DeviceKind kind) {
  std::vector<double> evaluations, speeds;
  const auto is_kind = [&](const Figure& figure) {
    return devices[figure.device].device.target.kind == kind;
  };
  for (const Figure& figure : row) {
    if (!is_kind(figure)) continue;
    for (const Curve& curve : figure.plot.curves) {
      for (const Sample& sample : curve.samples) {
        evaluations.push_back(sample.x);
        speeds.push_back(sample.y);
      }
    }
  }
  for (Figure& figure : row) {
    if (!is_kind(figure)) continue;
    figure.plot.x = decimal_axis(evaluations, false);
    figure.plot.x.low = 0.9;
    figure.plot.y = zero_axis(speeds, false);
  }
}

}  // namespace

FigureRow search_figures(const Section& section, const std::vector<DeviceResults>& devices) {
  FigureRow row;
  for (std::size_t d = 0; d < devices.size(); ++d) {
    if (section.by_device[d].empty()) continue;
    const SpeedUnit unit = speed_unit(section, devices, devices[d].device.target.kind);
    row.push_back(make_figure(section, devices[d], d, unit));
  }
  for (const auto kind : {kernels::DeviceKind::cuda, kernels::DeviceKind::cpu})
    share_axes(row, devices, kind);
  return row;
}

}  // namespace fcsa::reports
