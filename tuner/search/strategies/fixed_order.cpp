#include "tuner/search/strategies/fixed_order.h"

#include <random>

namespace fcsa::tuner {
namespace {

class Exhaustive final : public Method {
 public:
  std::optional<std::size_t> next(const History& history) override {
    while (next_ < history.space().size() && !history.fresh(next_)) ++next_;
    if (next_ == history.space().size()) return std::nullopt;
    return next_;
  }

 private:
  std::size_t next_ = 0;
};

class Random final : public Method {
 public:
  explicit Random(std::uint64_t seed) : random_(seed) {}
  std::optional<std::size_t> next(const History& history) override { return history.random_fresh(random_); }

 private:
  std::mt19937_64 random_;
};

}  // namespace

std::unique_ptr<Method> make_exhaustive() {
  return std::make_unique<Exhaustive>();
}

std::unique_ptr<Method> make_random(std::uint64_t seed) {
  return std::make_unique<Random>(seed);
}

}  // namespace fcsa::tuner
