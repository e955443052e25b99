#include "tuner/search/problem_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tuner/search/known_configurations.h"

namespace fcsa::tuner {
namespace {

constexpr std::size_t kNearestProblems = 2;  // of which more than the winner is tried
constexpr std::size_t kFromEach = 3;
constexpr std::size_t kFromElsewhere = 12;  // in all

std::vector<kernels::Configuration> fastest(const ProblemSearch& search) {
  std::vector<const Contender*> order;
  for (const auto& contender : search.succeeded) order.push_back(&contender);
  const auto count = std::min(order.size(), kFromEach);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                    [](const auto* a, const auto* b) { return a->search_ms < b->search_ms; });
  std::vector<kernels::Configuration> list;
  for (std::size_t i = 0; i < count; ++i) list.push_back(order[i]->candidate.configuration);
  return list;
}

// The nearest shape first: of the problem's class, or of the nearest that has one.
std::vector<const ProblemSearch*> nearest_with_winner(std::span<const ProblemSearch> finished,
                                                      const kernels::Problem& problem) {
  std::vector<std::pair<int, const ProblemSearch*>> near;
  for (const auto& other : finished)
    if (const auto distance = class_distance(other.problem, problem); distance && other.winner)
      near.emplace_back(*distance, &other);
  std::stable_sort(near.begin(), near.end(), [&](const auto& a, const auto& b) {
    return std::pair(a.first, shape_distance(a.second->problem, problem)) <
           std::pair(b.first, shape_distance(b.second->problem, problem));
  });
  std::vector<const ProblemSearch*> nearest;
  for (const auto& [distance, other] : near)
    if (distance == near.front().first) nearest.push_back(other);
  return nearest;
}

}  // namespace

bool ProblemSearch::PerFamily::has_tried(const kernels::Configuration& configuration) const {
  return std::any_of(tried.begin(), tried.end(),
                     [&](const Tried& one) { return one.configuration == configuration; });
}

std::optional<double> ProblemSearch::PerFamily::best_ms() const {
  std::optional<double> best;
  for (const auto& one : tried)
    if (one.time_ms && (!best || *one.time_ms < *best)) best = one.time_ms;
  return best;
}

ProblemSearch::PerFamily* ProblemSearch::family_of(const kernels::Configuration& configuration) {
  const auto found = std::find_if(families.begin(), families.end(), [&](const PerFamily& per_family) {
    return kernels::kernel_name(*per_family.family, problem.op) == configuration.kernel;
  });
  return found == families.end() ? nullptr : &*found;
}

bool ProblemSearch::has_lost(const PerFamily& per_family) const {
  const auto own = per_family.best_ms();
  return own && std::any_of(families.begin(), families.end(), [&](const PerFamily& other) {
           const auto best = other.best_ms();
           return best && *own > kLostFrom * *best;
         });
}

ProblemSearch make_problem_search(const kernels::Problem& problem,
                                  const std::vector<const kernels::Family*>& families,
                                  const kernels::Target& target) {
  ProblemSearch search;
  search.problem = problem;
  search.outcome.problem = problem;
  std::string reasons;
  for (const auto* family : families) {
    if (family->device_kind() != target.kind) continue;
    if (const auto reason = family->unsupported(problem, target); !reason.empty()) {
      reasons += fmt::format("; {}: {}", family->name(), reason);
      continue;
    }
    const Candidate baseline{problem, family, family->baseline(problem, target)};
    if (family->tunable()) {
      search.families.push_back({family, baseline});
    } else {
      search.yardsticks.push_back({baseline, Role::yardstick});
    }
  }
  if (search.families.empty()) {
    search.outcome.message = fmt::format("no family serves this problem on {}{}", target.arch, reasons);
  }
  return search;
}

void note(ProblemSearch& search, ProblemSearch::PerFamily& per_family, const Candidate& candidate,
          const RecordingEvaluator::Result& result) {
  auto& outcome = search.outcome;
  per_family.compile_failures =
      result.evaluation.status == Status::compile_failed ? per_family.compile_failures + 1 : 0;
  ++(result.reused ? outcome.reused : outcome.measured);
  if (result.evaluation.status == Status::pruned) ++outcome.pruned;
  const bool ok = result.evaluation.status == Status::ok;
  const double median_ms = result.evaluation.measurement.median_ms;
  per_family.tried.push_back({candidate.configuration, ok ? std::optional(median_ms) : std::nullopt});
  if (!ok) {
    if (result.evaluation.status != Status::pruned) ++outcome.failed;
    if (search.first_failure.empty()) {
      search.first_failure = fmt::format("{}: {} {}", configuration_text(candidate),
                                         to_text(result.evaluation.status), result.evaluation.message);
    }
    return;
  }
  const bool baseline = candidate.configuration == per_family.baseline.configuration;
  search.succeeded.push_back({candidate, baseline ? Role::baseline : Role::finalist, median_ms});
  if (baseline && outcome.baseline_ms == 0) outcome.baseline_ms = median_ms;
  if (outcome.best.empty() || median_ms < outcome.best_ms) {
    outcome.best = configuration_text(candidate);
    outcome.best_ms = median_ms;
  }
}

std::vector<Candidate> untried(ProblemSearch& search,
                               std::span<const kernels::Configuration> configurations) {
  std::vector<Candidate> candidates;
  for (const auto& configuration : configurations) {
    const auto* per_family = search.family_of(configuration);
    const bool listed = std::any_of(candidates.begin(), candidates.end(), [&](const Candidate& candidate) {
      return candidate.configuration == configuration;
    });
    if (per_family != nullptr && !listed && !per_family->has_tried(configuration))
      candidates.push_back({search.problem, per_family->family, configuration});
  }
  return candidates;
}

std::vector<kernels::Configuration> winners_elsewhere(std::span<const ProblemSearch> finished,
                                                      const kernels::Problem& problem) {
  const auto near = nearest_with_winner(finished, problem);
  std::vector<kernels::Configuration> list;
  const auto add = [&](const kernels::Configuration& configuration) {
    if (list.size() < kFromElsewhere && std::find(list.begin(), list.end(), configuration) == list.end())
      list.push_back(configuration);
  };
  for (const auto* other : near) add(*other->winner);
  for (std::size_t i = 0; i < std::min(near.size(), kNearestProblems); ++i)
    for (const auto& configuration : fastest(*near[i])) add(configuration);
  return list;
}

}  // namespace fcsa::tuner
