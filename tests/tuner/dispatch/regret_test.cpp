#include "tuner/dispatch/regret.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/tuner/history.h"

namespace fcsa::tuner {
namespace {

using testing::History;
using testing::square_problem;

const std::string kA = "simt.forward{warps=2}", kB = "simt.forward{min_blocks=1}",
                  kOnlyShort = "simt.forward{unroll=4}";

// kA is chosen everywhere; kOnlyShort is measured on the shortest length, second there.
History tuned() {
  History history;
  history.race(square_problem(512), "512", {{kA, 1.0}, {kOnlyShort, 1.01}, {kB, 2.0}});
  for (const int length : {2048, 4096, 8192, 16384})
    history.race(square_problem(length), std::to_string(length), {{kA, 1e-6 * length * length}, {kB, 2e3}});
  return history;
}

std::vector<UntunedShape> drawn(const History& history, const UntunedShapes& wanted) {
  return draw_untuned_shapes(history.trials, history.table(), history.device, wanted);
}

TEST(UntunedShapes, WereNeverTunedAndDiffer) {
  const auto history = tuned();
  const auto shapes = drawn(history, {.count = 40});
  ASSERT_EQ(shapes.size(), 40u);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    EXPECT_NE(shapes[i].choice.match, Match::exact);
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(shapes[i].problem, shapes[j].problem);
  }
}

TEST(UntunedShapes, MeetTheChoiceAndTheBestOfTheNearestShapes) {
  const auto history = tuned();
  bool met = false;
  for (const auto& shape : drawn(history, {.count = 30})) {
    EXPECT_EQ(shape.contenders.front(), shape.choice.configuration);
    EXPECT_EQ(shape.choice.configuration, kA);
    const bool near =
        shape.problem
            .nq<1000, has = std::count(shape.contenders.begin(), shape.contenders.end(), kOnlyShort)> 0;
    if (near) {
      EXPECT_TRUE(has);
    }
    met = met || near;
    if (shape.problem.nq > 12000) {
      EXPECT_FALSE(has);
    }
  }
  EXPECT_TRUE(met);
}

TEST(UntunedShapes, AreOfTheClassesAskedForInTurn) {
  auto history = tuned();
  auto causal = square_problem(1024);
  causal.causal = true;
  auto longer = causal;
  longer.nq = longer.nk = 4096;
  history.add(causal, kA, 1);
  history.add(longer, kA, 1);
  const auto both = drawn(history, {.count = 4});
  EXPECT_NE(both[0].problem.causal, both[1].problem.causal);
  EXPECT_EQ(both[0].problem.causal, both[2].problem.causal);
  for (const auto& shape : drawn(history, {.classes = {kernels::class_text(causal)}, .count = 4}))
    EXPECT_TRUE(shape.problem.causal);
  EXPECT_THROW(drawn(history, {.classes = {"forward f32 d96 scale=8"}, .count = 1}), std::invalid_argument);
}

TEST(UntunedShapes, OfAListAreThoseThatWereNotTunedInItsOrder) {
  const auto history = tuned();
  auto causal = square_problem(700);
  causal.causal = true;  // a class that nobody tuned
  const std::vector<kernels::Problem> list = {square_problem(3000), square_problem(512), causal,
                                              square_problem(600), square_problem(601)};
  const auto shapes = untuned_shapes_of(history.trials, history.table(), history.device, list, 3);
  ASSERT_EQ(shapes.size(), 3u);
  EXPECT_EQ(shapes[0].problem, list[0]);
  EXPECT_EQ(shapes[1].problem, list[2]);
  EXPECT_EQ(shapes[2].problem, list[3]);
  EXPECT_EQ(shapes[0].choice.configuration, kA);
  EXPECT_GT(shapes[0].contenders.size(), 1u);
  EXPECT_EQ(shapes[1].contenders.front(), shapes[1].choice.configuration);
  EXPECT_EQ(std::count_if(shapes[1].contenders.begin(), shapes[1].contenders.end(),
                          [](const std::string& one) { return one.starts_with("mma."); }),
            1);
}

Trial trial_of(const std::string& configuration, double low, double median, double high) {
  Trial trial;
  trial.configuration = configuration;
  trial.evaluation.measurement.median_ms = median;
  trial.evaluation.measurement.ci_low_ms = low;
  trial.evaluation.measurement.ci_high_ms = high;
  return trial;
}

TEST(Regret, IsWhatTheChoiceTakesOverTheFastest) {
  const auto regret = regret_of(kA, {trial_of(kA, 1.0, 1.1, 1.2), trial_of(kB, 0.9, 1.0, 1.05)});
  ASSERT_TRUE(regret);
  EXPECT_NEAR(regret->regret, 0.1, 1e-12);
  EXPECT_NEAR(regret->regret_low, 1.0 / 1.05 - 1, 1e-12);
  EXPECT_NEAR(regret->regret_high, 1.2 / 0.9 - 1, 1e-12);
  EXPECT_EQ(regret->best, kB);
}

TEST(Regret, IsNothingWhereTheChoiceIsTheFastest) {
  const auto regret = regret_of(kA, {trial_of(kA, 1.0, 1.1, 1.2), trial_of(kB, 0.9, 1.2, 1.3)});
  EXPECT_EQ(regret->regret, 0);
  EXPECT_EQ(regret->regret_high, 0);
}

TEST(Regret, LeavesOutContendersThatFailedAndHasNoPriceForAChoiceThatDid) {
  auto failed = trial_of(kB, 0, 0, 0);
  failed.evaluation.status = Status::launch_failed;
  EXPECT_EQ(regret_of(kA, {trial_of(kA, 1.0, 1.1, 1.2), failed})->regret, 0);
  EXPECT_FALSE(regret_of(kB, {trial_of(kA, 1.0, 1.1, 1.2), failed}));
}

TEST(Regret, IsSummedUpByMedianMeanAndWorst) {
  EXPECT_DOUBLE_EQ(summary_of({0.4, 0.0, 0.2}).mean, 0.2);
  EXPECT_EQ(summary_of({0.3, 0.0, 0.1}).median, 0.1);
  EXPECT_EQ(summary_of({0.3, 0.0, 0.1, 0.2}).median, 0.15000000000000002);
  EXPECT_EQ(summary_of({0.3, 0.0, 0.1}).worst, 0.3);
}

}  // namespace
}  // namespace fcsa::tuner
