#include "tuner/dispatch/cover.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

namespace fcsa::tuner {
namespace {

constexpr double kMostCombinations = 200'000;

using Regrets = std::vector<std::vector<double>>;
using Indices = std::vector<std::size_t>;

bool covers(const Regrets& regrets, double epsilon, std::size_t candidate, std::size_t shape) {
  return regrets[candidate][shape] <= epsilon;
}

// Covers what the other covers, nowhere slower; of equals, is the one before.
bool makes_superfluous(const Regrets& regrets, double epsilon, std::size_t one, std::size_t other) {
  bool faster = false;
  for (std::size_t shape = 0; shape < regrets[one].size(); ++shape) {
    if (!covers(regrets, epsilon, other, shape)) continue;
    if (regrets[one][shape] > regrets[other][shape]) return false;
    faster = faster || regrets[one][shape] < regrets[other][shape];
  }
  return faster || one < other;
}

// Without candidates that a smallest cover with the least total regret doesn't need.
Indices contenders(const Regrets& regrets, double epsilon) {
  Indices kept;
  for (std::size_t i = 0; i < regrets.size(); ++i) {
    bool needed = std::any_of(regrets[i].begin(), regrets[i].end(), [&](double r) { return r <= epsilon; });
    for (std::size_t j = 0; j < regrets.size() && needed; ++j)
      needed = j == i || !makes_superfluous(regrets, epsilon, j, i);
    if (needed) kept.push_back(i);
  }
  return kept;
}

// Of the fastest of the chosen on each shape, infinite when one is above epsilon.
double total_regret(const Regrets& regrets, double epsilon, const Indices& chosen) {
  double total = 0;
  for (std::size_t shape = 0; shape < regrets.front().size(); ++shape) {
    double least = std::numeric_limits<double>::infinity();
    for (const auto candidate : chosen) least = std::min(least, regrets[candidate][shape]);
    if (least > epsilon) return std::numeric_limits<double>::infinity();
    total += least;
  }
  return total;
}

// Each step takes the candidate that covers most of what is not covered yet; of equals, the one faster on
// those.
Indices greedy_cover(const Regrets& regrets, double epsilon) {
  Indices uncovered(regrets.front().size());
  std::iota(uncovered.begin(), uncovered.end(), std::size_t{0});
  Indices chosen;
  while (!uncovered.empty()) {
    std::pair<std::size_t, double> best_gain{0, 0.0};
    std::size_t best = 0;
    for (std::size_t candidate = 0; candidate < regrets.size(); ++candidate) {
      std::pair<std::size_t, double> gain{0, 0.0};
      for (const auto shape : uncovered) {
        if (!covers(regrets, epsilon, candidate, shape)) continue;
        ++gain.first;
        gain.second -= regrets[candidate][shape];
      }
      if (gain.first > 0 && (best_gain.first == 0 || gain > best_gain)) {
        best_gain = gain;
        best = candidate;
      }
    }
    if (best_gain.first == 0) break;
    chosen.push_back(best);
    std::erase_if(uncovered, [&](std::size_t shape) { return covers(regrets, epsilon, best, shape); });
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

// The next combination in lexicographic order; false after the last.
bool advance(Indices& combination, std::size_t candidates) {
  for (std::size_t i = combination.size(); i-- > 0;) {
    if (combination[i] + (combination.size() - i) >= candidates) continue;
    ++combination[i];
    for (std::size_t j = i + 1; j < combination.size(); ++j) combination[j] = combination[j - 1] + 1;
    return true;
  }
  return false;
}

Indices best_cover_of_size(const Regrets& regrets, double epsilon, std::size_t size) {
  Indices combination(size);
  std::iota(combination.begin(), combination.end(), std::size_t{0});
  Indices best;
  double least = std::numeric_limits<double>::infinity();
  do {
    if (const double total = total_regret(regrets, epsilon, combination); total < least) {
      least = total;
      best = combination;
    }
  } while (advance(combination, regrets.size()));
  return best;
}

double combinations(std::size_t candidates, std::size_t size) {
  double count = 1;
  for (std::size_t i = 0; i < size; ++i)
    count *= static_cast<double>(candidates - i) / static_cast<double>(i + 1);
  return count;
}

}  // namespace

std::vector<std::size_t> smallest_cover(const std::vector<std::vector<double>>& regrets, double epsilon) {
  const Indices kept = contenders(regrets, epsilon);
  if (kept.empty()) return {};
  Regrets own;
  for (const auto i : kept) own.push_back(regrets[i]);
  Indices chosen = greedy_cover(own, epsilon);
  for (std::size_t size = 1; size <= chosen.size(); ++size) {
    if (combinations(own.size(), size) > kMostCombinations) break;
    Indices best = best_cover_of_size(own, epsilon, size);
    if (best.empty()) continue;
    chosen = std::move(best);
    break;
  }
  for (auto& index : chosen) index = kept[index];
  return chosen;
}

}  // namespace fcsa::tuner
