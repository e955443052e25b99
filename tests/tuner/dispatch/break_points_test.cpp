#include "tuner/dispatch/break_points.h"

#include <gtest/gtest.h>

#include "tests/tuner/history.h"

namespace fcsa::tuner {
namespace {

using testing::History;
using testing::square_problem;

const std::string kShort = "simt.forward{min_blocks=1}", kLong = "simt.forward{unroll=4}";

// kShort is the faster by a tenth below `change`, kLong from there on.
void measure(History& history, int length, int change) {
  const double ms = 1e-6 * length * length;
  history.race(square_problem(length), std::to_string(length),
               {{kShort, length < change ? ms : 1.1 * ms}, {kLong, length < change ? 1.1 * ms : ms}});
}

std::vector<BreakPoint> found(const History& history, const std::vector<kernels::Problem>& probed = {}) {
  return break_points(history.table().classes.front(), probed, 0.02);
}

TEST(BreakPoints, AreBetweenNeighboursWithDifferentWinners) {
  History history;
  for (const int length : {256, 1024, 4096, 16384}) measure(history, length, 2000);
  const auto points = found(history);
  ASSERT_EQ(points.size(), 1u);
  EXPECT_EQ(points[0].from, 1u);
  EXPECT_EQ(points[0].to, 2u);
  EXPECT_EQ(points[0].between, square_problem(2048));
}

TEST(BreakPoints, AreNotWhereTheOtherChoiceIsGoodEnough) {
  History history;
  measure(history, 1024, 2000);
  history.race(square_problem(256), "256", {{kShort, 1.0}, {kLong, 1.015}});
  history.race(square_problem(4096), "4096", {{kShort, 9.15}, {kLong, 9.0}});
  EXPECT_TRUE(found(history).empty());
}

TEST(BreakPoints, AreKnownWithinAFactorOfAQuarter) {
  History history;
  for (const int length : {1024, 1216}) measure(history, length, 1100);
  EXPECT_TRUE(found(history).empty());
  for (const int length : {512, 2048}) measure(history, length, 1100);
  EXPECT_TRUE(found(history).empty());
}

TEST(BreakPoints, AreKnownWhereTheRuleForesawWhatWasMeasuredBetween) {
  History history;
  for (const int length : {512, 1024, 4096, 8192}) measure(history, length, 3000);
  const auto first = found(history);
  ASSERT_EQ(first.size(), 1u);
  ASSERT_EQ(first[0].between, square_problem(2048));
  history.race(square_problem(2048), "between", {{kShort, 1.0}, {kLong, 1.01}});
  EXPECT_TRUE(found(history, {square_problem(2048)}).empty());
  EXPECT_FALSE(found(history).empty());
}

TEST(BreakPoints, LieInTheNumberOfTilesToo) {
  History history;
  auto full = square_problem(1024), sparse = square_problem(1024);
  full.batch = 64, sparse.batch = 4;
  full.heads = full.kv_heads = sparse.heads = sparse.kv_heads = 16;
  history.race(full, "full", {{kShort, 2.0}, {kLong, 1.0}});
  history.race(sparse, "sparse", {{kShort, 0.1}, {kLong, 0.2}});
  const auto points = found(history);
  ASSERT_EQ(points.size(), 1u);
  EXPECT_EQ(points[0].between.batch, 16);
  EXPECT_EQ(points[0].between.nq, 1024);
}

TEST(Halfway, IsAMultipleOf64WhereThatIsBetween) {
  EXPECT_EQ(halfway(square_problem(1024), square_problem(2048))->nq, 1472);
  EXPECT_EQ(halfway(square_problem(64), square_problem(128))->nq, 96);
  EXPECT_EQ(halfway(square_problem(1024), square_problem(1040))->nq, 1032);
}

TEST(Halfway, KeepsSquaresSquareAndOneQueryOne) {
  auto a = square_problem(512), b = square_problem(8192);
  EXPECT_EQ(halfway(a, b)->nk, 2048);
  a.nq = b.nq = 1;
  EXPECT_EQ(halfway(a, b)->nq, 1);
  EXPECT_EQ(halfway(a, b)->nk, 2048);
}

TEST(Halfway, IsNothingWhereThereIsNothingBetween) {
  EXPECT_FALSE(halfway(square_problem(1024), square_problem(1025)));
}

TEST(EmptiestShapes, HaveTheShortestLengthsAndTheFewestHeads) {
  auto a = square_problem(512), b = square_problem(8192);
  a.batch = 32, b.batch = 2;
  const auto shapes = emptiest_shapes({a, b});
  ASSERT_EQ(shapes.size(), 1u);
  EXPECT_EQ(shapes[0].nq, 512);
  EXPECT_EQ(shapes[0].nk, 512);
  EXPECT_EQ(shapes[0].batch, 2);
}

TEST(EmptiestShapes, AreNotThoseThatAreThere) {
  auto a = square_problem(512), b = square_problem(8192), c = square_problem(512);
  a.batch = 32;
  EXPECT_TRUE(emptiest_shapes({a, b, c}).empty());
  EXPECT_TRUE(emptiest_shapes({a}).empty());
}

}  // namespace
}  // namespace fcsa::tuner
