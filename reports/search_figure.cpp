#include "reports/search_figure.h"

#include <fmt/format.h>

#include <algorithm>

#include "reports/axes.h"

namespace fcsa::reports {
namespace {

struct Step {
  double effort = 0;
  double speed = 0;  // FLOP/s, the best so far
};

// After each evaluation that improved on the best so far, and at the end.
struct Progress {
  const Point* point = nullptr;
  std::vector<Step> steps;

  double best() const { return steps.back().speed; }
  // What it took to come to within `loss` of the best.
  double effort_within(double loss) const {
    const auto there = std::find_if(steps.begin(), steps.end(),
                                    [&](const Step& step) { return step.speed >= best() * (1 - loss); });
    return there->effort;
  }
};

bool searched(const tuner::Trial& trial) {
  return trial.phase == tuner::Phase::search && trial.evaluation.status != tuner::Status::pruned &&
         !is_yardstick(trial.configuration);
}

Progress progress_of(const Point& point, Effort effort) {
  Progress progress{&point, {}};
  double spent = 0, best = 0;
  for (std::size_t i = 0; i < point.trials.size(); ++i) {
    const tuner::Trial& trial = point.trials[i]->trial;
    if (trial.phase != tuner::Phase::search) continue;
    if (effort == Effort::time) spent += point.took_s[i];
    if (!searched(trial)) continue;
    if (effort == Effort::evaluations) ++spent;
    if (trial.evaluation.status != tuner::Status::ok || trial.evaluation.measurement.median_ms <= 0) continue;
    const double speed = flops_per_second(point, trial.evaluation.measurement);
    if (speed <= best) continue;
    best = speed;
    progress.steps.push_back({spent, best});
  }
  if (best > 0 && progress.steps.back().effort < spent) progress.steps.push_back({spent, best});
  return progress;
}

std::vector<Progress> all_progress(const std::vector<const Point*>& points, Effort effort) {
  std::vector<Progress> all;
  for (const Point* point : points) {
    Progress progress = progress_of(*point, effort);
    if (!progress.steps.empty()) all.push_back(std::move(progress));
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

std::string effort_text(Effort effort, double value) {
  return effort == Effort::time ? significant(value) : fmt::format("{:.0f}", value);
}

Table numbers_table(const std::vector<Progress>& all, const SpeedUnit& unit, Effort effort) {
  const std::string spent = effort == Effort::time ? "seconds" : "evaluations";
  Table table{{"N", spent, "first that worked, " + unit.name, "best, " + unit.name, spent + " until best",
               spent + " until within 2%"},
              {}};
  for (const Progress& progress : all) {
    table.rows.push_back(
        {fmt::format("{}", progress.point->problem.nk), effort_text(effort, progress.steps.back().effort),
         significant(progress.steps.front().speed / unit.flops, 4),
         significant(progress.best() / unit.flops, 4), effort_text(effort, progress.effort_within(0)),
         effort_text(effort, progress.effort_within(0.02))});
  }
  return table;
}

Curve curve_of(const Progress& progress, Colour colour) {
  Curve curve{.label = length_text(progress.point->problem.nk),
              .colour = colour,
              .marker = progress.steps.size() == 1 ? Marker::circle : Marker::none,
              .steps = true,
              .samples = {}};
  for (const Step& step : progress.steps) {
    const double share = step.speed / progress.best();
    curve.samples.push_back({step.effort, share, share, share, false});
  }
  return curve;
}

Figure make_figure(const Section& section, const DeviceResults& device, std::size_t index,
                   const SpeedUnit& unit, Effort effort) {
  const std::vector<Progress> all = all_progress(section.by_device[index], effort);
  const std::vector<Progress> shown = spread(all);
  const bool time = effort == Effort::time;
  Figure figure{.title = time ? "Search progress by time" : "Search progress by evaluations",
                .device = index,
                .note = time ? "Wall time spent on this length: compiling, verifying, measuring."
                             : "Best so far, measured alone; 100% is the best of the search.",
                .missing = "nothing worked",
                .text = {fmt::format("Best so far against {}: {} on {}", time ? "time" : "evaluations",
                                     section.title, device.label),
                         "Share of the best speed of the search, one curve per sequence length"},
                .numbers = numbers_table(all, unit, effort),
                .plot = {}};
  figure.plot.unit = "of the best found";
  figure.plot.x_label = time ? "seconds" : "evaluations";
  for (std::size_t i = shown.size(); i-- > 0;)  // the shortest length on top
    figure.plot.curves.push_back(curve_of(shown[i], ramp_colour(i, shown.size())));
  if (shown.size() < all.size())
    figure.note += fmt::format(" {} of {} lengths are drawn.", shown.size(), all.size());
  return figure;
}

Axis effort_axis(const std::vector<double>& efforts, Effort effort) {
  if (effort == Effort::time) return zero_axis(efforts, false);
  Axis axis = decimal_axis(efforts, false);
  axis.low = 0.9;
  return axis;
}

}  // namespace

FigureRow search_figures(const Section& section, const std::vector<DeviceResults>& devices, Effort effort) {
  FigureRow row;
  for (std::size_t d = 0; d < devices.size(); ++d) {
    if (section.by_device[d].empty()) continue;
    const SpeedUnit unit = speed_unit(section, devices, devices[d].device.target.kind);
    row.push_back(make_figure(section, devices[d], d, unit, effort));
  }
  for (const auto kind : {kernels::DeviceKind::cuda, kernels::DeviceKind::cpu}) {
    const Extent extent = extent_of(row, devices, kind);
    row = with_axes(std::move(row), devices, kind, {effort_axis(extent.x, effort), share_axis(extent.y)});
  }
  return row;
}

}  // namespace fcsa::reports
