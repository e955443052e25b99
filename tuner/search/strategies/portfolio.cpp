#include "tuner/search/strategies/portfolio.h"

#include "tuner/search/neighbourhoods.h"
#include "tuner/search/strategies/surrogate.h"

namespace fcsa::tuner {
namespace {

// Half way to the end of its patience the winner is polished: the model may be sure of what it never saw.
class Portfolio final : public Method {
 public:
  Portfolio(const Space& space, std::uint64_t seed) : model_(make_surrogate(space, seed)) {}

  std::optional<std::size_t> next(const History& history) override {
    if (history.patience_used() >= 0.5) {
      const auto steps = fresh_neighbours(history, history.best()->position, 0);
      if (!steps.empty()) return steps.front();
    }
    if (history.patience_used() >= 1) return std::nullopt;
    return model_->next(history);
  }

  void told(const History& history, std::size_t position) override { model_->told(history, position); }

 private:
  std::unique_ptr<Method> model_;
};

}  // namespace

std::unique_ptr<Method> make_portfolio(const Space& space, std::uint64_t seed) {
  return std::make_unique<Portfolio>(space, seed);
}

}  // namespace fcsa::tuner
