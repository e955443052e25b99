#include "tuner/dispatch/shape_times.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

namespace fcsa::tuner {
namespace {

const Measurement& measurement_of(const StoredTrial* stored) {
  return stored->trial.evaluation.measurement;
}

// Races of one cache state, the latest first.
std::vector<Times> races_of(const TrialList& trials, CacheState cache) {
  std::vector<std::pair<std::string, Times>> races;
  for (auto stored = trials.rbegin(); stored != trials.rend(); ++stored) {
    const Trial& trial = (*stored)->trial;
    if (trial.phase == Phase::search || measurement_of(*stored).cache != cache) continue;
    const auto same = [&](const auto& race) { return race.first == trial.race_id; };
    auto race = std::find_if(races.begin(), races.end(), same);
    if (race == races.end()) race = races.insert(races.end(), {trial.race_id, {}});
    race->second.try_emplace(trial.configuration, measurement_of(*stored).median_ms);
  }
  std::vector<Times> times;
  for (auto& [id, race] : races) times.push_back(std::move(race));
  return times;
}

// What times of `other` are to be multiplied with to compare with `times`: the geometric mean over what has
// both; none where nothing has.
std::optional<double> scale_of(const Times& other, const Times& times) {
  double log_ratio = 0;
  int shared = 0;
  for (const auto& [configuration, ms] : other) {
    const auto known = times.find(configuration);
    if (known == times.end()) continue;
    log_ratio += std::log(known->second / ms);
    ++shared;
  }
  if (shared == 0) return std::nullopt;
  return std::exp(log_ratio / shared);
}

// Adds those of an earlier race that `times` doesn't have, as far as the two can be compared.
Times joined(Times times, const Times& earlier) {
  if (const auto scale = scale_of(earlier, times))
    for (const auto& [configuration, ms] : earlier) times.try_emplace(configuration, ms * *scale);
  return times;
}

double fastest(const Times& times) {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [configuration, ms] : times) least = std::min(least, ms);
  return least;
}

// Of one problem, in order of time, at least one.
Times times_of_problem(const TrialList& trials) {
  const CacheState cache = measurement_of(trials.back()).cache;
  const auto races = races_of(trials, cache);
  Times times = races.empty() ? Times{} : races.front();
  for (std::size_t i = 1; i < races.size(); ++i) times = joined(std::move(times), races[i]);
  Times searched;
  for (const auto* stored : trials) {
    if (stored->trial.phase == Phase::search && measurement_of(stored).cache == cache)
      searched[stored->trial.configuration] = measurement_of(stored).median_ms;
  }
  const double least = times.empty() ? 0 : fastest(times), scale = scale_of(searched, times).value_or(1);
  for (const auto& [configuration, ms] : searched)
    times.try_emplace(configuration, std::max(ms * scale, least));
  return times;
}

}  // namespace

std::vector<ShapeTimes> times_of_shapes(const TrialList& trials) {
  std::vector<ShapeTimes> shapes;
  for (const auto& [text, own] : by_shape(trials)) {
    ShapeTimes shape{own.front()->trial.problem, times_of_problem(own)};
    shape.best_ms = fastest(shape.times);
    shapes.push_back(std::move(shape));
  }
  std::stable_sort(shapes.begin(), shapes.end(), [](const auto& a, const auto& b) {
    const auto key = [](const kernels::Problem& p) { return std::tuple(p.nq, p.nk, p.batch * p.heads); };
    return key(a.problem) < key(b.problem);
  });
  return shapes;
}

}  // namespace fcsa::tuner
