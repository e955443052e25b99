#include "tuner/dispatch/regret.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <stdexcept>

#include "tuner/dispatch/random_shapes.h"

namespace fcsa::tuner {
namespace {

constexpr std::size_t kNearestShapes = 3, kFastestOfEach = 2;
constexpr int kMostDraws = 1000;

// A class of the table and everything that was measured in it.
struct MeasuredClass {
  const DispatchClass* dispatch = nullptr;
  std::vector<ShapeTimes> shapes;
  std::vector<kernels::Problem> problems;
};

std::vector<MeasuredClass> classes_of(const std::vector<StoredTrial>& trials, const DispatchTable& table,
                                      const std::set<std::string>& wanted) {
  const TrialHistory history(trials, table.device);
  std::vector<MeasuredClass> classes;
  for (const auto& dispatch : table.classes) {
    if (!wanted.empty() && !wanted.contains(dispatch.class_text)) continue;
    MeasuredClass measured{&dispatch, times_of_shapes(history.of_class(dispatch.class_text)), {}};
    for (const auto& shape : measured.shapes) measured.problems.push_back(shape.problem);
    classes.push_back(std::move(measured));
  }
  return classes;
}

void add_once(std::vector<std::string>& list, const std::string& configuration) {
  if (std::find(list.begin(), list.end(), configuration) == list.end()) list.push_back(configuration);
}

std::vector<std::string> fastest_of(const ShapeTimes& shape) {
  std::vector<std::pair<double, std::string>> order;
  for (const auto& [configuration, ms] : shape.times) order.emplace_back(ms, configuration);
  std::sort(order.begin(), order.end());
  std::vector<std::string> fastest;
  for (std::size_t i = 0; i < std::min(order.size(), kFastestOfEach); ++i) fastest.push_back(order[i].second);
  return fastest;
}

std::vector<std::string> contenders_for(const UntunedShape& shape, const MeasuredClass& measured,
                                        int multiprocessors) {
  std::vector<std::string> contenders{shape.choice.configuration};
  for (const auto& configuration : measured.dispatch->configurations) add_once(contenders, configuration);
  const auto position = kernels::position_of(shape.problem, multiprocessors);
  std::vector<std::pair<double, const ShapeTimes*>> near;
  for (const auto& other : measured.shapes)
    near.emplace_back(
        kernels::squared_distance(position, kernels::position_of(other.problem, multiprocessors)), &other);
  std::stable_sort(near.begin(), near.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (std::size_t i = 0; i < std::min(near.size(), kNearestShapes); ++i)
    for (const auto& configuration : fastest_of(*near[i].second)) add_once(contenders, configuration);
  return contenders;
}

// The choice, then the baselines of all families.
std::vector<std::string> baselines_for(const UntunedShape& shape, const kernels::Target& target) {
  const auto& problem = shape.problem;
  std::vector<std::string> contenders{shape.choice.configuration};
  for (const auto& family : kernels::families())
    if (family->tunable() && family->device_kind() == target.kind &&
        family->unsupported(problem, target).empty())
      add_once(contenders, kernels::to_text(*family, problem.op, family->baseline(problem, target)));
  return contenders;
}

// One that isn't among the tuned ones and was not drawn before, if there is any to be had.
kernels::Problem new_shape(const std::vector<kernels::Problem>& known,
                           const std::vector<kernels::Problem>& tuned, std::mt19937_64& random) {
  kernels::Problem shape = random_shape(tuned, random);
  for (int i = 0; i < kMostDraws && std::find(known.begin(), known.end(), shape) != known.end(); ++i)
    shape = random_shape(tuned, random);
  return shape;
}

}  // namespace

std::vector<UntunedShape> draw_untuned_shapes(const std::vector<StoredTrial>& trials,
                                              const DispatchTable& table, const kernels::DeviceInfo& device,
                                              const UntunedShapes& wanted) {
  const auto classes = classes_of(trials, table, wanted.classes);
  if (classes.empty())
    throw std::invalid_argument(fmt::format("none of these classes was tuned on {}: {}", table.device.name,
                                            fmt::join(wanted.classes, ", ")));
  std::mt19937_64 random(wanted.seed);
  std::vector<UntunedShape> shapes;
  for (std::size_t i = 0; i < wanted.count; ++i) {
    const auto& measured = classes[i % classes.size()];
    auto known = measured.problems;
    for (const auto& shape : shapes) known.push_back(shape.problem);
    UntunedShape shape{new_shape(known, measured.problems, random), {}, {}};
    shape.choice = choose(table, shape.problem, device);
    shape.contenders = contenders_for(shape, measured, device.target.multiprocessors);
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

std::vector<UntunedShape> untuned_shapes_of(const std::vector<StoredTrial>& trials,
                                            const DispatchTable& table, const kernels::DeviceInfo& device,
                                            const std::vector<kernels::Problem>& problems,
                                            std::size_t count) {
  const auto classes = classes_of(trials, table, {});
  std::vector<UntunedShape> shapes;
  for (const auto& problem : problems) {
    if (shapes.size() == count) break;
    const auto measured = std::find_if(classes.begin(), classes.end(), [&](const MeasuredClass& one) {
      return one.dispatch->class_text == kernels::class_text(problem);
    });
    const bool tuned =
        measured != classes.end() &&
        std::find(measured->problems.begin(), measured->problems.end(), problem) != measured->problems.end();
    if (tuned) continue;
    UntunedShape shape{problem, choose(table, problem, device), {}};
    shape.contenders = measured == classes.end()
                           ? baselines_for(shape, device.target)
                           : contenders_for(shape, *measured, device.target.multiprocessors);
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

std::optional<Regret> regret_of(const std::string& choice, const std::vector<Trial>& race) {
  const Trial *chosen = nullptr, *best = nullptr;
  const auto median_ms = [](const Trial* trial) { return trial->evaluation.measurement.median_ms; };
  for (const auto& trial : race) {
    if (trial.evaluation.status != Status::ok) continue;
    if (trial.configuration == choice) chosen = &trial;
    if (best == nullptr || median_ms(&trial) < median_ms(best)) best = &trial;
  }
  if (chosen == nullptr) return std::nullopt;
  const auto &own = chosen->evaluation.measurement, &other = best->evaluation.measurement;
  Regret regret{own.median_ms, other.median_ms, best->configuration, own.median_ms / other.median_ms - 1};
  if (chosen != best) {
    regret.regret_low = own.ci_low_ms / other.ci_high_ms - 1;
    regret.regret_high = own.ci_high_ms / other.ci_low_ms - 1;
  }
  return regret;
}

RegretSummary summary_of(std::vector<double> regrets) {
  const double worst = *std::max_element(regrets.begin(), regrets.end());
  const double sum = std::accumulate(regrets.begin(), regrets.end(), 0.0);
  const double mean = sum / static_cast<double>(regrets.size());
  return {summarize(std::move(regrets)).median, mean, worst};
}

}  // namespace fcsa::tuner
