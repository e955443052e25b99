#include "reports/parameters.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace fcsa::reports {
namespace {

using kernels::Configuration;
using kernels::Parameter;

// A trial as the statistics see it.
struct Observation {
  std::size_t problem = 0;
  Configuration configuration;
  double log_time = 0;  // ln, the problem's mean subtracted
};

struct Observations {
  std::vector<Observation> all;
  std::size_t problems = 0;
};

// Of each configuration of the kernel on one problem the latest trial. Those of an older version of the
// family, with parameters that it no longer has, are left out.
std::vector<Observation> observe(const Point& point, const std::string& kernel,
                                 const std::vector<Parameter>& parameters) {
  std::map<std::string, double> times;
  for (const auto* stored : point.trials) {
    const tuner::Trial& trial = stored->trial;
    if (trial.phase != tuner::Phase::search || !trial.configuration.starts_with(kernel + "{")) continue;
    if (trial.evaluation.status != tuner::Status::ok || trial.evaluation.measurement.median_ms <= 0) continue;
    times[trial.configuration] = std::log(trial.evaluation.measurement.median_ms);
  }
  std::vector<Observation> observations;
  double sum = 0;
  for (const auto& [text, time] : times) {
    try {
      observations.push_back({0, kernels::configuration_from_text(text, kernel, parameters), time});
      sum += time;
    } catch (const std::invalid_argument&) {
    }
  }
  for (auto& observation : observations)
    observation.log_time -= sum / static_cast<double>(observations.size());
  return observations;
}

Observations observe(const std::vector<const Point*>& points, const std::string& kernel,
                     const std::vector<Parameter>& parameters) {
  Observations observations;
  for (const Point* point : points) {
    auto of_problem = observe(*point, kernel, parameters);
    if (of_problem.empty()) continue;
    for (auto& observation : of_problem) {
      observation.problem = observations.problems;
      observations.all.push_back(std::move(observation));
    }
    ++observations.problems;
  }
  return observations;
}

double explained_share(const Observations& observations, const std::string& parameter) {
  struct Group {
    double sum = 0;
    std::size_t count = 0;
  };
  std::map<int, Group> groups;
  double total = 0, between = 0;
  for (const Observation& observation : observations.all) {
    Group& group = groups[observation.configuration.at(parameter)];
    group.sum += observation.log_time;
    ++group.count;
    total += observation.log_time * observation.log_time;
  }
  for (const auto& [value, group] : groups)
    between += group.sum * group.sum / static_cast<double>(group.count);
  const double freedom = static_cast<double>(observations.all.size() - observations.problems);
  const double within_freedom = freedom - static_cast<double>(groups.size()) + 1;
  if (total <= 0 || within_freedom <= 0) return 0;
  return std::max(0.0, 1 - (total - between) / within_freedom / (total / freedom));
}

// Loss of holding the parameter at each of the values that were tried on every problem.
std::map<int, double> losses(const Observations& observations, const std::string& parameter) {
  std::vector<double> best(observations.problems, HUGE_VAL);
  std::map<int, std::vector<double>> best_with;
  for (const Observation& observation : observations.all) {
    auto& with =
        best_with.try_emplace(observation.configuration.at(parameter), best.size(), HUGE_VAL).first->second;
    with[observation.problem] = std::min(with[observation.problem], observation.log_time);
    best[observation.problem] = std::min(best[observation.problem], observation.log_time);
  }
  std::map<int, double> result;
  for (const auto& [value, with] : best_with) {
    double sum = 0;
    for (std::size_t i = 0; i < best.size(); ++i) sum += with[i] - best[i];
    if (std::isfinite(sum)) result[value] = std::expm1(sum / static_cast<double>(best.size()));
  }
  return result;
}

ParameterEffect effect_of(const Observations& observations, const Parameter& parameter) {
  ParameterEffect effect{.name = parameter.name, .meaning = parameter.meaning, .best = {}, .by_default = {}};
  std::set<int> values;
  for (const auto& observation : observations.all)
    values.insert(observation.configuration.at(parameter.name));
  effect.values = values.size();
  effect.share = explained_share(observations, parameter.name);
  const auto loss_of = losses(observations, parameter.name);
  for (const auto& [value, loss] : loss_of)
    if (!effect.best || loss < effect.best->loss) effect.best = Fixed{value, loss};
  const auto usual = loss_of.find(parameter.default_value);
  if (usual != loss_of.end()) effect.by_default = Fixed{usual->first, usual->second};
  return effect;
}

ParameterStudy study(const std::vector<const Point*>& points, const kernels::Family& family) {
  const kernels::Op op = points.front()->problem.op;
  const auto parameters = family.parameters(op);
  ParameterStudy study{.kernel = kernels::kernel_name(family, op), .effects = {}};
  const Observations observations = observe(points, study.kernel, parameters);
  study.trials = observations.all.size();
  study.problems = observations.problems;
  if (study.trials < study.problems + kFewestTrials) return study;
  for (const Parameter& parameter : parameters) {
    ParameterEffect effect = effect_of(observations, parameter);
    if (effect.values > 1) study.effects.push_back(std::move(effect));
  }
  std::stable_sort(study.effects.begin(), study.effects.end(),
                   [](const auto& a, const auto& b) { return a.share > b.share; });
  return study;
}

}  // namespace

std::vector<ParameterStudy> study_parameters(const std::vector<const Point*>& points) {
  std::vector<ParameterStudy> studies;
  if (points.empty()) return studies;
  for (const auto& family : kernels::families()) {
    if (!family->tunable() || family->parameters(points.front()->problem.op).empty()) continue;
    ParameterStudy found = study(points, *family);
    if (!found.effects.empty()) studies.push_back(std::move(found));
  }
  std::stable_sort(studies.begin(), studies.end(),
                   [](const auto& a, const auto& b) { return a.trials > b.trials; });
  return studies;
}

}  // namespace fcsa::reports
