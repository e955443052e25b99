#include "tuner/search/strategies/surrogate.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <random>

#include "tuner/search/gaussian_process.h"
#include "tuner/search/neighbourhoods.h"

namespace fcsa::tuner {
namespace {
constexpr std::size_t kBeforeModel = 10;  // random ones, before there is a model
constexpr double kRefit = 1.2;            // when so many times as many were told as at the last fit
constexpr std::size_t kMostPoints = 512;  // of the model, when it is made anew
constexpr std::size_t kMostFitted = 200;  // that its weights are fitted to
// A space up to this size is predicted whole, of a larger one a part: the surroundings of the fastest, and
// random ones.
constexpr std::size_t kWhole = 12'000, kPart = 4096;
constexpr std::size_t kSurrounded = 8;

// Normal distribution, per unit of deviation: what a value that is expected `better` deviations below the
// best improves it by.
Eigen::ArrayXf expected_improvement(const Eigen::ArrayXf& better) {
  const Eigen::ArrayXf density =
      (-better.square() / 2).exp() * static_cast<float>(std::numbers::inv_sqrtpi / std::numbers::sqrt2);
  const Eigen::ArrayXf below =
      better.unaryExpr([](float x) { return 0.5F * std::erfc(-x / std::numbers::sqrt2_v<float>); });
  return better * below + density;
}

class Surrogate final : public Method {
 public:
  Surrogate(const Space& space, std::uint64_t seed)
      : random_(seed), features_(space), process_(features_.axes()) {}

  std::optional<std::size_t> next(const History& history) override {
    const std::size_t known = history.told().size() + history.pending().size();
    if (known < kBeforeModel || history.told().size() < 3 || !history.best() || features_.axes().empty())
      return history.random_fresh(random_);
    if (history.told().size() >= refit_at_) {
      fit(history);
      choose_columns(history);
    } else if (columns_.size() < history.space().size() && history.improved_after() > columns_chosen_at_) {
      choose_columns(history);
    }
    update_rows(history);
    return best_column(history);
  }

 private:
  // Times of `points`, relative to the best; the slow tail is compressed, since how slow a slow one is says
  // little of the fast ones. Failures are as slow as the slowest.
  static Eigen::VectorXd values(const History& history, const std::vector<std::size_t>& points) {
    std::vector<double> sorted;
    for (const auto& told : history.told())
      if (!told.failed()) sorted.push_back(told.log_time);
    std::sort(sorted.begin(), sorted.end());
    const double best = sorted.front(), scale = std::max((sorted[sorted.size() / 2] - best), 1e-3);
    Eigen::VectorXd values(static_cast<Eigen::Index>(points.size()));
    for (std::size_t i = 0; i < points.size(); ++i) {
      const double log_time = std::min(*history.log_time(points[i]), sorted.back());
      values[static_cast<Eigen::Index>(i)] = std::log1p((log_time - best) / scale);
    }
    return values;
  }

  // At most `most` of what was told, in the order told: half of them the fastest, the others random ones.
  std::vector<std::size_t> chosen(const History& history, std::size_t most) {
    std::vector<std::size_t> order(history.told().size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (order.size() > most) {
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return history.told()[a].log_time < history.told()[b].log_time;
      });
      for (std::size_t i = most / 2; i < most; ++i)
        std::swap(order[i], order[i + random_() % (order.size() - i)]);
      order.resize(most);
      std::sort(order.begin(), order.end());
    }
    for (auto& index : order) index = history.told()[index].position;
    return order;
  }

  std::vector<Features::Digits> features(const std::vector<std::size_t>& positions) const {
    std::vector<Features::Digits> list;
    list.reserve(positions.size());
    for (const auto position : positions) list.push_back(features_.of(position));
    return list;
  }

  void fit(const History& history) {
    const std::size_t count = history.told().size();
    refit_at_ = std::max(count + 1, static_cast<std::size_t>(static_cast<double>(count) * kRefit));
    const auto points = chosen(history, kMostFitted);
    process_.fit(features(points), values(history, points));
    base_ = chosen(history, kMostPoints);
    base_of_ = count;
    rows_.clear();
  }

  void choose_columns(const History& history) {
    const Space& space = history.space();
    columns_chosen_at_ = history.told().size();
    if (space.size() <= kWhole) {
      columns_.resize(space.size());
      std::iota(columns_.begin(), columns_.end(), std::size_t{0});
    } else {
      columns_ = surroundings(history);
      while (columns_.size() < kPart) columns_.push_back(random_() % space.size());
      std::sort(columns_.begin(), columns_.end());
      columns_.erase(std::unique(columns_.begin(), columns_.end()), columns_.end());
    }
    process_.set_columns(features(columns_));
    rows_.clear();
  }

  std::vector<std::size_t> surroundings(const History& history) const {
    auto told = history.told();
    const auto last = told.begin() + static_cast<std::ptrdiff_t>(std::min(kSurrounded, told.size()));
    std::partial_sort(told.begin(), last, told.end(),
                      [](const auto& a, const auto& b) { return a.log_time < b.log_time; });
    std::vector<std::size_t> found;
    for (auto fast = told.begin(); fast != last; ++fast)
      for (const std::size_t neighbourhood : {1, 2})
        for (const auto position : neighbours(history.space(), fast->position, neighbourhood))
          if (found.size() < kPart / 2 || neighbourhood == 1) found.push_back(position);
    return found;
  }

  // What was told, then what is pending. As long as tells come in the order asked, rows are only added.
  void update_rows(const History& history) {
    auto wanted = base_;
    for (std::size_t i = base_of_; i < history.told().size(); ++i)
      wanted.push_back(history.told()[i].position);
    told_rows_ = wanted.size();
    wanted.insert(wanted.end(), history.pending().begin(), history.pending().end());
    const auto same = std::mismatch(rows_.begin(), rows_.end(), wanted.begin(), wanted.end()).first;
    process_.drop_rows_after(static_cast<std::size_t>(same - rows_.begin()));
    for (std::size_t i = process_.rows(); i < wanted.size(); ++i) process_.add_row(features_.of(wanted[i]));
    rows_ = std::move(wanted);
  }

  std::size_t best_column(const History& history) {
    const std::vector<std::size_t> told(rows_.begin(),
                                        rows_.begin() + static_cast<std::ptrdiff_t>(told_rows_));
    const auto prediction = process_.predict(values(history, told));
    // The best has the value 0.
    const Eigen::ArrayXf improvement =
        prediction.deviation * expected_improvement(-prediction.mean / prediction.deviation);
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (best && improvement[static_cast<Eigen::Index>(i)] <= improvement[static_cast<Eigen::Index>(*best)])
        continue;
      if (history.fresh(columns_[i])) best = i;
    }
    return best ? columns_[*best] : history.random_fresh(random_);
  }

  std::mt19937_64 random_;
  Features features_;
  GaussianProcess process_;
  std::size_t refit_at_ = 0, columns_chosen_at_ = 0;
  std::vector<std::size_t> columns_;  // positions that are predicted
  std::vector<std::size_t> base_;     // told before base_of_ were, that the model keeps
  std::size_t base_of_ = 0;
  std::vector<std::size_t> rows_;  // points of the model
  std::size_t told_rows_ = 0;      // of rows_, the first are told and the others pending
};

}  // namespace

std::unique_ptr<Method> make_surrogate(const Space& space, std::uint64_t seed) {
  return std::make_unique<Surrogate>(space, seed);
}

}  // namespace fcsa::tuner
