#include "tuner/dispatch/shape_times.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "tuner/trials/refresh_trials.h"

namespace fcsa::tuner {
namespace {

using Trials = std::vector<const StoredTrial*>;

// Part of what a dispatch table may choose: known to this build, tunable, and still readable by its family.
bool eligible(const Trial& trial) {
  try {
    const auto& family = kernels::family_of_kernel(trial.configuration);
    const auto op = trial.problem.op;
    kernels::configuration_from_text(trial.configuration, kernels::kernel_name(family, op),
                                     family.parameters(op));
    return family.tunable();
  } catch (const std::invalid_argument&) {
    return false;
  }
}

bool older(const StoredTrial& a, const StoredTrial& b) {
  return std::tie(a.trial.finished_at, a.id) < std::tie(b.trial.finished_at, b.id);
}

const Measurement& measurement_of(const StoredTrial* stored) {
  return stored->trial.evaluation.measurement;
}

// Races of one cache state, the latest first.
std::vector<Times> races_of(const Trials& trials, CacheState cache) {
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
Times times_of_problem(const Trials& trials) {
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

bool same_model(const kernels::DeviceInfo& a, const kernels::DeviceInfo& b) {
  return a.name == b.name && a.target.kind == b.target.kind && a.target.arch == b.target.arch &&
         a.target.multiprocessors == b.target.multiprocessors;
}

std::vector<const StoredTrial*> usable_trials(const std::vector<StoredTrial>& trials,
                                              const kernels::DeviceInfo& device) {
  Trials usable;
  for (const auto& stored : trials) {
    if (same_model(stored.session.device, device) && eligible(stored.trial)) usable.push_back(&stored);
  }
  std::stable_sort(usable.begin(), usable.end(), [](const auto* a, const auto* b) { return older(*a, *b); });
  usable = without_refreshes(usable);
  using Kernel = std::pair<std::string, std::string>;  // class and configuration
  const auto kernel_of = [](const StoredTrial* s) {
    return Kernel{kernels::class_text(s->trial.problem), s->trial.configuration};
  };
  std::map<Kernel, std::string> newest_source;
  for (const auto* stored : usable) newest_source[kernel_of(stored)] = stored->trial.source_hash;
  std::erase_if(usable,
                [&](const auto* s) { return s->trial.source_hash != newest_source.at(kernel_of(s)); });
  std::set<Kernel> wrong;
  for (const auto* stored : usable) {
    if (stored->trial.evaluation.status == Status::wrong_result) wrong.insert(kernel_of(stored));
  }
  std::erase_if(usable, [&](const auto* s) {
    return s->trial.evaluation.status != Status::ok || wrong.contains(kernel_of(s));
  });
  return usable;
}

std::vector<ShapeTimes> times_of_shapes(const std::vector<const StoredTrial*>& trials) {
  std::map<std::string, Trials> by_problem;
  for (const auto* stored : trials) by_problem[kernels::to_text(stored->trial.problem)].push_back(stored);
  std::vector<ShapeTimes> shapes;
  for (const auto& [text, own] : by_problem) {
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
