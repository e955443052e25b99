#include "runner/verification/comparison.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <span>
#include <tuple>
#include <vector>

#include "tests/runner/verification/reference_kernel.h"

namespace fcsa::runner {
namespace {

using kernels::Problem;
using kernels::RowIndex;

TEST(RowsToCheck, AreAllOfThemWhereThatIsCheap) {
  const Problem p = base_problem();
  EXPECT_EQ(rows_to_check(p, 2e9, 1).size(), static_cast<std::size_t>(p.batch * p.heads * p.nq));
}

TEST(RowsToCheck, IncludeTheEndsOfEveryHeadAndStayWithinTheCost) {
  Problem p = base_problem();
  p.nq = p.nk = 60001;
  const double budget = 2e9;
  const std::vector<RowIndex> rows = rows_to_check(p, budget, 1);
  std::set<std::tuple<int, int, int>> known;
  for (const RowIndex& r : rows) known.insert({r.batch, r.head, r.row});
  EXPECT_EQ(known.size(), rows.size());
  for (int batch = 0; batch < p.batch; ++batch)
    for (int head = 0; head < p.heads; ++head)
      for (const int row : {0, p.nq - 1}) EXPECT_TRUE(known.contains({batch, head, row}));
  EXPECT_LE(static_cast<double>(rows.size()) * 4 * p.nk * p.head_dim, budget);
  EXPECT_GT(static_cast<double>(rows.size()) * 4 * p.nk * p.head_dim, 0.9 * budget);
}

kernels::RowResults results(std::vector<double> o, std::vector<double> lse) {
  return {std::move(o), std::move(lse)};
}

TEST(WorstO, IsRelativeToTheRowOrTheTypicalRowWhicheverIsLarger) {
  const kernels::RowResults reference = results({3, 4, 0, 1}, {1, 1});
  const double rms = std::sqrt((25.0 + 1.0) / 2);
  EXPECT_DOUBLE_EQ(worst_o(results({3, 4.5, 0, 1}, {1, 1}), reference).error, 0.1);
  const Worst second = worst_o(results({3, 4, 0, 2}, {1, 1}), reference);
  EXPECT_DOUBLE_EQ(second.error, 1 / rms);
  EXPECT_EQ(second.row, 1u);
}

TEST(WorstO, IsInfiniteForNaNWhereverItIs) {
  const double nan = std::nan("");
  EXPECT_TRUE(std::isinf(worst_o(results({nan, 4, 0, 9}, {1, 1}), results({3, 4, 0, 1}, {1, 1})).error));
  EXPECT_TRUE(std::isinf(worst_o(results({3, 9, 0, nan}, {1, 1}), results({3, 4, 0, 1}, {1, 1})).error));
}

TEST(MeanTolerance, HasNoBoundWhereFewRowsAreNearlyAllThereIs) {
  Problem p = base_problem();
  p.dtype = kernels::DType::f16;
  constexpr std::size_t kRows = 400;
  std::vector<double> expected(2 * kRows, 1.0), plain = expected;
  plain[7] += 1e-4;
  // A quarter of the unit, and of each row what one rounding may make of it though plain ones were exact.
  EXPECT_NEAR(mean_tolerance(p, kRows, plain, expected) / 0x1p-11, 0.25 + 3 * 0.6 / 20, 1e-3);
  for (double& x : plain) x += 0x1p-11;
  EXPECT_NEAR(mean_tolerance(p, kRows, plain, expected) / 0x1p-11, 0.25 + 3 * 1.0 / 20, 0.02);
  for (const std::size_t element : {100u, 200u, 300u}) expected[element] = plain[element] = 1000;
  EXPECT_EQ(mean_tolerance(p, kRows, plain, expected), 0);
  EXPECT_EQ(mean_tolerance(p, 63, std::span(plain).first(63), std::span(expected).first(63)), 0);
}

TEST(WorstLse, TakesMinusInfinityLiterally) {
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(worst_lse(results({0}, {-inf}), results({0}, {-inf})).error, 0);
  EXPECT_EQ(worst_lse(results({0}, {-1e30}), results({0}, {-inf})).error, inf);
  EXPECT_EQ(worst_lse(results({0}, {-inf}), results({0}, {2})).error, inf);
  EXPECT_DOUBLE_EQ(worst_lse(results({0}, {11}), results({0}, {10})).error, 0.1);
}

}  // namespace
}  // namespace fcsa::runner
