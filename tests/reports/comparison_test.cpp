#include "reports/comparison.h"

#include <gtest/gtest.h>

#include "tests/reports/fabricated.h"

namespace fcsa::reports {
namespace {

using fabricated::baseline;
using fabricated::Database;
using fabricated::failed;
using fabricated::gpu;
using fabricated::problem;
using fabricated::took;
using fabricated::unfused;
using fabricated::variant;
using tuner::Status;

// The trials outlive the points, which refer to them.
class Comparison : public testing::Test {
 protected:
  const Point& only_point() {
    devices_ = collect(database_.trials());
    EXPECT_EQ(devices_.size(), 1U);
    EXPECT_EQ(devices_.front().points.size(), 1U);
    return devices_.front().points.front();
  }

  const kernels::Problem problem_ = problem(1024);
  const std::string baseline_ = baseline(gpu(), problem_);
  Database database_{gpu()};
  std::vector<DeviceResults> devices_;
};

TEST_F(Comparison, TakesTheFastestOfTheRaceForTheTunedOne) {
  database_.tuned(problem_);
  const Point& point = only_point();
  EXPECT_EQ(point.of(Role::tuned).configuration, variant(gpu(), 1));
  EXPECT_EQ(point.of(Role::baseline).configuration, baseline_);
  EXPECT_EQ(point.of(Role::unfused).configuration, unfused(gpu()));
  EXPECT_TRUE(point.confirmed());
}

TEST_F(Comparison, DividesTimesOfTheSameRace) {
  database_.tuned(problem_);
  const auto ratio = speedup(only_point(), Role::tuned, Role::baseline);
  ASSERT_TRUE(ratio);
  EXPECT_DOUBLE_EQ(ratio->value, 2.0);
  EXPECT_DOUBLE_EQ(ratio->low, 1.98 / 1.01);
  EXPECT_DOUBLE_EQ(ratio->high, 2.02 / 0.99);
}

TEST_F(Comparison, NeverDividesTimesOfDifferentRaces) {
  database_.confirm("race 1", problem_, baseline_, took(2.0));
  database_.confirm("race 2", problem_, variant(gpu(), 1), took(1.0));
  database_.confirm("race 2", problem_, unfused(gpu()), took(4.0));
  database_.search(problem_, baseline_, took(2.0));
  // Race 1 is chosen because it has a baseline; unfused is known from another race only.
  const Point& point = only_point();
  EXPECT_EQ(point.of(Role::tuned).configuration, baseline_);
  EXPECT_TRUE(point.of(Role::unfused).measured());
  EXPECT_FALSE(speedup(point, Role::tuned, Role::unfused));
}

TEST_F(Comparison, RefusesARatioOfEntriesFromTwoRaces) {
  database_.confirm("race 1", problem_, variant(gpu(), 1), took(1.0));
  database_.confirm("race 2", problem_, baseline_, took(2.0));
  Point point;
  point.of(Role::tuned) = {
      .configuration = variant(gpu(), 1), .trial = &database_.trials()[0], .confirmed = true};
  point.of(Role::baseline) = {.configuration = baseline_, .trial = &database_.trials()[1], .confirmed = true};
  EXPECT_FALSE(speedup(point, Role::tuned, Role::baseline));
}

TEST_F(Comparison, NeverDividesSearchTimes) {
  database_.search(problem_, baseline_, took(2.0)).search(problem_, variant(gpu(), 1), took(1.0));
  const Point& point = only_point();
  EXPECT_EQ(point.of(Role::tuned).configuration, variant(gpu(), 1));
  EXPECT_EQ(point.of(Role::baseline).configuration, baseline_);
  EXPECT_FALSE(point.confirmed());
  EXPECT_FALSE(speedup(point, Role::tuned, Role::baseline));
}

TEST_F(Comparison, PrefersTheLatestRace) {
  database_.confirm("a", problem_, baseline_, took(2.0)).confirm("a", problem_, variant(gpu(), 1), took(1.0));
  database_.confirm("b", problem_, baseline_, took(3.0)).confirm("b", problem_, variant(gpu(), 2), took(2.5));
  EXPECT_EQ(only_point().of(Role::tuned).configuration, variant(gpu(), 2));
}

TEST_F(Comparison, PassesOverALaterRaceThatWasCutShort) {
  database_.tuned(problem_).confirm("later", problem_, variant(gpu(), 3), took(0.5));
  const Point& point = only_point();
  EXPECT_EQ(point.of(Role::tuned).configuration, variant(gpu(), 1));
  EXPECT_TRUE(speedup(point, Role::tuned, Role::baseline));
}

TEST_F(Comparison, NeverLetsTheYardstickWin) {
  database_.confirm("a", problem_, unfused(gpu()), took(0.1)).confirm("a", problem_, baseline_, took(2.0));
  EXPECT_EQ(only_point().of(Role::tuned).configuration, baseline_);
}

TEST_F(Comparison, NamesTiesWhoseIntervalsOverlap) {
  database_.tuned(problem_);
  const std::string race = database_.trials().back().trial.race_id;
  database_.confirm(race, problem_, variant(gpu(), 2), took(1.015))
      .confirm(race, problem_, variant(gpu(), 3), took(1.1));
  EXPECT_EQ(only_point().ties, std::vector<std::string>{variant(gpu(), 2)});
}

TEST_F(Comparison, LeavesTheBaselineOfAnUnknownFamilyOpen) {
  database_.confirm("a", problem_, "gone.forward{block_m=64}", took(1.0));
  database_.confirm("a", problem_, "gone.forward", took(2.0));
  const Point& point = only_point();
  EXPECT_EQ(point.of(Role::tuned).configuration, "gone.forward{block_m=64}");
  EXPECT_EQ(point.of(Role::baseline).status_text(), "not_measured");
}

TEST_F(Comparison, KeepsWhatWasOutOfMemoryInItsPlace) {
  database_.confirm("a", problem_, baseline_, took(2.0));
  database_.confirm("a", problem_, unfused(gpu()), failed(Status::out_of_memory, "no room"));
  const Point& point = only_point();
  EXPECT_TRUE(point.of(Role::unfused).out_of_memory());
  EXPECT_FALSE(speedup(point, Role::tuned, Role::unfused));
}

TEST_F(Comparison, SaysThatAYardstickWasNotMeasured) {
  database_.confirm("a", problem_, baseline_, took(2.0));
  EXPECT_EQ(only_point().of(Role::unfused).status_text(), "not_measured");
}

TEST_F(Comparison, ReportsTheUsualFailureWhenNothingWorked) {
  database_.search(problem_, variant(gpu(), 0), failed(Status::pruned, "too many threads"));
  database_.search(problem_, variant(gpu(), 1), failed(Status::pruned, "too many threads"));
  database_.search(problem_, variant(gpu(), 2), failed(Status::crashed, "signal 11"));
  const Point& point = only_point();
  EXPECT_EQ(point.of(Role::tuned).status_text(), "crashed");
  EXPECT_TRUE(point.of(Role::tuned).configuration.empty());
}

TEST_F(Comparison, UsesTheLatestSearchTrialOfAConfiguration) {
  database_.search(problem_, variant(gpu(), 1), took(1.0)).search(problem_, variant(gpu(), 2), took(2.0));
  database_.search(problem_, variant(gpu(), 1), took(3.0));
  EXPECT_EQ(only_point().of(Role::tuned).configuration, variant(gpu(), 2));
}

TEST_F(Comparison, FindsMemoryInTheSearchWhenTheRaceDidNotMeasureIt) {
  tuner::Evaluation without = took(1.0);
  without.measurement.peak_memory_bytes = 0;
  database_.search(problem_, baseline_, took(2.0)).confirm("a", problem_, baseline_, without);
  const Point& point = only_point();
  ASSERT_NE(point.of(Role::tuned).memory, nullptr);
  EXPECT_EQ(point.of(Role::tuned).memory->peak_memory_bytes, took(1.0).measurement.peak_memory_bytes);
}

TEST_F(Comparison, KeepsCacheStatesApart) {
  tuner::Evaluation cold = took(5.0);
  cold.measurement.cache = tuner::CacheState::cold;
  database_.tuned(problem_).confirm("cold", problem_, baseline_, cold);
  devices_ = collect(database_.trials());
  ASSERT_EQ(devices_.front().points.size(), 2U);
  EXPECT_EQ(devices_.front().points[0].cache, tuner::CacheState::warm);
  EXPECT_EQ(devices_.front().points[1].cache, tuner::CacheState::cold);
  EXPECT_EQ(devices_.front().points[1].of(Role::tuned).configuration, baseline_);
}

TEST_F(Comparison, PutsGpusBeforeCpus) {
  const Database other = Database(fabricated::cpu(), "session-2").tuned(problem_);
  const auto trials = fabricated::joined(other, database_.tuned(problem_));
  const auto devices = collect(trials);
  ASSERT_EQ(devices.size(), 2U);
  EXPECT_EQ(devices[0].device.name, gpu().name);
}

TEST_F(Comparison, ATrialTookTheTimeSinceTheOneBeforeItInItsSession) {
  std::vector<tuner::StoredTrial> trials =
      joined(Database(gpu())
                 .search(problem(512), variant(gpu(), 1), took(1))
                 .search(problem(1024), variant(gpu(), 1), took(1))
                 .search(problem(512), variant(gpu(), 2), took(1)),
             Database(gpu(), "session-2").search(problem(512), variant(gpu(), 3), took(1)));
  trials[1].trial.finished_at = "2026-03-01T10:00:02.250Z";
  trials[2].trial.finished_at = "2026-03-01T10:00:02.750Z";
  trials[3].trial.finished_at = "2026-03-01T10:01:30Z";
  const auto results = collect(trials);
  ASSERT_EQ(results[0].points.size(), 2U);
  EXPECT_EQ(results[0].points[0].took_s, (std::vector<double>{1, 0.5, 90}));
  EXPECT_EQ(results[0].points[1].took_s, (std::vector<double>{1.25}));
}

TEST_F(Comparison, ShapesMeasuredForTheDispatchTableOnlyAreNoPoints) {
  Database database(gpu());
  database.tuned(problem(512)).confirm("probe", problem(700), variant(gpu(), 1), took(1));
  std::vector<tuner::StoredTrial> trials = database.trials();
  trials.back().trial.phase = tuner::Phase::probe;
  const auto results = collect(trials);
  ASSERT_EQ(results[0].points.size(), 1U);
  EXPECT_EQ(results[0].points[0].problem.nk, 512);
  EXPECT_EQ(results[0].trials.size(), trials.size());
}

}  // namespace
}  // namespace fcsa::reports
