#include "tuner/dispatch/dispatch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <stdexcept>

#include "tuner/dispatch/cover.h"
#include "tuner/trials/recording.h"

namespace fcsa::tuner {
namespace {

// Of some of the shapes of a class: every shape is left out once, and what was measured on all of them is
// large.
using Shapes = std::vector<const ShapeTimes*>;

std::vector<std::string> fewest_configurations(const Shapes& shapes, double epsilon) {
  // A search leaves thousands, of which few are good enough anywhere.
  std::set<std::string> good;
  for (const auto* shape : shapes) {
    for (const auto& [configuration, time_ms] : shape->times)
      if (time_ms / shape->best_ms - 1 <= epsilon) good.insert(configuration);
  }
  std::vector<std::string> names;
  std::vector<std::vector<double>> regrets;
  for (const auto& configuration : good) {
    std::vector<double> row;
    for (const auto* shape : shapes) {
      const auto time = shape->times.find(configuration);
      row.push_back(time == shape->times.end() ? std::numeric_limits<double>::infinity()
                                               : time->second / shape->best_ms - 1);
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

DispatchEntry make_entry(const ShapeTimes& shape, const std::vector<std::string>& chosen) {
  DispatchEntry entry{.problem = shape.problem, .best_ms = shape.best_ms};
  entry.chosen_ms = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const auto time = shape.times.find(chosen[i]);
    entry.times_ms.push_back(time == shape.times.end() ? 0 : time->second);
    if (time == shape.times.end() || time->second >= entry.chosen_ms) continue;
    entry.choice = i;
    entry.chosen_ms = time->second;
  }
  return entry;
}

DispatchClass make_class(const Shapes& shapes, const kernels::Target& target, double epsilon) {
  DispatchClass dispatch;
  dispatch.class_text = kernels::class_text(shapes.front()->problem);
  dispatch.traits = kernels::traits_of(shapes.front()->problem);
  dispatch.configurations = fewest_configurations(shapes, epsilon);
  for (const auto* shape : shapes) {
    dispatch.entries.push_back(make_entry(*shape, dispatch.configurations));
    const auto& entry = dispatch.entries.back();
    dispatch.worst_regret = std::max(dispatch.worst_regret, entry.chosen_ms / entry.best_ms - 1);
  }
  dispatch.rule = fit_rule(dispatch, target.multiprocessors);
  return dispatch;
}

LeftOut summary_of(std::vector<double> regrets, std::size_t shapes) {
  LeftOut summary{.priced = regrets.size(), .unpriced = shapes - regrets.size()};
  if (regrets.empty()) return summary;
  summary.worst_regret = *std::max_element(regrets.begin(), regrets.end());
  summary.median_regret = summarize(std::move(regrets)).median;
  return summary;
}

// Of the chosen configuration's family, where it was measured.
double baseline_ms(const DispatchClass& dispatch, const DispatchEntry& entry, const ShapeTimes& shape,
                   const kernels::Target& target) {
  const auto& family = kernels::family_of_kernel(dispatch.configurations[entry.choice]);
  const auto baseline = shape.times.find(baseline_text(family, shape.problem, target));
  return baseline == shape.times.end() ? 0 : baseline->second;
}

// What each entry would get if it hadn't been tuned.
void leave_out_each(DispatchClass& dispatch, const Shapes& shapes, const kernels::Target& target,
                    double epsilon) {
  std::vector<double> regrets;
  for (std::size_t i = 0; i < shapes.size() && shapes.size() > 1; ++i) {
    auto others = shapes;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
    const auto without = make_class(others, target, epsilon);
    const auto prediction = kernels::predict(without.rule.view(), shapes[i]->problem, target.multiprocessors);
    auto& entry = dispatch.entries[i];
    entry.left_out_choice = without.configurations[static_cast<std::size_t>(prediction.model)];
    const auto time = shapes[i]->times.find(entry.left_out_choice);
    if (time == shapes[i]->times.end()) continue;
    entry.left_out_regret = time->second / shapes[i]->best_ms - 1;
    regrets.push_back(*entry.left_out_regret);
  }
  dispatch.left_out = summary_of(std::move(regrets), shapes.size());
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

// Why the configuration can't be launched for the problem; empty when it can.
std::string misfit(const std::string& configuration, const kernels::Problem& problem,
                   const kernels::Target& target) {
  const Candidate candidate = candidate_of(problem, configuration);
  return kernels::misfit(*candidate.family, problem, candidate.configuration, target);
}

// The problem in the terms of a tuned one of the same kernels: what was tuned with another scale or bound, or
// for more or fewer gradients, was tuned for it too.
kernels::Problem in_terms_of(const kernels::Problem& tuned, kernels::Problem problem) {
  problem.scale = tuned.scale;
  problem.logit_bound = tuned.logit_bound;
  problem.bias_gradient = tuned.bias_gradient;
  problem.scale_gradient = tuned.scale_gradient;
  problem.deterministic = tuned.deterministic;
  return problem;
}

// In how much else than what is asked for it was tuned.
int demand_distance(const kernels::Problem& tuned, const kernels::Problem& asked) {
  return (tuned.bias_gradient != asked.bias_gradient) + (tuned.scale_gradient != asked.scale_gradient) +
         (tuned.deterministic != asked.deterministic);
}

const kernels::Problem& tuned_problem(const DispatchClass& dispatch) {
  return dispatch.entries.front().problem;
}

// Those that share kernels with the problem, its own class first, then those tuned for the most alike.
std::vector<const DispatchClass*> classes_for(const DispatchTable& table, const kernels::Problem& problem) {
  const std::string wanted = kernels::class_text(problem);
  const kernels::Traits traits = kernels::traits_of(problem);
  std::vector<const DispatchClass*> classes;
  for (const auto& dispatch : table.classes) {
    if (dispatch.entries.empty() || dispatch.traits != traits) continue;
    if (kernels::class_text(in_terms_of(tuned_problem(dispatch), problem)) == dispatch.class_text)
      classes.push_back(&dispatch);
  }
  std::stable_sort(classes.begin(), classes.end(), [&](const auto* a, const auto* b) {
    const auto key = [&](const DispatchClass& c) {
      return std::pair(c.class_text != wanted, demand_distance(tuned_problem(c), problem));
    };
    return key(*a) < key(*b);
  });
  return classes;
}

// A default where nothing of the class fits.
Choice choose_in_class(const DispatchClass& dispatch, const kernels::Problem& problem,
                       const kernels::Target& target) {
  std::string passed_over;
  const auto fits = [&](std::size_t index) {
    const auto& configuration = dispatch.configurations[index];
    const std::string why = misfit(configuration, problem, target);
    if (!why.empty() && passed_over.empty())
      passed_over = fmt::format("; {} doesn't fit: {}", configuration, why);
    return why.empty();
  };
  const auto asked = in_terms_of(tuned_problem(dispatch), problem);
  const auto exact = std::find_if(dispatch.entries.begin(), dispatch.entries.end(),
                                  [&](const auto& entry) { return entry.problem == asked; });
  if (exact != dispatch.entries.end() && fits(exact->choice))
    return {dispatch.configurations[exact->choice], Match::exact, &*exact, exact->chosen_ms,
            fmt::format("tuned at {}", shape_text(problem))};
  const auto prediction = kernels::predict(dispatch.rule.view(), problem, target.multiprocessors,
                                           [&](int model) { return fits(static_cast<std::size_t>(model)); });
  if (prediction.model < 0) return {.passed_over = passed_over};
  const auto& nearest = dispatch.entries[static_cast<std::size_t>(prediction.nearest)];
  return {dispatch.configurations[static_cast<std::size_t>(prediction.model)],
          Match::nearest,
          &nearest,
          prediction.ms,
          fmt::format("predicted to be the fastest of {}; nearest tuned shape {}{}",
                      dispatch.configurations.size(), shape_text(nearest.problem), passed_over),
          passed_over};
}

}  // namespace

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

DispatchRule fit_rule(const DispatchClass& dispatch, int multiprocessors) {
  std::vector<ConfigurationTimes> times;
  for (const auto& configuration : dispatch.configurations) times.push_back({configuration, {}});
  std::vector<kernels::Problem> problems;
  for (const auto& entry : dispatch.entries) {
    problems.push_back(entry.problem);
    for (std::size_t i = 0; i < times.size(); ++i) times[i].ms.push_back(entry.times_ms[i]);
  }
  return fit_rule(times, problems, multiprocessors);
}

DispatchClass make_dispatch_class(const std::vector<ShapeTimes>& shapes, const kernels::Target& target,
                                  double epsilon) {
  Shapes all;
  for (const auto& shape : shapes) all.push_back(&shape);
  DispatchClass dispatch = make_class(all, target, epsilon);
  for (std::size_t i = 0; i < shapes.size(); ++i)
    dispatch.entries[i].baseline_ms = baseline_ms(dispatch, dispatch.entries[i], shapes[i], target);
  leave_out_each(dispatch, all, target, epsilon);
  return dispatch;
}

DispatchTable make_dispatch_table(const std::vector<StoredTrial>& trials, const std::string& device_uuid,
                                  double epsilon) {
  const auto newest = std::find_if(trials.rbegin(), trials.rend(), [&](const auto& stored) {
    return stored.session.device.uuid == device_uuid;
  });
  if (newest == trials.rend()) refuse_without_trials(device_uuid);
  const TrialHistory history(trials, newest->session.device);
  if (history.usable().empty()) refuse_without_trials(device_uuid);

  DispatchTable table;
  table.device = history.usable().back()->session.device;
  table.created_at = timestamp();
  table.epsilon = epsilon;
  for (const auto& [class_text, own] : history.by_class()) {
    table.classes.push_back(make_dispatch_class(times_of_shapes(own), table.device.target, epsilon));
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
  std::string passed_over;
  for (const auto* dispatch : classes_for(table, problem)) {
    Choice choice = choose_in_class(*dispatch, problem, device.target);
    passed_over += choice.passed_over;
    if (choice.match == Match::default_choice) continue;
    if (same_model(table.device, device)) return choice;
    choice.match = Match::other_device;
    choice.reason += fmt::format(" on {} ({} multiprocessors), the nearest device that was tuned",
                                 table.device.name, table.device.target.multiprocessors);
    return choice;
  }
  Choice choice = default_choice(problem, device);
  choice.reason += passed_over;
  choice.passed_over = passed_over;
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
