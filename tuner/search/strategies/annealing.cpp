#include "tuner/search/strategies/annealing.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "tuner/search/digits.h"
#include "tuner/search/neighbourhoods.h"

namespace fcsa::tuner {
namespace {

constexpr std::size_t kWalkStarts = 8;  // random ones, of which the fastest is where the walk begins
constexpr double kHot = 0.5;            // a step to what is e^0.5 slower is taken one time in e
constexpr double kCooling = 0.98;       // a tell
constexpr double kCold = 0.005;         // below it the walk begins again from the best, at kReheated
constexpr double kReheated = 0.1;

class Annealing final : public Method {
 public:
  explicit Annealing(std::uint64_t seed) : random_(seed) {}

  std::optional<std::size_t> next(const History& history) override {
    if (!current_ || history.told().size() + history.pending().size() < kWalkStarts)
      return history.random_fresh(random_);
    // One parameter, any step; two, one step each, when all of those are known.
    for (const std::size_t neighbourhood : {1, 2}) {
      const auto fresh = fresh_neighbours(history, *current_, neighbourhood);
      if (!fresh.empty()) return fresh[random_() % fresh.size()];
    }
    current_ = history.best() ? history.best()->position : *current_;
    return history.random_fresh(random_);
  }

  void told(const History& history, std::size_t position) override {
    const double log_time = *history.log_time(position);
    if (!current_ || takes(log_time - *history.log_time(*current_))) current_ = position;
    if (history.told().size() < kWalkStarts) return;
    temperature_ *= kCooling;
    if (temperature_ >= kCold) return;
    temperature_ = kReheated;
    if (history.best()) current_ = history.best()->position;
  }

 private:
  // `slower`: not a number when both failed.
  bool takes(double slower) {
    if (!(slower > 0)) return true;
    return random_unit(random_) < std::exp(-slower / temperature_);
  }

  std::mt19937_64 random_;
  std::optional<std::size_t> current_;
  double temperature_ = kHot;
};

}  // namespace

std::unique_ptr<Method> make_annealing(std::uint64_t seed) {
  return std::make_unique<Annealing>(seed);
}

}  // namespace fcsa::tuner
