#include "tuner/search/strategy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>

#include "tests/tuner/fake_family.h"

namespace fcsa::tuner {
namespace {

using kernels::Configuration;
using testing::parameter;
using testing::ToyFamily;
using Time = std::function<std::optional<double>(const Configuration&)>;

ToyFamily small_family() {
  return {"toy", {parameter("a", {1, 2, 3, 4}, 1), parameter("b", {1, 2, 4}, 1), parameter("c", {0, 1}, 0)}};
}

// Rugged on purpose: the best value of each parameter depends on another one, there are steep local optima,
// and a tenth of the configurations fails. The optimum is 1 ms.
ToyFamily rugged_family() {
  std::vector<kernels::Parameter> parameters;
  for (const char* name : {"a", "b", "c", "d"})
    parameters.push_back(parameter(name, {1, 2, 4, 8, 16, 32}, 1));
  parameters.push_back(parameter("e", {0, 1}, 0));
  parameters.push_back(parameter("f", {1, 2, 3}, 1));
  ToyFamily family("toy", parameters);
  family.rules = {{"tile", [](const auto&, const Configuration& c, const auto&) {
                     return c.at("a") * c.at("b") <= 256;
                   }}};
  return family;
}

std::optional<double> rugged_time(const Configuration& c) {
  const auto log = [&](const char* name) { return std::log2(c.at(name)); };
  if ((c.at("a") * 7 + c.at("b") * 3 + c.at("c") + c.at("f")) % 10 == 0) return std::nullopt;
  double time = 1 + 0.2 * std::abs(log("a") - 4) + 0.15 * std::abs(log("b") - log("c")) +
                0.1 * std::abs(log("c") - 3) + 0.05 * std::abs(log("d") - 2);
  if (c.at("e") == 1) time *= c.at("f") == 3 ? 0.8 : 1.3;
  if ((c.at("c") + c.at("d")) % 3 == 0) time *= 1.25;
  return time;
}

// Asks and tells one at a time until the strategy ends or `limit` were told.
std::vector<Configuration> run(Strategy& strategy, const Time& time, std::size_t limit,
                               std::size_t ahead = 1) {
  std::vector<Configuration> told;
  while (told.size() < limit) {
    const auto asked = strategy.ask(ahead);
    if (asked.empty()) break;
    told.push_back(asked.front());
    strategy.tell(asked.front(), time(asked.front()));
  }
  return told;
}

std::set<std::string> as_set(const Space& space, const std::vector<Configuration>& configurations) {
  std::set<std::string> texts;
  for (const auto& c : configurations) texts.insert(kernels::to_text(c, space.parameters()));
  return texts;
}

class EveryStrategy : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(, EveryStrategy, ::testing::Values("exhaustive", "random", "local", "auto"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(EveryStrategy, TriesASmallSpaceCompletelyAndNothingTwice) {
  const auto family = small_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy(GetParam(), space, 1);
  const auto told = run(
      *strategy, [](const auto& c) { return 1.0 + c.at("a"); }, 1000);
  EXPECT_EQ(told.size(), space.size());
  EXPECT_EQ(as_set(space, told).size(), space.size());
}

TEST_P(EveryStrategy, AsksOnlyForValidConfigurations) {
  const auto family = rugged_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy(GetParam(), space, 3);
  for (const auto& c : run(*strategy, rugged_time, 300)) ASSERT_TRUE(space.contains(c));
}

TEST_P(EveryStrategy, ContinuesWhenEverythingFails) {
  const auto family = small_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy(GetParam(), space, 1);
  EXPECT_EQ(run(
                *strategy, [](const auto&) { return std::nullopt; }, 1000)
                .size(),
            space.size());
}

TEST_P(EveryStrategy, IsDeterminedByItsSeed) {
  const auto family = rugged_family();
  const Space space(family, {}, {});
  const auto first = make_strategy(GetParam(), space, 5), second = make_strategy(GetParam(), space, 5);
  EXPECT_EQ(run(*first, rugged_time, 150), run(*second, rugged_time, 150));
}

TEST_P(EveryStrategy, TakesTheSamePathHoweverFarAheadItIsAsked) {
  const auto family = rugged_family();
  const Space space(family, {}, {});
  const auto first = make_strategy(GetParam(), space, 5), second = make_strategy(GetParam(), space, 5);
  EXPECT_EQ(run(*first, rugged_time, 150), run(*second, rugged_time, 150, 32));
}

TEST_P(EveryStrategy, AsksForDistinctUntoldConfigurationsAndTheSameAgainWithoutATell) {
  const auto family = rugged_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy(GetParam(), space, 2);
  const auto told = as_set(space, run(*strategy, rugged_time, 40));
  const auto asked = strategy->ask(16);
  EXPECT_EQ(strategy->ask(16), asked);
  EXPECT_EQ(asked.size(), 16u);
  const auto texts = as_set(space, asked);
  EXPECT_EQ(texts.size(), asked.size());
  for (const auto& text : texts) EXPECT_FALSE(told.contains(text)) << text;
}

TEST_P(EveryStrategy, NeverAsksForWhatItWasToldByOthers) {
  const auto family = small_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy(GetParam(), space, 1);
  const auto earlier = family.configuration("toy.forward{a=3,b=2}");
  strategy->tell(earlier, 0.5);
  const auto told = run(
      *strategy, [](const auto&) { return 1.0; }, 1000);
  EXPECT_EQ(told.size(), space.size() - 1);
  EXPECT_EQ(std::count(told.begin(), told.end(), earlier), 0);
}

TEST_P(EveryStrategy, TakesAnswersInAnyOrder) {
  const auto family = small_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy(GetParam(), space, 1);
  std::set<std::string> told;
  for (auto asked = strategy->ask(5); !asked.empty(); asked = strategy->ask(5)) {
    for (auto c = asked.rbegin(); c != asked.rend(); ++c) {
      strategy->tell(*c, 1.0 + c->at("b"));
      EXPECT_TRUE(told.insert(kernels::to_text(*c, space.parameters())).second);
    }
  }
  EXPECT_EQ(told.size(), space.size());
}

TEST_P(EveryStrategy, IgnoresConfigurationsOutsideTheSpace) {
  const auto family = small_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy(GetParam(), space, 1);
  strategy->tell(Configuration{"toy.forward", {{"a", 99}, {"b", 1}, {"c", 0}}}, 0.001);
  EXPECT_EQ(run(
                *strategy, [](const auto&) { return 1.0; }, 1000)
                .size(),
            space.size());
}

TEST_P(EveryStrategy, HasNothingToAskOfAnEmptySpace) {
  auto family = small_family();
  family.rules = {{"nothing", [](const auto&, const auto&, const auto&) { return false; }}};
  const Space space(family, {}, {});
  EXPECT_TRUE(make_strategy(GetParam(), space, 1)->ask(8).empty());
}

TEST(Strategy, AnUnknownNameIsRefusedWithTheKnownOnes) {
  const auto family = small_family();
  const Space space(family, {}, {});
  try {
    make_strategy("annealing", space, 1);
    FAIL() << "accepted";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("local"), std::string::npos);
  }
}

TEST(Exhaustive, GoesInLexicographicOrder) {
  const auto family = small_family();
  const Space space(family, {}, {});
  EXPECT_EQ(make_strategy("exhaustive", space, 1)->ask(100), space.valid());
}

TEST(Random, OrdersDifferentSeedsDifferently) {
  const auto family = small_family();
  const Space space(family, {}, {});
  EXPECT_NE(make_strategy("random", space, 1)->ask(100), make_strategy("random", space, 2)->ask(100));
}

double best_of(const Space& space, const std::vector<Configuration>& configurations) {
  double best = std::numeric_limits<double>::infinity();
  for (const auto& c : configurations) best = std::min(best, rugged_time(c).value_or(best));
  EXPECT_FALSE(space.valid().empty());
  return best;
}

TEST(Local, Reaches95PercentOfARuggedOptimumInFewEvaluationsWithAnySeed) {
  const auto family = rugged_family();
  const Space space(family, {}, {});
  const double optimum = best_of(space, space.valid());
  for (std::uint64_t seed = 1; seed <= 15; ++seed) {
    const auto strategy = make_strategy("local", space, seed);
    EXPECT_LE(best_of(space, run(*strategy, rugged_time, 300)), optimum / 0.95) << "seed " << seed;
  }
}

TEST(Local, StartsFromWhatItWasTold) {
  const auto family = rugged_family();
  const Space space(family, {}, {});
  const auto good = family.configuration("toy.forward{a=16,b=8,c=8,d=4,e=1,f=3}");
  const auto strategy = make_strategy("local", space, 1);
  strategy->tell(good, 1.0);
  for (const char* text :
       {"toy.forward{}", "toy.forward{a=2}", "toy.forward{b=2}", "toy.forward{c=2}", "toy.forward{d=2}"}) {
    strategy->tell(family.configuration(text), 9.0);
  }
  const auto next = space.neighbours(good, true);
  EXPECT_NE(std::find(next.begin(), next.end(), strategy->ask(1).front()), next.end());
}

TEST(Local, EndsWhenNothingImprovesForLong) {
  std::vector<kernels::Parameter> parameters;
  for (const char* name : {"a", "b", "c", "d"})
    parameters.push_back(parameter(name, {1, 2, 3, 4, 5, 6, 7, 8}, 1));
  const ToyFamily family("toy", parameters);
  const Space space(family, {}, {});
  const auto strategy = make_strategy("local", space, 1);
  const auto told = run(
      *strategy, [](const auto&) { return 1.0; }, space.size());
  EXPECT_GE(told.size(), 300u);
  EXPECT_LT(told.size(), space.size() / 4);
}

}  // namespace
}  // namespace fcsa::tuner
