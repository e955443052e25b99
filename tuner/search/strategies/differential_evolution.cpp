#include "tuner/search/strategies/differential_evolution.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <unordered_map>

#include "tuner/search/digits.h"

namespace fcsa::tuner {
namespace {

constexpr std::size_t kMembers = 20;
constexpr double kTakenOver = 0.7;  // probability of a moved value
constexpr int kMoves = 20;          // to make a trial that is valid and fresh

class DifferentialEvolution final : public Method {
 public:
  explicit DifferentialEvolution(std::uint64_t seed) : random_(seed) {}

  std::optional<std::size_t> next(const History& history) override {
    if (population_.size() < kMembers) return history.random_fresh(random_);
    for (int i = 0; i < kMoves; ++i) {
      const std::size_t member = turn_++ % kMembers;
      const auto trial = moved(history, member);
      if (!trial || !history.fresh(*trial)) continue;
      member_of_[*trial] = member;
      return trial;
    }
    return history.random_fresh(random_);
  }

  // A trial competes with the member that it was made of; what others told, with the slowest.
  void told(const History& history, std::size_t position) override {
    if (population_.size() < kMembers) {
      population_.push_back(position);
      return;
    }
    const auto log_time = [&](std::size_t other) { return *history.log_time(other); };
    const auto made_of = member_of_.find(position);
    const auto rival = made_of != member_of_.end()
                           ? population_.begin() + static_cast<std::ptrdiff_t>(made_of->second)
                           : std::max_element(population_.begin(), population_.end(),
                                              [&](auto a, auto b) { return log_time(a) < log_time(b); });
    if (log_time(position) <= log_time(*rival)) *rival = position;
  }

 private:
  // From between the member and the best, by a random part of the difference of two others.
  std::optional<std::size_t> moved(const History& history, std::size_t member) {
    const Space& space = history.space();
    auto trial = space.digits(population_[member]);
    const auto best = space.digits(history.best() ? history.best()->position : population_[member]);
    const auto plus = space.digits(population_[random_() % kMembers]);
    const auto minus = space.digits(population_[random_() % kMembers]);
    const double to_best = random_unit(random_), by_difference = 0.5 + random_unit(random_) / 2;
    const std::size_t always = random_() % trial.size();
    for (std::size_t i = 0; i < trial.size(); ++i) {
      if (i != always && random_unit(random_) >= kTakenOver) continue;
      const double value = trial[i] + to_best * (best[i] - trial[i]) + by_difference * (plus[i] - minus[i]);
      const int last = static_cast<int>(space.parameters()[i].values.size()) - 1;
      // Beside whole numbers by chance, so that a population that agrees still moves.
      const int rounded = static_cast<int>(std::floor(value + random_unit(random_)));
      trial[i] = rounded < 0 || rounded > last ? random_digit(space, i, random_) : rounded;
    }
    return space.find_digits(trial);
  }

  std::mt19937_64 random_;
  std::vector<std::size_t> population_;
  std::unordered_map<std::size_t, std::size_t> member_of_;  // that a trial was made of
  std::size_t turn_ = 0;
};

}  // namespace

std::unique_ptr<Method> make_differential_evolution(std::uint64_t seed) {
  return std::make_unique<DifferentialEvolution>(seed);
}

}  // namespace fcsa::tuner
