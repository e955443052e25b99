#include "tuner/dispatch/break_points.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

namespace fcsa::tuner {
namespace {

using kernels::Position;
using kernels::Problem;

const double kClosest = std::log2(1.25);

bool neighbours(const std::vector<Position>& positions, std::size_t a, std::size_t b) {
  const double distance = kernels::squared_distance(positions[a], positions[b]);
  for (std::size_t other = 0; other < positions.size(); ++other) {
    if (other == a || other == b) continue;
    if (kernels::squared_distance(positions[a], positions[other]) +
            kernels::squared_distance(positions[other], positions[b]) <
        distance)
      return false;
  }
  return true;
}

bool close(const Position& a, const Position& b) {
  return std::max({std::abs(a.nq - b.nq), std::abs(a.nk - b.nk), std::abs(a.fill - b.fill)}) < kClosest;
}

// On `there`, of what is chosen on `here`.
bool costs_more(const DispatchEntry& here, const DispatchEntry& there, double epsilon) {
  const double ms = there.times_ms[here.choice];
  return ms == 0 || ms > (1 + epsilon) * there.best_ms;
}

// Measured between others, and what the rule says there without it is good.
bool foreseen(const DispatchEntry& entry, const std::vector<Problem>& probed, double epsilon) {
  return entry.left_out_regret && *entry.left_out_regret <= epsilon &&
         std::find(probed.begin(), probed.end(), entry.problem) != probed.end();
}

int geometric_mean(int a, int b) {
  const double mean = std::sqrt(static_cast<double>(a) * b);
  const int step = mean >= 256 ? 64 : mean >= 64 ? 16 : 1;
  const int rounded = static_cast<int>(std::lround(mean / step)) * step;
  return rounded > std::min(a, b) && rounded < std::max(a, b) ? rounded : static_cast<int>(std::lround(mean));
}

bool contains(const DispatchClass& dispatch, const Problem& problem) {
  return std::any_of(dispatch.entries.begin(), dispatch.entries.end(),
                     [&](const auto& entry) { return entry.problem == problem; });
}

}  // namespace

std::vector<BreakPoint> break_points(const DispatchClass& dispatch, const std::vector<Problem>& probed,
                                     double epsilon) {
  const auto& entries = dispatch.entries;
  const auto& positions = dispatch.rule.positions;
  std::vector<BreakPoint> found;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    for (std::size_t j = i + 1; j < entries.size(); ++j) {
      const auto &a = entries[i], &b = entries[j];
      if (!costs_more(a, b, epsilon) && !costs_more(b, a, epsilon)) continue;
      if (foreseen(a, probed, epsilon) || foreseen(b, probed, epsilon)) continue;
      if (close(positions[i], positions[j]) || !neighbours(positions, i, j)) continue;
      const auto between = halfway(a.problem, b.problem);
      if (between && !contains(dispatch, *between)) found.push_back({i, j, *between});
    }
  }
  std::stable_sort(found.begin(), found.end(), [&](const auto& a, const auto& b) {
    return kernels::squared_distance(positions[a.from], positions[a.to]) >
           kernels::squared_distance(positions[b.from], positions[b.to]);
  });
  return found;
}

std::optional<Problem> halfway(const Problem& a, const Problem& b) {
  Problem between = a;
  between.nq = geometric_mean(a.nq, b.nq);
  between.nk = a.nq == a.nk && b.nq == b.nk ? between.nq : geometric_mean(a.nk, b.nk);
  const double heads = std::sqrt(static_cast<double>(a.batch) * a.heads * b.batch * b.heads);
  between.batch = std::max(1, static_cast<int>(std::lround(heads / between.heads)));
  if (between.bias_batch > 1) between.bias_batch = 0;
  if (between == a || between == b) return std::nullopt;
  return between;
}

std::vector<Problem> emptiest_shapes(const std::vector<Problem>& problems) {
  std::map<std::string, Problem> emptiest;
  for (const auto& problem : problems) {
    const auto [place, added] = emptiest.try_emplace(kernels::class_text(problem), problem);
    Problem& shape = place->second;
    const int nq = std::min(shape.nq, problem.nq), nk = std::min(shape.nk, problem.nk);
    if (problem.batch * problem.heads < shape.batch * shape.heads) shape = problem;
    shape.nq = nq;
    shape.nk = nk;
  }
  std::vector<Problem> missing;
  for (const auto& [text, shape] : emptiest) {
    if (std::find(problems.begin(), problems.end(), shape) == problems.end()) missing.push_back(shape);
  }
  return missing;
}

}  // namespace fcsa::tuner
