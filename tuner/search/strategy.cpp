#include "tuner/search/strategy.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <random>
#include <stdexcept>

#include "tuner/search/strategies/local.h"

namespace fcsa::tuner {
namespace {

// Tries everything in an order fixed beforehand.
class FixedOrder final : public Strategy {
 public:
  FixedOrder(const Space& space, std::vector<std::size_t> order)
      : space_(space), order_(std::move(order)), told_(space.size(), false) {}

  std::vector<kernels::Configuration> ask(std::size_t count) override {
    while (next_ < order_.size() && told_[order_[next_]]) ++next_;
    std::vector<kernels::Configuration> asked;
    for (std::size_t i = next_; i < order_.size() && asked.size() < count; ++i) {
      if (!told_[order_[i]]) asked.push_back(space_.at(order_[i]));
    }
    return asked;
  }

  void tell(const kernels::Configuration& configuration, std::optional<double>) override {
    if (const auto position = space_.find(configuration)) told_[*position] = true;
  }

 private:
  const Space& space_;
  std::vector<std::size_t> order_;
  std::vector<bool> told_;
  std::size_t next_ = 0;
};

std::vector<std::size_t> lexicographic_order(const Space& space) {
  std::vector<std::size_t> order(space.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  return order;
}

std::vector<std::size_t> random_order(const Space& space, std::uint64_t seed) {
  auto order = lexicographic_order(space);
  std::mt19937_64 random(seed);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  return order;
}

}  // namespace

void check_strategy_name(std::string_view name) {
  static constexpr std::array<std::string_view, 4> kNames{"auto", "exhaustive", "local", "random"};
  if (std::find(kNames.begin(), kNames.end(), name) != kNames.end()) return;
  throw std::invalid_argument("unknown strategy '" + std::string(name) +
                              "'; use one of: auto, exhaustive, local, random");
}

std::unique_ptr<Strategy> make_strategy(std::string_view name, const Space& space, std::uint64_t seed) {
  check_strategy_name(name);
  if (name == "exhaustive") return std::make_unique<FixedOrder>(space, lexicographic_order(space));
  if (name == "random") return std::make_unique<FixedOrder>(space, random_order(space, seed));
  return make_local_search(space, seed);
}

}  // namespace fcsa::tuner
