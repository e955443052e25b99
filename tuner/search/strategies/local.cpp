#include "tuner/search/strategies/local.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <unordered_set>

namespace fcsa::tuner {
namespace {

constexpr std::size_t kRandomStarts = 6;
// Random changes away from the best after a local optimum: few to leave a narrow valley, many to leave a wide
// one.
constexpr std::size_t kFewestChanges = 2, kMostChanges = 6;
constexpr std::size_t kGuessFrom = 512;  // latest results that a guess looks at, so that asking stays cheap
constexpr double kNoteworthy = 0.001;    // a smaller relative improvement doesn't count as progress
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
constexpr double kFailed = std::numeric_limits<double>::infinity();

class LocalSearch final : public Strategy {
 public:
  LocalSearch(const Space& space, std::uint64_t seed)
      : space_(space), random_(seed), log_times_(space.size(), kUnknown) {}

  std::vector<kernels::Configuration> ask(std::size_t count) override {
    if (stale_) make_plan();
    stale_ = false;
    std::vector<kernels::Configuration> asked;
    for (std::size_t i = 0; i < plan_.size() && i < count; ++i) asked.push_back(space_.at(plan_[i]));
    return asked;
  }

  void tell(const kernels::Configuration& configuration, std::optional<double> time_ms) override {
    const auto position = space_.find(configuration);
    if (!position) return;
    const double log_time = time_ms ? std::log(*time_ms) : kFailed;
    if (!is_told(*position)) told_.push_back({*position, space_.digits(*position)});
    log_times_[*position] = log_time;
    if (!current_ || log_time < log_times_[*current_]) current_ = *position;
    if (!best_ || log_time < log_times_[*best_]) {
      if (!best_ || !(log_times_[*best_] - log_time < kNoteworthy)) best_found_after_ = told_.size();
      best_ = *position;
    }
    stale_ = true;
  }

 private:
  struct Told {
    std::size_t position;
    std::vector<int> digits;
  };

  bool is_told(std::size_t position) const { return !std::isnan(log_times_[position]); }
  std::size_t draw(std::size_t below) { return static_cast<std::size_t>(random_() % below); }

  bool finished() const {
    if (told_.size() >= space_.size()) return true;
    return best_ && log_times_[*best_] != kFailed &&
           told_.size() - best_found_after_ >= std::max(kPatience, 3 * best_found_after_);
  }

  // What to try in order if nothing improves: the neighbours of the current configuration, then the next
  // start and its neighbours. The next start is drawn ahead, so that it can be compiled ahead.
  void make_plan() {
    plan_.clear();
    if (finished()) return;
    if (told_.size() < kRandomStarts) {
      plan_random_starts();
      return;
    }
    plan_ = ranked_neighbours(*current_);
    if (plan_.empty()) {
      if (!next_start_ || is_told(*next_start_)) next_start_ = draw_start();
      plan_.push_back(*next_start_);
      current_.reset();
    } else if (!next_start_ || is_told(*next_start_)) {
      next_start_ = draw_start();
    }
    append_to_plan({*next_start_});
    append_to_plan(ranked_neighbours(*next_start_));
  }

  void plan_random_starts() {
    while (starts_.size() < std::min(kRandomStarts, space_.size())) {
      const std::size_t start = draw(space_.size());
      if (std::find(starts_.begin(), starts_.end(), start) == starts_.end()) starts_.push_back(start);
    }
    for (const auto start : starts_) {
      if (!is_told(start)) plan_.push_back(start);
    }
  }

  void append_to_plan(const std::vector<std::size_t>& positions) {
    for (const auto position : positions) {
      if (std::find(plan_.begin(), plan_.end(), position) == plan_.end()) plan_.push_back(position);
    }
  }

  std::vector<std::size_t> ranked_neighbours(std::size_t position) {
    std::vector<std::size_t> untold;
    for (const auto neighbour : space_.neighbours(position, true)) {
      if (!is_told(neighbour)) untold.push_back(neighbour);
    }
    for (std::size_t i = untold.size(); i > 1; --i) std::swap(untold[i - 1], untold[draw(i)]);
    std::vector<std::pair<double, std::size_t>> ranked;
    ranked.reserve(untold.size());
    const double slowest = slowest_log_time();
    for (const auto neighbour : untold) ranked.emplace_back(guess(neighbour, slowest), neighbour);
    std::stable_sort(ranked.begin(), ranked.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (std::size_t i = 0; i < ranked.size(); ++i) untold[i] = ranked[i].second;
    return untold;
  }

  // An untold configuration a few random changes away from the best; one time in four, or when that one is
  // told, anywhere, since a valley may be too wide to leave.
  std::size_t draw_start() {
    if (draw(4) == 0) return random_untold();
    std::size_t position = *best_;
    const std::size_t changes = kFewestChanges + draw(kMostChanges - kFewestChanges + 1);
    for (std::size_t i = 0; i < changes; ++i) {
      const auto neighbours = space_.neighbours(position, true);
      if (neighbours.empty()) break;
      position = neighbours[draw(neighbours.size())];
    }
    return is_told(position) ? random_untold() : position;
  }

  // Precondition: there is one.
  std::size_t random_untold() {
    const std::size_t first = draw(space_.size());
    std::size_t position = first;
    while (is_told(position)) position = (position + 1) % space_.size();
    return position;
  }

  double slowest_log_time() const {
    double slowest = -kFailed;
    for (const auto& told : told_) {
      const double log_time = log_times_[told.position];
      if (log_time != kFailed) slowest = std::max(slowest, log_time);
    }
    return std::isfinite(slowest) ? slowest : 0;
  }

  // Failures count as the slowest success.
  double guess(std::size_t position, double slowest) const {
    const auto digits = space_.digits(position);
    double sum = 0, weights = 0;
    const std::size_t first = told_.size() > kGuessFrom ? told_.size() - kGuessFrom : 0;
    for (std::size_t i = first; i < told_.size(); ++i) {
      const double d = distance(digits, told_[i].digits);
      const double weight = 1 / (d * d * d * d);
      sum += weight * std::min(log_times_[told_[i].position], slowest);
      weights += weight;
    }
    return sum / weights;
  }

  // Each parameter that differs adds 0.5 to 1, by how far apart its values are in its list.
  double distance(const std::vector<int>& a, const std::vector<int>& b) const {
    double sum = 1e-3;
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (a[i] == b[i]) continue;
      const auto range = static_cast<double>(space_.parameters()[i].values.size() - 1);
      sum += 0.5 + 0.5 * std::abs(a[i] - b[i]) / range;
    }
    return sum;
  }

  const Space& space_;
  std::mt19937_64 random_;
  std::vector<double> log_times_;  // by position
  std::vector<Told> told_;         // in the order told
  std::vector<std::size_t> starts_;
  std::vector<std::size_t> plan_;
  bool stale_ = true;
  std::optional<std::size_t> current_, best_, next_start_;
  std::size_t best_found_after_ = 0;
};

}  // namespace

std::unique_ptr<Strategy> make_local_search(const Space& space, std::uint64_t seed) {
  return std::make_unique<LocalSearch>(space, seed);
}

}  // namespace fcsa::tuner
