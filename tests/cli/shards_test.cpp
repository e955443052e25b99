#include "cli/shards.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace fcsa::cli {
namespace {

std::vector<kernels::Problem> grid() {
  std::vector<kernels::Problem> problems;
  for (const int length : {512, 1024, 2048, 4096, 8192, 16384, 512, 1024, 2048}) {
    kernels::Problem problem;
    problem.nq = problem.nk = length;
    problem.causal = problems.size() > 5;
    problem.heads = 32;
    problem.batch = 64;  // kernels that cost more than what comes with a trial
    problems.push_back(problem);
  }
  return problems;
}

double cost(const std::vector<kernels::Problem>& problems) {
  double sum = 0;
  for (const auto& problem : problems) sum += kernels::flops(problem);
  return sum;
}

TEST(Shards, EveryProblemIsInExactlyOnePart) {
  for (const int count : {1, 2, 3, 7, 9}) {
    std::vector<std::string> texts;
    for (int index = 0; index < count; ++index) {
      const auto part = part_of(grid(), {.index = index, .count = count});
      EXPECT_FALSE(part.empty());
      for (const auto& problem : part) texts.push_back(kernels::to_text(problem));
    }
    EXPECT_EQ(texts.size(), grid().size()) << count;
    std::sort(texts.begin(), texts.end());
    EXPECT_EQ(std::unique(texts.begin(), texts.end()), texts.end()) << count;
  }
}

TEST(Shards, TheMostExpensiveProblemHasAPartWithLittleElse) {
  const auto all = grid();
  const auto first = part_of(all, {.index = 0, .count = 2}), second = part_of(all, {.index = 1, .count = 2});
  EXPECT_EQ(first.size(), 1u);  // 16384 costs as much as all others together
  EXPECT_LT(cost(first), 0.8 * cost(all));
  EXPECT_EQ(second.size(), all.size() - 1);
}

TEST(Shards, ProblemsThatCostTheSameAreSpreadEvenly) {
  const std::vector<kernels::Problem> equal(8, grid()[0]);
  for (int index = 0; index < 4; ++index) EXPECT_EQ(part_of(equal, {.index = index, .count = 4}).size(), 2u);
}

TEST(Shards, MorePartsThanProblemsLeaveSomeEmpty) {
  EXPECT_TRUE(part_of({grid()[0]}, {.index = 1, .count = 2}).empty());
}

TEST(Shards, ThePathOfADatabaseHasTheNumberOfThePart) {
  EXPECT_EQ(with_rank("parts/{rank}.db", {.index = 3, .count = 4}), "parts/3.db");
  EXPECT_EQ(with_rank("a.db", {.index = 3, .count = 4}), "a.db");
}

}  // namespace
}  // namespace fcsa::cli
