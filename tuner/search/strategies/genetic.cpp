#include "tuner/search/strategies/genetic.h"

#include <algorithm>
#include <random>

#include "tuner/search/digits.h"

namespace fcsa::tuner {
namespace {

constexpr std::size_t kFittest = 20;
constexpr std::size_t kContestants = 3;  // the fastest of so many drawn becomes a parent
constexpr int kCrossings = 20;           // to make a child that is valid and fresh

// Generations overlap: a child is born when one is asked for, of parents among the fastest told so far, and
// takes its place when it is told. So it doesn't matter how many are pending.
class Genetic final : public Method {
 public:
  explicit Genetic(std::uint64_t seed) : random_(seed) {}

  std::optional<std::size_t> next(const History& history) override {
    if (history.told().size() + history.pending().size() < kFittest || population_.size() < 2)
      return history.random_fresh(random_);
    for (int i = 0; i < kCrossings; ++i) {
      const auto child = cross(history.space());
      if (child && history.fresh(*child)) return child;
    }
    return history.random_fresh(random_);
  }

  void told(const History& history, std::size_t position) override {
    const double log_time = *history.log_time(position);
    const auto slower = std::find_if(population_.begin(), population_.end(),
                                     [&](std::size_t other) { return *history.log_time(other) > log_time; });
    population_.insert(slower, position);
    if (population_.size() > kFittest) population_.pop_back();
  }

 private:
  // The population is sorted: the smaller place is the faster.
  std::size_t parent() {
    std::size_t place = population_.size();
    for (std::size_t i = 0; i < kContestants; ++i)
      place = std::min<std::size_t>(place, random_() % population_.size());
    return population_[place];
  }

  std::optional<std::size_t> cross(const Space& space) {
    auto child = space.digits(parent());
    const auto other = space.digits(parent());
    for (std::size_t i = 0; i < child.size(); ++i) {
      if (random_() % 2 == 0) child[i] = other[i];
      if (random_() % child.size() == 0) child[i] = random_digit(space, i, random_);
    }
    return space.find_digits(child);
  }

  std::mt19937_64 random_;
  std::vector<std::size_t> population_;  // fastest first
};

}  // namespace

std::unique_ptr<Method> make_genetic(std::uint64_t seed) {
  return std::make_unique<Genetic>(seed);
}

}  // namespace fcsa::tuner
