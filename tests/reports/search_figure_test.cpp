#include "reports/search_figure.h"

#include <gtest/gtest.h>

#include "tests/reports/fabricated.h"

namespace fcsa::reports {
namespace {

using fabricated::Database;
using fabricated::failed;
using fabricated::gpu;
using fabricated::problem;
using fabricated::took;
using fabricated::variant;
using tuner::Status;

Figure figure(const std::vector<tuner::StoredTrial>& trials, Effort effort) {
  const auto devices = collect(trials);
  const auto sections = make_sections(devices);
  return search_figures(sections.at(0), devices, effort).at(0);
}

// 4 ms, a failure, a pruned one, 2 ms, 3 ms; a second each.
Database searched() {
  Database database(gpu());
  database.search(problem(1024), variant(gpu(), 1), took(4));
  database.search(problem(1024), variant(gpu(), 2), failed(Status::timed_out, "slow"));
  database.search(problem(1024), variant(gpu(), 3), failed(Status::pruned, "large"));
  database.search(problem(1024), variant(gpu(), 4), took(2));
  database.search(problem(1024), variant(gpu(), 5), took(3));
  database.confirm("race", problem(1024), variant(gpu(), 4), took(1));
  return database;
}

std::vector<std::pair<double, double>> steps(const Figure& figure) {
  std::vector<std::pair<double, double>> result;
  for (const Sample& sample : figure.plot.curves.at(0).samples) result.emplace_back(sample.x, sample.y);
  return result;
}

TEST(SearchFigure, CountsEvaluationsWithoutThePruned) {
  const Figure progress = figure(searched().trials(), Effort::evaluations);
  EXPECT_EQ(steps(progress), (std::vector<std::pair<double, double>>{{1, 0.5}, {3, 1}, {4, 1}}));
  EXPECT_EQ(progress.numbers.rows.at(0).at(4), "3") << "evaluations until best";
}

TEST(SearchFigure, AddsUpTheTimeOfEveryTrialOfTheSearch) {
  const Figure progress = figure(searched().trials(), Effort::time);
  EXPECT_EQ(steps(progress), (std::vector<std::pair<double, double>>{{1, 0.5}, {4, 1}, {5, 1}}));
}

TEST(SearchFigure, LeavesOutTheTimeOfOtherLengths) {
  Database database(gpu());
  database.search(problem(512), variant(gpu(), 1), took(1));
  database.search(problem(1024), variant(gpu(), 1), took(4));
  database.search(problem(512), variant(gpu(), 2), took(2));
  database.search(problem(1024), variant(gpu(), 2), took(2));
  const Figure progress = figure(database.trials(), Effort::time);
  ASSERT_EQ(progress.numbers.rows.size(), 2U);
  EXPECT_EQ(progress.numbers.rows[1][0], "1024");
  EXPECT_EQ(progress.numbers.rows[1][1], "2.00") << "seconds";
}

TEST(SearchFigure, IsEmptyWhereNothingWorked) {
  EXPECT_TRUE(figure(fabricated::nothing_worked(), Effort::time).empty());
}

TEST(SearchFigure, DrawsAsManyLengthsAsThereAreColoursAndSaysSo) {
  Database database(gpu());
  for (int length = 1000; length < 1020; ++length) {
    kernels::Problem one = problem(length);
    one.batch = 1;
    database.search(one, variant(gpu(), 1), took(1));
  }
  const Figure progress = figure(database.trials(), Effort::evaluations);
  EXPECT_EQ(progress.plot.curves.size(), static_cast<std::size_t>(kRampColours));
  EXPECT_NE(progress.note.find("8 of 20 lengths"), std::string::npos) << progress.note;
  EXPECT_EQ(progress.numbers.rows.size(), 20U);
}

}  // namespace
}  // namespace fcsa::reports
