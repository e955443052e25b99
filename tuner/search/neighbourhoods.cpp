#include "tuner/search/neighbourhoods.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace fcsa::tuner {

std::vector<std::size_t> neighbours(const Space& space, std::size_t position, std::size_t neighbourhood) {
  if (neighbourhood < 2) return space.neighbours(position, neighbourhood == 1);
  std::vector<std::size_t> found;
  for (const auto one : space.neighbours(position, false))
    for (const auto other : space.neighbours(one, false))
      if (other != position) found.push_back(other);
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

std::vector<std::size_t> fresh_neighbours(const History& history, std::size_t position,
                                          std::size_t neighbourhood) {
  auto found = neighbours(history.space(), position, neighbourhood);
  std::erase_if(found, [&](std::size_t neighbour) { return !history.fresh(neighbour); });
  return found;
}

Guess::Guess(const History& history, std::size_t most) : space_(history.space()) {
  const auto& told = history.told();
  double slowest = -std::numeric_limits<double>::infinity();
  for (const auto& each : told)
    if (!each.failed()) slowest = std::max(slowest, each.log_time);
  if (std::isinf(slowest)) slowest = 0;
  for (std::size_t i = told.size() > most ? told.size() - most : 0; i < told.size(); ++i)
    known_.push_back({space_.digits(told[i].position), std::min(told[i].log_time, slowest)});
}

double Guess::log_time(std::size_t position) const {
  const auto digits = space_.digits(position);
  double sum = 0, weights = 0;
  for (const auto& known : known_) {
    const double d = distance(digits, known.digits);
    const double weight = 1 / (d * d * d * d);
    sum += weight * known.log_time;
    weights += weight;
  }
  return weights > 0 ? sum / weights : 0;
}

// Each parameter that differs adds 0.5 to 1, by how far apart its values are in its list.
double Guess::distance(const std::vector<int>& a, const std::vector<int>& b) const {
  double sum = 1e-3;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    const auto range = static_cast<double>(space_.parameters()[i].values.size() - 1);
    sum += 0.5 + 0.5 * std::abs(a[i] - b[i]) / range;
  }
  return sum;
}

}  // namespace fcsa::tuner
