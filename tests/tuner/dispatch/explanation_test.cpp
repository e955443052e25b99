#include "tuner/dispatch/explanation.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/tuner/history.h"

namespace fcsa::tuner {
namespace {

using testing::History;
using testing::square_problem;

const std::string kA = "simt.forward{warps=2}", kB = "simt.forward{min_blocks=1}",
                  kC = "simt.forward{unroll=4}";

History tuned() {
  History history;
  history.race(square_problem(1024), "1024", {{kA, 1.0}, {kB, 1.1}});
  history.add(square_problem(1024), kC, 1.3);
  history.race(square_problem(4096), "4096", {{kA, 16.0}, {kB, 18.0}});
  return history;
}

TEST(Explanation, NamesTheRivalsAndWhatWasMeasuredOfThem) {
  const auto history = tuned();
  const auto table = history.table();
  const auto explanation = explain(history.trials, table, square_problem(1200), history.device);
  EXPECT_EQ(explanation.choice.configuration, kA);
  ASSERT_EQ(explanation.rivals.size(), 3u);
  EXPECT_EQ(explanation.rivals[0].configuration, kA);
  EXPECT_TRUE(explanation.rivals[0].in_table);
  EXPECT_NEAR(explanation.rivals[0].predicted_ms, explanation.choice.predicted_ms, 1e-9);
  EXPECT_EQ(explanation.rivals[0].trial->evaluation.measurement.median_ms, 1.0);
  EXPECT_EQ(explanation.rivals[1].configuration, kB);
  EXPECT_FALSE(explanation.rivals[1].in_table);
  EXPECT_EQ(explanation.rivals[2].trial->phase, Phase::search);
  EXPECT_GT(explanation.rivals[2].predicted_ms, explanation.rivals[1].predicted_ms);
}

TEST(Explanation, PrefersTheLatestRaceToTheSearch) {
  auto history = tuned();
  history.race(square_problem(1024), "again", {{kA, 0.9}, {kB, 1.0}});
  history.add(square_problem(1024), kA, 5.0);
  const auto table = history.table();
  const auto explanation = explain(history.trials, table, square_problem(1024), history.device);
  EXPECT_EQ(explanation.rivals[0].trial->evaluation.measurement.median_ms, 0.9);
}

TEST(Explanation, HasTheNearestShapesFirst) {
  const auto history = tuned();
  const auto table = history.table();
  const auto explanation = explain(history.trials, table, square_problem(4000), history.device);
  ASSERT_EQ(explanation.neighbours.size(), 2u);
  EXPECT_EQ(explanation.neighbours[0].entry->problem.nq, 4096);
  EXPECT_LT(explanation.neighbours[0].octaves, 0.2);
  EXPECT_EQ(explanation.neighbours[1].entry->problem.nq, 1024);
}

TEST(Explanation, OfADefaultHasNoRivals) {
  const auto history = tuned();
  const auto table = history.table();
  auto problem = square_problem(1024);
  problem.head_dim = 128;
  const auto explanation = explain(history.trials, table, problem, history.device);
  EXPECT_EQ(explanation.choice.match, Match::default_choice);
  EXPECT_EQ(explanation.dispatch, nullptr);
  EXPECT_TRUE(explanation.rivals.empty());
}

}  // namespace
}  // namespace fcsa::tuner
