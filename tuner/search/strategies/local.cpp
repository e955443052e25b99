#include "tuner/search/strategies/local.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "tuner/search/neighbourhoods.h"

namespace fcsa::tuner {
namespace {

constexpr std::size_t kRandomStarts = 6;
// Random changes away from the best after a local optimum: few to leave a narrow valley, many to leave a wide
// one.
constexpr std::size_t kFewestChanges = 2, kMostChanges = 6;
constexpr std::size_t kGuessFrom = 512;  // latest results that a guess looks at, so that asking stays cheap

class LocalSearch final : public Method {
 public:
  explicit LocalSearch(std::uint64_t seed) : random_(seed) {}

  std::optional<std::size_t> next(const History& history) override {
    if (history.patience_used() >= 1) return std::nullopt;
    if (!current_ || history.told().size() + history.pending().size() < kRandomStarts)
      return history.random_fresh(random_);
    while (plan_.empty() || !history.fresh(plan_.back())) {
      if (!plan_.empty()) {
        plan_.pop_back();
      } else if (neighbourhood_ < kNeighbourhoods) {
        plan_ = ranked(history, fresh_neighbours(history, *current_, neighbourhood_++));
      } else if (!history.pending().empty() && awaited_) {
        return random_change(history);  // what would lead on is still pending
      } else {
        return restart(history);
      }
    }
    return take();
  }

  void told(const History& history, std::size_t position) override {
    const double log_time = *history.log_time(position);
    if (awaited_ == position) {
      awaited_.reset();
      move_to(position);
    } else if (!current_ || log_time < *history.log_time(*current_)) {
      awaited_.reset();  // better than going on from there
      move_to(position);
    }
  }

  // Neighbours of what the search has moved on from.
  std::vector<std::size_t> unwanted(const History&, std::span<const std::size_t> cancellable) override {
    std::vector<std::size_t> found;
    for (const auto position : cancellable)
      if (std::find(left_behind_.begin(), left_behind_.end(), position) != left_behind_.end())
        found.push_back(position);
    return found;
  }

 private:
  std::size_t take() {
    const std::size_t position = plan_.back();
    plan_.pop_back();
    around_current_.push_back(position);
    return position;
  }

  void move_to(std::size_t position) {
    current_ = position;
    neighbourhood_ = 0;
    plan_.clear();
    left_behind_ = std::exchange(around_current_, {});
  }

  // Best guess last.
  std::vector<std::size_t> ranked(const History& history, std::vector<std::size_t> positions) {
    std::shuffle(positions.begin(), positions.end(), random_);
    const Guess guess(history, kGuessFrom);
    std::vector<std::pair<double, std::size_t>> keyed;
    keyed.reserve(positions.size());
    for (const auto position : positions) keyed.emplace_back(guess.log_time(position), position);
    std::stable_sort(keyed.begin(), keyed.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    for (std::size_t i = 0; i < keyed.size(); ++i) positions[i] = keyed[i].second;
    return positions;
  }

  // The search goes on from there when it is told, however slow it is.
  std::size_t restart(const History& history) {
    const std::size_t start = random_change(history);
    awaited_ = start;
    return start;
  }

  // A fresh configuration a few random changes away from the best; one time in four, or when that one isn't
  // fresh, anywhere, since a valley may be too wide to leave.
  std::size_t random_change(const History& history) {
    if (random_() % 4 == 0 || !history.best()) return history.random_fresh(random_);
    std::size_t position = history.best()->position;
    const std::size_t changes = kFewestChanges + random_() % (kMostChanges - kFewestChanges + 1);
    for (std::size_t i = 0; i < changes; ++i) {
      const auto neighbours = history.space().neighbours(position, true);
      if (neighbours.empty()) break;
      position = neighbours[random_() % neighbours.size()];
    }
    return history.fresh(position) ? position : history.random_fresh(random_);
  }

  std::mt19937_64 random_;
  std::optional<std::size_t> current_, awaited_;
  std::size_t neighbourhood_ = 0;  // the next around current_
  std::vector<std::size_t> plan_;  // of that around current_, the next to try last
  std::vector<std::size_t> around_current_, left_behind_;
};

}  // namespace

std::unique_ptr<Method> make_local_search(std::uint64_t seed) {
  return std::make_unique<LocalSearch>(seed);
}

}  // namespace fcsa::tuner
