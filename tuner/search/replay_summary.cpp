#include "tuner/search/replay_summary.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fcsa::tuner {
namespace {

// Between the two nearest where it falls between; infinite ones are above all others.
double quantile(std::vector<double> values, double fraction) {
  std::sort(values.begin(), values.end());
  const double place = fraction * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  const double part = place - static_cast<double>(below);
  return part == 0 || std::isinf(values[below]) ? values[below]
                                                : values[below] + part * (values[above] - values[below]);
}

ReplaySummary::Target reached(const RecordedSpace& recorded, const std::vector<ReplayRun>& runs,
                              double fraction, std::size_t most) {
  ReplaySummary::Target target{.fraction = fraction};
  std::vector<double> counts;
  for (const auto& run : runs) {
    const auto count = run.evaluations_to(fraction, recorded.optimum_ms);
    if (!count) ++target.missed;
    counts.push_back(static_cast<double>(count.value_or(most)));
  }
  target.median = quantile(counts, 0.5);
  target.first_quartile = quantile(counts, 0.25);
  target.third_quartile = quantile(counts, 0.75);
  return target;
}

// Of what a run had found by then; after its end it stays.
template <typename Found>
double median_best(const RecordedSpace& recorded, const std::vector<ReplayRun>& runs, Found&& steps_by) {
  std::vector<double> best;
  for (const auto& run : runs) {
    const std::size_t steps = steps_by(run);
    best.push_back(steps == 0 ? std::numeric_limits<double>::infinity()
                              : run.steps[steps - 1].best_ms / recorded.optimum_ms);
  }
  return quantile(std::move(best), 0.5);
}

double median_duration_s(const std::vector<ReplayRun>& runs) {
  std::vector<double> durations;
  for (const auto& run : runs) durations.push_back(run.steps.empty() ? 0 : run.steps.back().at_s);
  return quantile(std::move(durations), 0.5);
}

void fill_curves(ReplaySummary& summary, const RecordedSpace& recorded, const std::vector<ReplayRun>& runs,
                 std::size_t most) {
  for (std::size_t decade = 10; decade <= most; decade *= 10)
    for (const std::size_t at : {decade, 2 * decade, 5 * decade})
      if (at <= most)
        summary.by_evaluations.push_back(
            {static_cast<double>(at), median_best(recorded, runs, [&](const ReplayRun& run) {
               return std::min(at, run.steps.size());
             })});
  constexpr int kPoints = 10;
  const double duration_s = median_duration_s(runs);
  for (int i = 1; i <= kPoints; ++i) {
    const double at_s = duration_s * i / kPoints;
    summary.by_time.push_back({at_s, median_best(recorded, runs, [&](const ReplayRun& run) {
                                 const auto later = std::find_if(
                                     run.steps.begin(), run.steps.end(),
                                     [&](const ReplayRun::Step& step) { return step.at_s > at_s; });
                                 return static_cast<std::size_t>(later - run.steps.begin());
                               })});
  }
}

}  // namespace

ReplaySummary summarise(const RecordedSpace& recorded, const std::vector<ReplayRun>& runs,
                        const ReplayOptions& options) {
  const std::size_t most = std::min(options.evaluations, recorded.space.size());
  ReplaySummary summary;
  for (const double fraction : {0.1, 0.05, 0.01})
    summary.targets.push_back(reached(recorded, runs, fraction, most));
  fill_curves(summary, recorded, runs, most);
  double total_s = 0, waited_s = 0, asked = 0, cancelled = 0;
  for (const auto& run : runs) {
    total_s += run.steps.empty() ? 0 : run.steps.back().at_s;
    waited_s += run.device_waited_s;
    cancelled += static_cast<double>(run.cancelled);
    asked += static_cast<double>(run.steps.size() + run.cancelled);
  }
  summary.device_waited = total_s > 0 ? waited_s / total_s : 0;
  summary.cancelled = asked > 0 ? cancelled / asked : 0;
  return summary;
}

}  // namespace fcsa::tuner
