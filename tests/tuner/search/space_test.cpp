#include "tuner/search/space.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <stdexcept>

#include "kernels/families.h"
#include "tests/tuner/fake_family.h"

namespace fcsa::tuner {
namespace {

using kernels::Configuration;
using testing::parameter;
using testing::ToyFamily;

ToyFamily two_by_three() {
  return {"toy", {parameter("a", {1, 2}, 1), parameter("b", {10, 20, 40}, 10)}};
}

kernels::Constraint product_below(int limit) {
  return {"product too large", [limit](const auto&, const kernels::Configuration& c, const auto&) {
            return c.at("a") * c.at("b") < limit;
          }};
}

std::vector<std::string> texts(const Space& space) {
  std::vector<std::string> texts;
  for (const auto& configuration : space.valid()) {
    texts.push_back(kernels::to_text(configuration, space.parameters()));
  }
  return texts;
}

TEST(Space, HoldsTheProductOfAllValuesInLexicographicOrder) {
  const auto family = two_by_three();
  const Space space(family, {}, {});
  const std::vector<std::string> expected = {"toy.forward{}",         "toy.forward{b=20}",
                                             "toy.forward{b=40}",     "toy.forward{a=2}",
                                             "toy.forward{a=2,b=20}", "toy.forward{a=2,b=40}"};
  EXPECT_EQ(texts(space), expected);
  EXPECT_EQ(space.total(), 6u);
}

TEST(Space, HoldsTheParametersOfEveryFamily) {
  for (const auto& family : kernels::families())
    for (const auto op : {kernels::Op::forward, kernels::Op::backward})
      for (const auto& target : {kernels::target_for_arch("sm_90a"), kernels::target_for_arch("avx2")}) {
        kernels::Problem problem;  // one that leaves few configurations to enumerate
        problem.op = op, problem.dtype = kernels::DType::bf16, problem.head_dim = 256;
        if (family->device_kind() != target.kind || !family->unsupported(problem, target).empty()) continue;
        EXPECT_GT(Space(*family, problem, target).size(), 0u) << kernels::kernel_name(*family, op);
      }
}

TEST(Space, LeavesOutWhatAConstraintForbids) {
  auto family = two_by_three();
  family.rules = {
      product_below(40),
      {"no ones", [](const auto&, const kernels::Configuration& c, const auto&) { return c.at("a") != 1; }}};
  const Space space(family, {}, {});
  EXPECT_EQ(texts(space), std::vector<std::string>{"toy.forward{a=2}"});
  EXPECT_EQ(space.size(), 1u);
  EXPECT_EQ(space.total(), 6u);
}

TEST(Space, AgreesWithTheReasonThatTheFamilyGives) {
  auto family = two_by_three();
  family.rules = {product_below(40)};
  const Space space(family, {}, {});
  for (const int a : {1, 2}) {
    for (const int b : {10, 20, 40}) {
      const kernels::Configuration configuration{"toy.forward", {{"a", a}, {"b", b}}};
      EXPECT_EQ(space.contains(configuration),
                kernels::invalid_reason(family, {}, configuration, {}).empty());
    }
  }
}

TEST(Space, AsksAConstraintOnceForEachCombinationOfTheValuesThatItReads) {
  ToyFamily family{"toy",
                   {parameter("a", {1, 2}, 1), parameter("b", {10, 20, 40}, 10), parameter("c", {0, 1}, 0)}};
  int asked = 0;
  family.rules = {{"a and c are one",
                   [&](const auto&, const kernels::Configuration& c, const auto&) {
                     ++asked;
                     return c.at("a") != 1 || c.at("c") != 1;
                   },
                   {"c", "a"}}};
  const Space space(family, {}, {});
  EXPECT_EQ(asked, 4);
  EXPECT_EQ(space.size(), 9u);
  for (const auto& configuration : space.valid())
    EXPECT_TRUE(kernels::invalid_reason(family, {}, configuration, {}).empty());
}

// Rules over several parameters each, which hold and fail without an order.
TEST(Space, HoldsExactlyWhatEveryRuleAllowsAlsoWhereRulesShareParameters) {
  ToyFamily family{"toy",
                   {parameter("a", {1, 2, 3, 4}, 1), parameter("b", {0, 1, 2}, 0),
                    parameter("c", {1, 5, 7}, 1), parameter("d", {0, 1}, 0), parameter("e", {1, 2, 3}, 1)}};
  const auto of = [](std::vector<std::string> read, int modulus) {
    return kernels::Constraint{"mixed",
                               [read, modulus](const auto&, const kernels::Configuration& c, const auto&) {
                                 int sum = 0;
                                 for (const auto& name : read) sum = 3 * sum + c.at(name);
                                 return sum % modulus != 0;
                               },
                               read};
  };
  family.rules = {of({"a", "c"}, 4), of({"b", "d", "e"}, 3), of({"a", "e"}, 5), of({"c", "d"}, 2)};
  family.rules[1].kind = kernels::RuleKind::worth_here;
  const Space space = Space(family, {}, {}).worth_trying({}, {});
  const ToyFamily without_rules("toy", family.parameters(kernels::Op::forward));
  const Space all(without_rules, {}, {});
  std::vector<std::string> expected;
  for (const auto& configuration : all.valid())
    if (kernels::invalid_reason(family, {}, configuration, {}).empty())
      expected.push_back(kernels::to_text(configuration, space.parameters()));
  EXPECT_EQ(texts(space), expected);
  EXPECT_GT(space.size(), 10u);
  EXPECT_LT(space.size(), all.size() / 2);
}

// A list of them took 130 MB, and the time to make it most of a short run.
TEST(Space, OfMillionsOfConfigurationsTakesSomeHundredNodes) {
  kernels::Problem problem;
  problem.dtype = kernels::DType::bf16, problem.head_dim = 64, problem.causal = true;
  problem.heads = problem.kv_heads = 32, problem.nq = problem.nk = 4096;
  const auto target = kernels::target_for_arch("sm_90a");
  const Space space(kernels::family_named("wgmma"), problem, target);
  EXPECT_GT(space.size(), 10'000'000u);
  EXPECT_LT(space.nodes(), 1000u);
  const Space here = space.worth_trying(problem, target);
  EXPECT_LT(here.size(), space.size());
  EXPECT_LT(here.nodes(), 1000u);
}

TEST(Space, SamplesDistinctPositionsFromAllOfIt) {
  std::vector<kernels::Parameter> parameters;
  for (const char* name : {"a", "b", "c", "d", "e", "f", "g", "h"})
    parameters.push_back(parameter(name, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 1));
  const ToyFamily family("toy", parameters);
  const Space space(family, {}, {});
  std::mt19937_64 random(3);
  const auto drawn = space.sample(1000, random);
  EXPECT_EQ(std::set<std::size_t>(drawn.begin(), drawn.end()).size(), 1000u);
  EXPECT_LT(drawn.front(), space.size() / 50);
  EXPECT_GT(drawn.back(), space.size() / 50 * 49);
  EXPECT_LT(drawn.back(), space.size());
  EXPECT_NE(space.sample(1000, random), drawn);
  const auto small = two_by_three();
  EXPECT_EQ(Space(small, {}, {}).sample(9, random), (std::vector<std::size_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(Space(small, {}, {}).sample(5, random).size(), 5u);
}

TEST(Space, LeavesToAShapeWhatIsWorthTryingThere) {
  auto family = two_by_three();
  family.rules = {{"only where heads are two",
                   [](const kernels::Problem& p, const kernels::Configuration& c, const auto&) {
                     return c.at("a") == 1 || p.heads == 2;
                   },
                   {"a"},
                   kernels::RuleKind::worth_here}};
  const Space space(family, {}, {});
  EXPECT_EQ(space.size(), 6u);
  kernels::Problem two;
  two.heads = 2;
  EXPECT_EQ(space.worth_trying(two, {}).size(), 6u);
  const Space some = space.worth_trying({}, {});
  EXPECT_EQ(texts(some),
            (std::vector<std::string>{"toy.forward{}", "toy.forward{b=20}", "toy.forward{b=40}"}));
  EXPECT_FALSE(some.contains({"toy.forward", {{"a", 2}, {"b", 10}}}));
  EXPECT_EQ(some.total(), 6u);
}

TEST(Space, PassesProblemAndTargetToTheConstraints) {
  auto family = two_by_three();
  family.rules = {{"heads", [](const kernels::Problem& p, const auto& c, const kernels::Target& t) {
                     return c.at("a") == p.heads && c.at("b") == t.multiprocessors;
                   }}};
  kernels::Problem problem;
  problem.heads = 2;
  kernels::Target target;
  target.multiprocessors = 40;
  EXPECT_EQ(texts(Space(family, problem, target)), std::vector<std::string>{"toy.forward{a=2,b=40}"});
}

TEST(Space, FindsTheConfigurationAtEveryPosition) {
  auto family = two_by_three();
  family.rules = {product_below(40)};
  const Space space(family, {}, {});
  for (std::size_t i = 0; i < space.size(); ++i) EXPECT_EQ(space.find(space.at(i)), i);
  EXPECT_THROW(space.at(space.size()), std::out_of_range);
}

TEST(Space, DoesNotContainUnlistedValuesOrOtherKernels) {
  const auto family = two_by_three();
  const Space space(family, {}, {});
  EXPECT_FALSE(space.contains({"toy.forward", {{"a", 3}, {"b", 10}}}));
  EXPECT_FALSE(space.contains({"other.forward", {{"a", 1}, {"b", 10}}}));
  EXPECT_FALSE(space.contains({"toy.forward", {{"a", 1}}}));
}

TEST(Space, NeighboursByOneStepAreAdjacentInOneList) {
  const auto family = two_by_three();
  const Space space(family, {}, {});
  std::set<std::string> found;
  for (const auto& n : space.neighbours(family.configuration("toy.forward{}"), false)) {
    found.insert(kernels::to_text(n, space.parameters()));
  }
  EXPECT_EQ(found, (std::set<std::string>{"toy.forward{a=2}", "toy.forward{b=20}"}));
}

TEST(Space, NeighboursByAnyStepDifferInExactlyOneParameter) {
  const auto family = two_by_three();
  const Space space(family, {}, {});
  std::set<std::string> found;
  for (const auto& n : space.neighbours(family.configuration("toy.forward{}"), true)) {
    found.insert(kernels::to_text(n, space.parameters()));
  }
  EXPECT_EQ(found, (std::set<std::string>{"toy.forward{a=2}", "toy.forward{b=20}", "toy.forward{b=40}"}));
}

TEST(Space, NeighboursAreValid) {
  auto family = two_by_three();
  family.rules = {product_below(40)};
  const Space space(family, {}, {});
  for (const auto& n : space.neighbours(family.configuration("toy.forward{b=20}"), true)) {
    EXPECT_TRUE(space.contains(n));
    EXPECT_LT(n.at("a") * n.at("b"), 40);
  }
}

TEST(Space, AnUnlistedConfigurationHasNoNeighbours) {
  const auto family = two_by_three();
  const Space space(family, {}, {});
  EXPECT_TRUE(space.neighbours(kernels::Configuration{"toy.forward", {{"a", 7}, {"b", 10}}}, true).empty());
}

TEST(Space, AFamilyWithoutParametersHasOneConfiguration) {
  const ToyFamily family("toy", {});
  const Space space(family, {}, {});
  EXPECT_EQ(texts(space), std::vector<std::string>{"toy.forward{}"});
  EXPECT_TRUE(space.neighbours(std::size_t{0}, true).empty());
}

TEST(Space, MayBeEmpty) {
  auto family = two_by_three();
  family.rules = {product_below(0)};
  const Space space(family, {}, {});
  EXPECT_EQ(space.size(), 0u);
  EXPECT_TRUE(space.valid().empty());
}

TEST(Space, EnumeratesAMillionCombinationsWithoutTheirTexts) {
  std::vector<kernels::Parameter> parameters;
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) {
    parameters.push_back(parameter(name, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 1));
  }
  ToyFamily family("toy", parameters);
  family.rules = {{"too large", [](const auto&, const kernels::Configuration& c, const auto&) {
                     return c.values[0].second + c.values[5].second < 5;
                   }}};
  const Space space(family, {}, {});
  EXPECT_EQ(space.total(), 1'000'000u);
  EXPECT_EQ(space.size(), 60'000u);
}

TEST(Space, RefusesAProductThatCannotBeEnumerated) {
  std::vector<kernels::Parameter> parameters;
  parameters.reserve(30);
  for (int i = 0; i < 30; ++i) parameters.push_back(parameter(fmt::format("p{}", i), {1, 2, 3}, 1));
  const ToyFamily family("toy", parameters);
  try {
    const Space space(family, {}, {});
    FAIL() << "accepted";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("toy"), std::string::npos);
  }
}

TEST(Space, TheSimplestHasMostParametersAtTheirDefaultAndIsValid) {
  ToyFamily family("toy",
                   {parameter("a", {1, 2, 4}, 2), parameter("b", {1, 2}, 1), parameter("c", {0, 1}, 0)});
  const auto simplest = [&] {
    const Space space(family, {}, {});
    return kernels::to_text(space.at(space.simplest()), space.parameters());
  };
  EXPECT_EQ(simplest(), "toy.forward{}");
  family.rules = {{"b", [](const auto&, const Configuration& c, const auto&) {
                     return c.at("a") != 2 || c.at("b") == 2;
                   }}};
  EXPECT_EQ(simplest(), "toy.forward{a=1}");
}

TEST(Space, OfWhatWasRecordedHasThoseConfigurationsAndNoOthers) {
  const std::vector<kernels::Parameter> parameters = {parameter("a", {1, 2, 4}, 1),
                                                      parameter("b", {1, 2}, 1)};
  const Configuration first{"x", {{"a", 4}, {"b", 1}}}, second{"x", {{"a", 1}, {"b", 2}}};
  const Space space("x", parameters, {first, second, first});
  EXPECT_EQ(space.size(), 2u);
  EXPECT_EQ(space.at(0), second);
  EXPECT_EQ(space.total(), 6u);
  EXPECT_EQ(space.at(*space.find(first)), first);
  EXPECT_EQ(space.find_digits({0, 1}), space.find(second));
  EXPECT_FALSE(space.find_digits({1, 1}));
  EXPECT_THROW(Space("x", parameters, {{"x", {{"a", 3}, {"b", 1}}}}), std::invalid_argument);
}

}  // namespace
}  // namespace fcsa::tuner
