#include "tuner/search/problem_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace fcsa::tuner {
namespace {

constexpr std::size_t kNearestProblems = 2;
constexpr std::size_t kFromEach = 3;

std::vector<Contender> fastest_of_family(const ProblemSearch& search, const kernels::Family& family) {
  std::vector<Contender> own;
  for (const auto& contender : search.succeeded) {
    if (contender.candidate.family == &family) own.push_back(contender);
  }
  std::stable_sort(own.begin(), own.end(),
                   [](const auto& a, const auto& b) { return a.search_ms < b.search_ms; });
  if (own.size() > kFromEach) own.resize(kFromEach);
  return own;
}

bool tried(const ProblemSearch& search, const kernels::Configuration& configuration) {
  return std::any_of(search.succeeded.begin(), search.succeeded.end(), [&](const Contender& contender) {
    return contender.candidate.configuration == configuration;
  });
}

}  // namespace

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
  ++per_family.evaluations;
  per_family.compile_failures =
      result.evaluation.status == Status::compile_failed ? per_family.compile_failures + 1 : 0;
  ++(result.reused ? outcome.reused : outcome.measured);
  if (result.evaluation.status == Status::pruned) ++outcome.pruned;
  if (result.evaluation.status != Status::ok) {
    if (result.evaluation.status != Status::pruned) ++outcome.failed;
    if (search.first_failure.empty()) {
      search.first_failure = fmt::format("{}: {} {}", configuration_text(candidate),
                                         to_text(result.evaluation.status), result.evaluation.message);
    }
    return;
  }
  const bool baseline = candidate.configuration == per_family.baseline.configuration;
  const double median_ms = result.evaluation.measurement.median_ms;
  search.succeeded.push_back({candidate, baseline ? Role::baseline : Role::finalist, median_ms});
  if (baseline) per_family.baseline_ms = median_ms;
  if (baseline && outcome.baseline_ms == 0) outcome.baseline_ms = median_ms;
  if (outcome.best.empty() || median_ms < outcome.best_ms) {
    outcome.best = configuration_text(candidate);
    outcome.best_ms = median_ms;
  }
}

double shape_distance(const kernels::Problem& a, const kernels::Problem& b) {
  const auto squared_log_ratio = [](double x, double y) { return std::pow(std::log2(x / y), 2); };
  return squared_log_ratio(a.nq, b.nq) + squared_log_ratio(a.nk, b.nk) +
         squared_log_ratio(static_cast<double>(a.batch) * a.heads, static_cast<double>(b.batch) * b.heads);
}

std::vector<kernels::Configuration> warm_start(std::span<const ProblemSearch> finished,
                                               const ProblemSearch& search, const Space& space) {
  const std::string wanted_class = kernels::class_text(search.problem);
  std::vector<const ProblemSearch*> near;
  for (const auto& other : finished) {
    if (kernels::class_text(other.problem) == wanted_class) near.push_back(&other);
  }
  std::stable_sort(near.begin(), near.end(), [&](const auto* a, const auto* b) {
    return shape_distance(a->problem, search.problem) < shape_distance(b->problem, search.problem);
  });
  if (near.size() > kNearestProblems) near.resize(kNearestProblems);
  std::vector<kernels::Configuration> start;
  for (const auto* other : near) {
    for (const auto& contender : fastest_of_family(*other, space.family())) {
      const auto& configuration = contender.candidate.configuration;
      const bool listed = std::find(start.begin(), start.end(), configuration) != start.end();
      if (!listed && space.contains(configuration) && !tried(search, configuration))
        start.push_back(configuration);
    }
  }
  return start;
}

}  // namespace fcsa::tuner
