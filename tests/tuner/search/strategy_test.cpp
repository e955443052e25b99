#include "tuner/search/strategy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <limits>
#include <set>
#include <stdexcept>

#include "tests/tuner/fake_family.h"
#include "tuner/search/pending_queue.h"

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

// Keeps `pending` of them pending and tells in the order asked, until the strategy ends or `limit` were told.
std::vector<Configuration> run(Strategy& strategy, const Time& time, std::size_t limit,
                               std::size_t pending = 1) {
  const Space& space = strategy.history().space();
  std::vector<Configuration> told;
  std::deque<std::size_t> waiting;
  while (told.size() < limit) {
    for (const auto position : strategy.ask(pending - waiting.size())) waiting.push_back(position);
    if (waiting.empty()) break;
    told.push_back(space.at(waiting.front()));
    strategy.tell(waiting.front(), time(told.back()));
    waiting.pop_front();
  }
  return told;
}

std::set<std::string> as_set(const Space& space, const std::vector<Configuration>& configurations) {
  std::set<std::string> texts;
  for (const auto& c : configurations) texts.insert(kernels::to_text(c, space.parameters()));
  return texts;
}

std::vector<std::string> names() {
  const auto views = strategy_names();
  return {views.begin(), views.end()};
}

class EveryStrategy : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(, EveryStrategy, ::testing::ValuesIn(names()),
                         [](const auto& info) { return info.param; });

TEST_P(EveryStrategy, TriesASmallSpaceCompletelyAndNothingTwice) {
  const auto family = small_family();
  const Space space(family, {}, {});
  for (const std::size_t pending : {1, 7, 100}) {
    const auto strategy = make_strategy(GetParam(), space, 1);
    const auto told = run(
        *strategy, [](const auto& c) { return 1.0 + c.at("a"); }, 1000, pending);
    EXPECT_EQ(told.size(), space.size());
    EXPECT_EQ(as_set(space, told).size(), space.size());
    EXPECT_EQ(strategy->finished(), "every configuration was tried");
  }
}

TEST_P(EveryStrategy, ContinuesWhenEverythingFails) {
  const auto family = small_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy(GetParam(), space, 1);
  EXPECT_EQ(run(
                *strategy, [](const auto&) { return std::nullopt; }, 1000, 3)
                .size(),
            space.size());
}

TEST_P(EveryStrategy, TakesTheSamePathWithTheSameSeedAndAnswers) {
  const auto family = rugged_family();
  const Space space(family, {}, {});
  for (const std::size_t pending : {1, 8}) {
    const auto first = make_strategy(GetParam(), space, 5), second = make_strategy(GetParam(), space, 5);
    EXPECT_EQ(run(*first, rugged_time, 120, pending), run(*second, rugged_time, 120, pending));
  }
}

TEST_P(EveryStrategy, AsksForNothingThatIsToldOrPending) {
  const auto family = rugged_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy(GetParam(), space, 2);
  for (const auto& c : run(*strategy, rugged_time, 40)) ASSERT_TRUE(space.contains(c));
  std::set<std::size_t> seen;
  for (const auto& told : strategy->history().told()) seen.insert(told.position);
  for (int i = 0; i < 3; ++i) {
    const auto asked = strategy->ask(16);
    EXPECT_EQ(asked.size(), 16u);
    for (const auto position : asked) EXPECT_TRUE(seen.insert(position).second) << position;
  }
  EXPECT_EQ(strategy->finished(), "");
}

TEST_P(EveryStrategy, AskedForMoreThanThereIsGivesWhatThereIsAndSaysSo) {
  const auto family = small_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy(GetParam(), space, 1);
  EXPECT_EQ(strategy->ask(1000).size(), space.size());
  EXPECT_EQ(strategy->finished(), "every configuration was tried");
  EXPECT_TRUE(strategy->ask(1).empty());
}

TEST_P(EveryStrategy, NeverAsksForWhatItWasToldByOthers) {
  const auto family = small_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy(GetParam(), space, 1);
  const auto earlier = family.configuration("toy.forward{a=3,b=2}");
  strategy->tell(*space.find(earlier), 0.5);
  const auto told = run(
      *strategy, [](const auto&) { return 1.0; }, 1000);
  EXPECT_EQ(told.size(), space.size() - 1);
  EXPECT_EQ(std::count(told.begin(), told.end(), earlier), 0);
}

TEST_P(EveryStrategy, TakesAnswersInAnyOrder) {
  const auto family = small_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy(GetParam(), space, 1);
  std::set<std::size_t> told;
  for (auto asked = strategy->ask(5); !asked.empty(); asked = strategy->ask(5)) {
    for (auto position = asked.rbegin(); position != asked.rend(); ++position) {
      strategy->tell(*position, 1.0 + space.at(*position).at("b"));
      EXPECT_TRUE(told.insert(*position).second);
    }
  }
  EXPECT_EQ(told.size(), space.size());
}

TEST_P(EveryStrategy, HasNothingToAskOfAnEmptySpace) {
  auto family = small_family();
  family.rules = {{"nothing", [](const auto&, const auto&, const auto&) { return false; }}};
  const Space space(family, {}, {});
  EXPECT_TRUE(make_strategy(GetParam(), space, 1)->ask(8).empty());
}

TEST_P(EveryStrategy, MayAskAgainForWhatWasCancelled) {
  const auto family = small_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy(GetParam(), space, 1);
  std::set<std::size_t> told;
  PendingQueue queue(*strategy, {.pending = 6});
  queue.fill();
  for (auto waiting = queue.unmeasured(); !waiting.empty(); waiting = queue.unmeasured()) {
    EXPECT_TRUE(told.insert(waiting.front()).second);
    queue.measured(waiting.front(), 1.0 + static_cast<double>(waiting.front() % 7));
  }
  EXPECT_EQ(told.size(), space.size());
}

TEST(Strategy, RefusesToCancelWhatIsNotPendingAndToHearOfWhatIsNotInTheSpace) {
  const auto family = small_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy("local", space, 1);
  const std::size_t position = 3;
  EXPECT_THROW(strategy->cancel({&position, 1}), std::invalid_argument);
  EXPECT_THROW(strategy->tell(space.size(), 1.0), std::out_of_range);
}

TEST(Strategy, AnUnknownNameIsRefusedWithTheKnownOnes) {
  const auto family = small_family();
  const Space space(family, {}, {});
  try {
    make_strategy("magic", space, 1);
    FAIL() << "accepted";
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(
        error.what(),
        "unknown strategy 'magic'; use one of: auto, surrogate, local, genetic, annealing, evolution, "
        "random, exhaustive");
  }
}

TEST(Exhaustive, GoesInLexicographicOrder) {
  const auto family = small_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy("exhaustive", space, 1);
  EXPECT_EQ(run(
                *strategy, [](const auto&) { return 1.0; }, 100),
            space.valid());
}

TEST(Random, OrdersDifferentSeedsDifferently) {
  const auto family = small_family();
  const Space space(family, {}, {});
  EXPECT_NE(make_strategy("random", space, 1)->ask(100), make_strategy("random", space, 2)->ask(100));
}

// Of the seeds 1 to 9 the median number of evaluations until one is within 5% of the optimum.
std::size_t median_evaluations(const std::string& name, std::size_t pending) {
  const auto family = rugged_family();
  const Space space(family, {}, {});
  double optimum = std::numeric_limits<double>::infinity();
  for (const auto& c : space.valid()) optimum = std::min(optimum, rugged_time(c).value_or(optimum));
  std::vector<std::size_t> counts;
  for (std::uint64_t seed = 1; seed <= 9; ++seed) {
    const auto strategy = make_strategy(name, space, seed);
    const auto told = run(*strategy, rugged_time, 800, pending);
    const auto found = std::find_if(told.begin(), told.end(), [&](const auto& c) {
      return rugged_time(c).value_or(2 * optimum) <= 1.05 * optimum;
    });
    counts.push_back(static_cast<std::size_t>(found - told.begin()) + 1);
  }
  std::nth_element(counts.begin(), counts.begin() + 4, counts.end());
  return counts[4];
}

TEST(Search, EveryMethodFindsARuggedOptimumInFewerEvaluationsThanChance) {
  const std::size_t random = median_evaluations("random", 1);
  for (const char* name : {"surrogate", "local", "genetic", "annealing", "evolution"})
    EXPECT_LT(median_evaluations(name, 1), random) << name;
}

TEST(Search, AutoFindsARuggedOptimumEarlyAndWithManyPendingNotMuchLater) {
  EXPECT_LE(median_evaluations("auto", 1), 120u);
  EXPECT_LE(median_evaluations("auto", 16), 160u);
}

TEST(Local, StartsFromWhatItWasTold) {
  const auto family = rugged_family();
  const Space space(family, {}, {});
  const auto good = family.configuration("toy.forward{a=16,b=8,c=8,d=4,e=1,f=3}");
  const auto strategy = make_strategy("local", space, 1);
  strategy->tell(*space.find(good), 1.0);
  for (const char* text :
       {"toy.forward{}", "toy.forward{a=2}", "toy.forward{b=2}", "toy.forward{c=2}", "toy.forward{d=2}"}) {
    strategy->tell(*space.find(family.configuration(text)), 9.0);
  }
  const auto next = space.neighbours(*space.find(good), false);
  EXPECT_NE(std::find(next.begin(), next.end(), strategy->ask(1).front()), next.end());
}

TEST(Local, CancelsTheNeighboursOfWhatItHasLeft) {
  const auto family = rugged_family();
  const Space space(family, {}, {});
  const auto strategy = make_strategy("local", space, 1);
  for (std::size_t i = 0; i < 6; ++i) strategy->tell(i * 100, 5.0 + static_cast<double>(i));
  const auto asked = strategy->ask(8);
  strategy->tell(asked[0], 1.0);  // much better: the rest surround what is no longer current
  const std::vector<std::size_t> rest(asked.begin() + 1, asked.end());
  EXPECT_EQ(strategy->cancel(rest), rest);
  EXPECT_TRUE(strategy->history().pending().empty());
}

TEST(Search, EndsWhenNothingImprovesForLong) {
  std::vector<kernels::Parameter> parameters;
  for (const char* name : {"a", "b", "c", "d"})
    parameters.push_back(parameter(name, {1, 2, 3, 4, 5, 6, 7, 8}, 1));
  const ToyFamily family("toy", parameters);
  const Space space(family, {}, {});
  for (const char* name : {"local", "auto"}) {
    const auto strategy = make_strategy(name, space, 1);
    const auto told = run(
        *strategy, [](const auto&) { return 1.0; }, space.size());
    EXPECT_GE(told.size(), 300u);
    EXPECT_LT(told.size(), space.size() / 4);
    EXPECT_EQ(strategy->finished(), "more search isn't worth its time");
  }
}

}  // namespace
}  // namespace fcsa::tuner
