#include "reports/comparison.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "reports/durations.h"

namespace fcsa::reports {
namespace {

using tuner::Phase;
using tuner::Status;
using tuner::StoredTrial;
using Trials = std::vector<const StoredTrial*>;

constexpr std::size_t kShortUuid = 12;  // "GPU-1a2b3c4d"

// Null for a family that this build doesn't have: databases outlive families.
const kernels::Family* find_family(std::string_view configuration) {
  const std::string kernel = kernels::kernel_of(configuration);
  const std::string name = kernel.substr(0, kernel.find('.'));
  for (const auto& family : kernels::families()) {
    if (family->name() == name) return family.get();
  }
  return nullptr;
}

// The baseline of the family that `configuration` belongs to; empty when that can't be told.
std::string baseline_text(std::string_view configuration, const StoredTrial& trial) {
  const kernels::Family* family = find_family(configuration);
  const kernels::Problem& problem = trial.trial.problem;
  if (family == nullptr) return {};
  try {
    return kernels::to_text(*family, problem.op, family->baseline(problem, trial.session.device.target));
  } catch (const std::exception&) {
    return {};  // a family may have stopped serving a problem that an older version tuned
  }
}

bool ok(const StoredTrial* trial) {
  return trial->trial.evaluation.status == Status::ok;
}
double median_ms(const StoredTrial* trial) {
  return trial->trial.evaluation.measurement.median_ms;
}
const std::string& configuration(const StoredTrial* trial) {
  return trial->trial.configuration;
}

// The fastest tunable one that works; null when there is none.
const StoredTrial* fastest(const Trials& trials) {
  const StoredTrial* best = nullptr;
  for (const StoredTrial* trial : trials) {
    if (!ok(trial) || is_yardstick(configuration(trial))) continue;
    if (best == nullptr || median_ms(trial) < median_ms(best)) best = trial;
  }
  return best;
}

// The baseline of the winner's family, or, when that isn't there, of another family.
const StoredTrial* find_baseline(const Trials& trials, const StoredTrial* winner) {
  const StoredTrial* found = nullptr;
  std::map<std::string, std::string> baselines;
  for (const StoredTrial* trial : trials) {
    if (is_yardstick(configuration(trial))) continue;
    const std::string kernel = kernels::kernel_of(configuration(trial));
    const auto known = baselines.find(kernel);
    const std::string& text =
        known != baselines.end() ? known->second : baselines[kernel] = baseline_text(kernel, *trial);
    if (text != configuration(trial)) continue;
    if (winner != nullptr && kernel == kernels::kernel_of(configuration(winner))) return trial;
    if (found == nullptr) found = trial;
  }
  return found;
}

const StoredTrial* find_yardstick(const Trials& trials) {
  const StoredTrial* found = nullptr;
  for (const StoredTrial* trial : trials) {
    if (!is_yardstick(configuration(trial))) continue;
    if (found == nullptr || (ok(trial) && (!ok(found) || median_ms(trial) < median_ms(found)))) found = trial;
  }
  return found;
}

// Why nothing worked: the latest trial with the most frequent failure, real attempts before pruned ones.
const StoredTrial* typical_failure(const Trials& trials) {
  std::map<Status, std::size_t> counts;
  const StoredTrial* typical = nullptr;
  const auto rank = [&](const StoredTrial* trial) {
    const Status status = trial->trial.evaluation.status;
    return std::pair(status != Status::pruned, counts[status]);
  };
  for (const StoredTrial* trial : trials) {
    if (!is_yardstick(configuration(trial))) ++counts[trial->trial.evaluation.status];
  }
  for (const StoredTrial* trial : trials) {
    if (is_yardstick(configuration(trial))) continue;
    if (typical == nullptr || rank(trial) >= rank(typical)) typical = trial;
  }
  return typical;
}

// The trials that were measured together: the latest race with a winner, one with a baseline before one
// without.
Trials choose_race(const Trials& trials) {
  std::map<std::string, Trials> races;
  for (const StoredTrial* trial : trials) {
    if (trial->trial.phase == Phase::confirm && !trial->trial.race_id.empty()) {
      races[trial->trial.race_id].push_back(trial);
    }
  }
  const Trials* chosen = nullptr;
  std::pair<bool, std::int64_t> chosen_rank;
  for (const auto& [id, race] : races) {
    const StoredTrial* winner = fastest(race);
    if (winner == nullptr) continue;
    const std::pair rank(find_baseline(race, winner) != nullptr, race.back()->id);
    if (chosen != nullptr && rank < chosen_rank) continue;
    chosen = &race;
    chosen_rank = rank;
  }
  return chosen != nullptr ? *chosen : Trials{};
}

// The latest trial of each configuration: what was true of an older source or driver isn't shown.
Trials latest_of_each(const Trials& trials) {
  std::map<std::string, const StoredTrial*> latest;
  for (const StoredTrial* trial : trials) latest[configuration(trial)] = trial;
  Trials result;
  for (const auto& [text, trial] : latest) result.push_back(trial);
  return result;
}

const tuner::Measurement* find_memory(const Trials& trials, const StoredTrial* shown) {
  const tuner::Measurement& own = shown->trial.evaluation.measurement;
  if (ok(shown) && own.peak_memory_bytes > 0) return &own;
  const tuner::Measurement* found = nullptr;
  for (const StoredTrial* trial : trials) {
    const tuner::Measurement& other = trial->trial.evaluation.measurement;
    if (ok(trial) && configuration(trial) == configuration(shown) && other.peak_memory_bytes > 0)
      found = &other;
  }
  return found;
}

void fill_entry(Point& point, Role role, const StoredTrial* trial, bool confirmed) {
  if (trial == nullptr) return;
  Entry& entry = point.of(role);
  entry.trial = trial;
  entry.confirmed = confirmed;
  if (role != Role::tuned || ok(trial)) entry.configuration = configuration(trial);
  if (ok(trial)) entry.memory = find_memory(point.trials, trial);
}

std::vector<std::string> find_ties(const Trials& race, const StoredTrial* winner) {
  std::vector<std::string> ties;
  for (const StoredTrial* trial : race) {
    if (trial == winner || !ok(trial) || is_yardstick(configuration(trial))) continue;
    const double winner_high = winner->trial.evaluation.measurement.ci_high_ms;
    if (trial->trial.evaluation.measurement.ci_low_ms <= winner_high) ties.push_back(configuration(trial));
  }
  return ties;
}

Point make_point(tuner::CacheState cache, Trials trials) {
  Point point;
  point.problem = trials.front()->trial.problem;
  point.cache = cache;
  point.trials = std::move(trials);

  const Trials race = choose_race(point.trials);
  const Trials latest = latest_of_each(point.trials);
  const StoredTrial* winner = race.empty() ? fastest(latest) : fastest(race);
  fill_entry(point, Role::tuned, winner != nullptr ? winner : typical_failure(latest), !race.empty());
  if (!race.empty()) point.ties = find_ties(race, winner);

  const StoredTrial* baseline = find_baseline(race, winner);
  fill_entry(point, Role::baseline, baseline != nullptr ? baseline : find_baseline(latest, winner),
             baseline != nullptr);
  const StoredTrial* yardstick = find_yardstick(race);
  fill_entry(point, Role::unfused, yardstick != nullptr ? yardstick : find_yardstick(latest),
             yardstick != nullptr);
  return point;
}

// One point per cache state. A trial that failed has no measurement to tell its cache state, so where only
// one state was measured it belongs to that one.
std::vector<Point> make_points(const Trials& trials) {
  std::set<tuner::CacheState> states;
  for (const StoredTrial* trial : trials) {
    if (ok(trial)) states.insert(trial->trial.evaluation.measurement.cache);
  }
  std::vector<Point> points;
  if (states.size() <= 1) {
    const auto recorded = trials.back()->trial.evaluation.measurement.cache;
    points.push_back(make_point(states.empty() ? recorded : *states.begin(), trials));
    return points;
  }
  for (const tuner::CacheState state : states) {
    Trials matching;
    std::copy_if(trials.begin(), trials.end(), std::back_inserter(matching), [&](const StoredTrial* trial) {
      return trial->trial.evaluation.measurement.cache == state;
    });
    points.push_back(make_point(state, std::move(matching)));
  }
  return points;
}

auto sort_key(const Point& point) {
  const kernels::Problem& p = point.problem;
  return std::tuple(kernels::class_text(p), p.nq, p.nk, p.batch, p.heads, p.kv_heads, point.cache);
}

DeviceResults make_results(Trials trials) {
  DeviceResults results;
  results.device = trials.back()->session.device;
  std::map<std::string, Trials> by_problem;
  for (const StoredTrial* trial : trials) {
    // Shapes that were measured for the dispatch table only have no baseline to compare with.
    if (trial->trial.phase != Phase::probe && trial->trial.phase != Phase::refresh)
      by_problem[kernels::to_text(trial->trial.problem)].push_back(trial);
  }
  for (const auto& [text, of_problem] : by_problem) {
    for (Point& point : make_points(of_problem)) results.points.push_back(std::move(point));
  }
  const auto took_s = durations(trials);
  for (Point& point : results.points) {
    for (const StoredTrial* trial : point.trials) point.took_s.push_back(took_s.at(trial));
  }
  std::stable_sort(results.points.begin(), results.points.end(),
                   [](const Point& a, const Point& b) { return sort_key(a) < sort_key(b); });
  results.trials = std::move(trials);
  return results;
}

}  // namespace

std::string_view to_text(Role role) {
  switch (role) {
    case Role::tuned:
      return "tuned";
    case Role::baseline:
      return "baseline";
    case Role::unfused:
      return "unfused";
  }
  return "";
}

bool Entry::measured() const {
  return trial != nullptr && ok(trial);
}

bool Entry::out_of_memory() const {
  return trial != nullptr && trial->trial.evaluation.status == Status::out_of_memory;
}

std::string Entry::status_text() const {
  if (trial != nullptr) return std::string(tuner::to_text(trial->trial.evaluation.status));
  return "not_measured";
}

std::optional<Ratio> speedup(const Point& point, Role of, Role over) {
  const Entry& one = point.of(of);
  const Entry& other = point.of(over);
  if (!one.measured() || !other.measured() || !one.confirmed || !other.confirmed) return {};
  if (one.trial->trial.race_id != other.trial->trial.race_id) return {};
  const tuner::Measurement& fast = one.trial->trial.evaluation.measurement;
  const tuner::Measurement& slow = other.trial->trial.evaluation.measurement;
  if (fast.ci_low_ms <= 0 || fast.median_ms <= 0) return {};
  if (one.trial == other.trial) return Ratio{1, 1, 1};
  return Ratio{slow.median_ms / fast.median_ms, slow.ci_low_ms / fast.ci_high_ms,
               slow.ci_high_ms / fast.ci_low_ms};
}

bool is_yardstick(std::string_view configuration) {
  if (configuration.starts_with("unfused")) return true;
  const kernels::Family* family = find_family(configuration);
  return family != nullptr && !family->tunable();
}

std::vector<DeviceResults> collect(const std::vector<StoredTrial>& trials) {
  Trials ordered;
  ordered.reserve(trials.size());
  for (const StoredTrial& trial : trials) ordered.push_back(&trial);
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const StoredTrial* a, const StoredTrial* b) { return a->id < b->id; });
  std::map<std::tuple<bool, std::string, std::string>, Trials> by_device;
  for (const StoredTrial* trial : ordered) {
    const kernels::DeviceInfo& device = trial->session.device;
    const bool is_cpu = device.target.kind == kernels::DeviceKind::cpu;
    by_device[{is_cpu, device.uuid.empty() ? device.name : "", device.uuid}].push_back(trial);
  }
  std::vector<DeviceResults> results;
  results.reserve(by_device.size());
  for (auto& [key, of_device] : by_device) results.push_back(make_results(std::move(of_device)));
  std::map<std::string, int> names;
  for (const DeviceResults& device : results) ++names[device.device.name];
  for (DeviceResults& device : results) {
    device.label = device.device.name;
    if (names[device.label] > 1) device.label += " (" + device.device.uuid.substr(0, kShortUuid) + ")";
  }
  return results;
}

}  // namespace fcsa::reports
