// The strategies there are, by name.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <stdexcept>

#include "tuner/search/strategies/annealing.h"
#include "tuner/search/strategies/differential_evolution.h"
#include "tuner/search/strategies/fixed_order.h"
#include "tuner/search/strategies/genetic.h"
#include "tuner/search/strategies/local.h"
#include "tuner/search/strategies/portfolio.h"
#include "tuner/search/strategies/surrogate.h"
#include "tuner/search/strategy.h"

namespace fcsa::tuner {

std::vector<std::string_view> strategy_names() {
  return {"auto", "surrogate", "local", "genetic", "annealing", "evolution", "random", "exhaustive"};
}

void check_strategy_name(std::string_view name) {
  const auto names = strategy_names();
  if (std::find(names.begin(), names.end(), name) == names.end())
    throw std::invalid_argument(
        fmt::format("unknown strategy '{}'; use one of: {}", name, fmt::join(names, ", ")));
}

std::unique_ptr<Strategy> make_strategy(std::string_view name, const Space& space, std::uint64_t seed) {
  check_strategy_name(name);
  const auto method = [&]() -> std::unique_ptr<Method> {
    if (name == "surrogate") return make_surrogate(space, seed);
    if (name == "local") return make_local_search(seed);
    if (name == "genetic") return make_genetic(seed);
    if (name == "annealing") return make_annealing(seed);
    if (name == "evolution") return make_differential_evolution(seed);
    if (name == "random") return make_random(seed);
    if (name == "exhaustive") return make_exhaustive();
    return make_portfolio(space, seed);
  };
  return std::make_unique<Strategy>(space, method());
}

}  // namespace fcsa::tuner
