#include "tuner/dispatch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <stdexcept>
#include <tuple>

#include "tuner/cover.h"
#include "tuner/problem_search.h"
#include "tuner/refresh_trials.h"

namespace fcsa::tuner {
namespace {

using Times = std::map<std::string, double>;  // of one problem: configuration -> ms

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

// Medians of the latest race and, for what took no part in it, of the search: those never beat the race's
// winner, since only ratios inside one race are trusted. Precondition: trials of one problem in order of
// time, at least one.
Times times_of_problem(const std::vector<const StoredTrial*>& trials) {
  const CacheState cache = trials.back()->trial.evaluation.measurement.cache;
  const auto latest_race = std::find_if(trials.rbegin(), trials.rend(), [&](const auto* s) {
    return s->trial.phase == Phase::confirm && s->trial.evaluation.measurement.cache == cache;
  });
  Times raced, searched;
  for (const auto* stored : trials) {
    const auto& measurement = stored->trial.evaluation.measurement;
    if (measurement.cache != cache) continue;
    if (stored->trial.phase == Phase::search) {
      searched[stored->trial.configuration] = measurement.median_ms;
    } else if (stored->trial.race_id == (*latest_race)->trial.race_id) {
      raced[stored->trial.configuration] = measurement.median_ms;
    }
  }
  double fastest = 0;
  for (const auto& [configuration, time_ms] : raced)
    fastest = fastest == 0 ? time_ms : std::min(fastest, time_ms);
  Times times = raced;
  for (const auto& [configuration, time_ms] : searched)
    times.try_emplace(configuration, std::max(time_ms, fastest));
  return times;
}

struct TunedShape {
  kernels::Problem problem;
  Times times;
  double best_ms = 0;
};

std::vector<TunedShape> shapes_of_class(const std::vector<const StoredTrial*>& trials) {
  std::map<std::string, std::vector<const StoredTrial*>> by_problem;
  for (const auto* stored : trials) by_problem[kernels::to_text(stored->trial.problem)].push_back(stored);
  std::vector<TunedShape> shapes;
  for (const auto& [text, own] : by_problem) {
    TunedShape shape{own.front()->trial.problem, times_of_problem(own),
                     std::numeric_limits<double>::infinity()};
    for (const auto& [configuration, time_ms] : shape.times) shape.best_ms = std::min(shape.best_ms, time_ms);
    shapes.push_back(std::move(shape));
  }
  std::stable_sort(shapes.begin(), shapes.end(), [](const auto& a, const auto& b) {
    const auto key = [](const kernels::Problem& p) { return std::tuple(p.nq, p.nk, p.batch * p.heads); };
    return key(a.problem) < key(b.problem);
  });
  return shapes;
}

std::vector<std::string> fewest_configurations(const std::vector<TunedShape>& shapes, double epsilon) {
  std::set<std::string> all;
  for (const auto& shape : shapes) {
    for (const auto& [configuration, time_ms] : shape.times) all.insert(configuration);
  }
  std::vector<std::string> names;
  std::vector<std::vector<double>> regrets;
  for (const auto& configuration : all) {
    std::vector<double> row;
    for (const auto& shape : shapes) {
      const auto time = shape.times.find(configuration);
      row.push_back(time == shape.times.end() ? std::numeric_limits<double>::infinity()
                                              : time->second / shape.best_ms - 1);
    }
    names.push_back(configuration);
    regrets.push_back(std::move(row));
  }
  std::vector<std::string> chosen;
  for (const auto index : smallest_cover(regrets, epsilon)) chosen.push_back(names[index]);
  return chosen;
}

std::string baseline_text(const kernels::Family& family, const kernels::Problem& problem,
                          const kernels::Target& target) {
  return kernels::to_text(family, problem.op, family.baseline(problem, target));
}

DispatchEntry make_entry(const TunedShape& shape, const std::vector<std::string>& chosen,
                         const kernels::Target& target) {
  DispatchEntry entry{.problem = shape.problem, .best_ms = shape.best_ms};
  entry.chosen_ms = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const auto time = shape.times.find(chosen[i]);
    if (time == shape.times.end() || time->second >= entry.chosen_ms) continue;
    entry.choice = i;
    entry.chosen_ms = time->second;
  }
  const auto& family = kernels::family_of_kernel(chosen[entry.choice]);
  const auto baseline = shape.times.find(baseline_text(family, shape.problem, target));
  if (baseline != shape.times.end()) entry.baseline_ms = baseline->second;
  return entry;
}

[[noreturn]] void refuse_without_trials(std::string_view device) {
  throw std::invalid_argument(
      fmt::format("no successful trial of device '{}' to choose from: run fcsa tune on it first", device));
}

// How far from `device` another is, the most important first: multiprocessors, then memory.
std::pair<double, double> device_distance(const kernels::Target& other, const kernels::Target& device) {
  const auto log_ratio = [](double a, double b) {
    return std::abs(std::log2(std::max(a, 1.0) / std::max(b, 1.0)));
  };
  return {log_ratio(other.multiprocessors, device.multiprocessors),
          log_ratio(static_cast<double>(other.memory_bytes), static_cast<double>(device.memory_bytes))};
}

// May run the other's kernels.
bool alike(const kernels::Target& a, const kernels::Target& b) {
  return a.kind == b.kind && a.compute_capability == b.compute_capability &&
         (a.kind == kernels::DeviceKind::cuda || a.arch == b.arch);
}

std::string shape_text(const kernels::Problem& p) {
  const std::string length =
      p.nq == p.nk ? fmt::format("N = {}", p.nq) : fmt::format("Nq = {}, Nk = {}", p.nq, p.nk);
  return fmt::format("{}, batch {}, {} heads", length, p.batch, p.heads);
}

const DispatchEntry& nearest_entry(const DispatchClass& dispatch, const kernels::Problem& problem) {
  return *std::min_element(dispatch.entries.begin(), dispatch.entries.end(),
                           [&](const auto& a, const auto& b) {
                             return shape_distance(a.problem, problem) < shape_distance(b.problem, problem);
                           });
}

Choice choose_in_class(const DispatchClass& dispatch, const kernels::Problem& problem) {
  Choice choice;
  const auto exact = std::find_if(dispatch.entries.begin(), dispatch.entries.end(),
                                  [&](const auto& entry) { return entry.problem == problem; });
  choice.match = exact != dispatch.entries.end() ? Match::exact : Match::nearest;
  const auto& entry = choice.match == Match::exact ? *exact : nearest_entry(dispatch, problem);
  choice.entry = &entry;
  choice.configuration = dispatch.configurations[entry.choice];
  choice.predicted_ms = entry.chosen_ms * kernels::flops(problem) / kernels::flops(entry.problem);
  choice.reason = fmt::format(
      "{} {}", choice.match == Match::exact ? "tuned at" : "nearest tuned shape:", shape_text(entry.problem));
  return choice;
}

bool valid_on(const std::string& configuration, const kernels::Problem& problem,
              const kernels::Target& target) {
  const auto& family = kernels::family_of_kernel(configuration);
  return family.unsupported(problem, target).empty() &&
         kernels::invalid_reason(
             family, problem,
             kernels::configuration_from_text(configuration, kernels::kernel_name(family, problem.op),
                                              family.parameters(problem.op)),
             target)
             .empty();
}

}  // namespace

std::vector<const StoredTrial*> usable_trials(const std::vector<StoredTrial>& trials,
                                              const kernels::DeviceInfo& device) {
  std::vector<const StoredTrial*> usable;
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

std::string_view to_text(Match match) {
  switch (match) {
    case Match::exact:
      return "exact";
    case Match::nearest:
      return "nearest";
    case Match::other_device:
      return "other device";
    case Match::default_choice:
      return "default";
  }
  throw std::invalid_argument("match has no name");
}

bool same_model(const kernels::DeviceInfo& a, const kernels::DeviceInfo& b) {
  return a.name == b.name && alike(a.target, b.target) && a.target.arch == b.target.arch &&
         a.target.multiprocessors == b.target.multiprocessors;
}

DispatchTable make_dispatch_table(const std::vector<StoredTrial>& trials, const std::string& device_uuid,
                                  double epsilon) {
  const auto newest = std::find_if(trials.rbegin(), trials.rend(), [&](const auto& stored) {
    return stored.session.device.uuid == device_uuid;
  });
  if (newest == trials.rend()) refuse_without_trials(device_uuid);
  const auto usable = usable_trials(trials, newest->session.device);
  if (usable.empty()) refuse_without_trials(device_uuid);
  std::map<std::string, std::vector<const StoredTrial*>> by_class;
  for (const auto* stored : usable) by_class[kernels::class_text(stored->trial.problem)].push_back(stored);

  DispatchTable table;
  table.device = usable.back()->session.device;
  table.created_at = timestamp();
  table.epsilon = epsilon;
  for (const auto& [class_text, own] : by_class) {
    const auto shapes = shapes_of_class(own);
    DispatchClass dispatch;
    dispatch.class_text = class_text;
    dispatch.traits = kernels::traits_of(shapes.front().problem);
    dispatch.configurations = fewest_configurations(shapes, epsilon);
    for (const auto& shape : shapes) {
      dispatch.entries.push_back(make_entry(shape, dispatch.configurations, table.device.target));
      const auto& entry = dispatch.entries.back();
      dispatch.worst_regret = std::max(dispatch.worst_regret, entry.chosen_ms / entry.best_ms - 1);
    }
    table.classes.push_back(std::move(dispatch));
  }
  return table;
}

DispatchTable dispatch_table_for(const std::vector<StoredTrial>& trials, const kernels::DeviceInfo& device,
                                 double epsilon) {
  const kernels::DeviceInfo* nearest = nullptr;
  const auto rank = [&](const kernels::DeviceInfo& other) {
    return std::pair(!same_model(other, device), device_distance(other.target, device.target));
  };
  for (const auto& stored : trials) {
    const auto& other = stored.session.device;
    if (stored.trial.evaluation.status != Status::ok || !alike(other.target, device.target)) continue;
    if (nearest == nullptr || rank(other) < rank(*nearest)) nearest = &other;
  }
  if (nearest == nullptr) refuse_without_trials(device.name);
  return make_dispatch_table(trials, nearest->uuid, epsilon);
}

Choice choose(const DispatchTable& table, const kernels::Problem& problem) {
  return choose(table, problem, table.device);
}

Choice choose(const DispatchTable& table, const kernels::Problem& problem,
              const kernels::DeviceInfo& device) {
  const std::string wanted = kernels::class_text(problem);
  const auto dispatch = std::find_if(table.classes.begin(), table.classes.end(),
                                     [&](const auto& c) { return c.class_text == wanted; });
  if (dispatch == table.classes.end() || dispatch->entries.empty()) return default_choice(problem, device);
  Choice choice = choose_in_class(*dispatch, problem);
  if (same_model(table.device, device)) return choice;
  if (!valid_on(choice.configuration, problem, device.target)) return default_choice(problem, device);
  choice.match = Match::other_device;
  choice.reason += fmt::format(" on {} ({} multiprocessors), the nearest device that was tuned",
                               table.device.name, table.device.target.multiprocessors);
  return choice;
}

Choice default_choice(const kernels::Problem& problem, const kernels::DeviceInfo& device) {
  std::string reasons;
  for (const auto& family : kernels::families()) {
    if (!family->tunable() || family->device_kind() != device.target.kind) continue;
    const auto reason = family->unsupported(problem, device.target);
    if (reason.empty())
      return {.configuration = baseline_text(*family, problem, device.target),
              .reason = fmt::format("nothing like it was tuned: baseline of {}", family->name())};
    reasons += fmt::format("; {}: {}", family->name(), reason);
  }
  throw std::invalid_argument(
      fmt::format("no kernel serves '{}' on {}{}", kernels::to_text(problem), device.target.arch, reasons));
}

}  // namespace fcsa::tuner
