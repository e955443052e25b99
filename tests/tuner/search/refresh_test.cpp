#include "tuner/search/refresh.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <stdexcept>

#include "tests/tuner/fake_family.h"
#include "tuner/dispatch/dispatch.h"

namespace fcsa::tuner {
namespace {

using testing::FakeEvaluator;
using testing::MemorySink;

kernels::Problem problem_of_length(int length) {
  kernels::Problem problem;
  problem.nq = problem.nk = length;
  return problem;
}

// Twenty samples, so that the interval is that of the medians.
Evaluation timed(double median_ms, double relative_half_width = 0.001) {
  Evaluation evaluation;
  auto& m = evaluation.measurement;
  m.samples_ms.assign(20, median_ms);
  m.median_ms = median_ms;
  m.ci_low_ms = median_ms * (1 - relative_half_width);
  m.ci_high_ms = median_ms * (1 + relative_half_width);
  return evaluation;
}

const std::string kFast = "simt.forward{warps=2}", kUnfused = "unfused_cuda.forward{}";

// A tuned database of one GPU, and the same GPU now.
struct Then {
  Then() {
    device.uuid = "gpu-1", device.driver = "driver-1", device.compiler = "compiler-1";
    device.target = kernels::target_for_arch("sm_90a");
    baseline = kernels::to_text(simt, kernels::Op::forward, simt.baseline(problem, device.target));
  }

  const kernels::Family& simt = kernels::family_named("simt");
  kernels::Problem problem = problem_of_length(1024);
  kernels::DeviceInfo device;
  std::string baseline;
  std::vector<StoredTrial> trials;

  void add(const std::string& configuration, const Evaluation& evaluation, const std::string& race = "") {
    StoredTrial stored;
    stored.id = static_cast<std::int64_t>(trials.size()) + 1;
    stored.session.device = device;
    stored.trial = {.problem = problem,
                    .configuration = configuration,
                    .source_hash = "v1" + configuration,
                    .phase = race.empty()                  ? Phase::search
                             : race.starts_with("refresh") ? Phase::refresh
                                                           : Phase::confirm,
                    .race_id = race,
                    .finished_at = "2025-01-01T00:00:" + std::to_string(10 + trials.size()) + "Z",
                    .evaluation = evaluation};
    trials.push_back(stored);
  }
  void tuned() {
    add(kFast, timed(2), "race");
    add(baseline, timed(3), "race");
    add(kUnfused, timed(10), "race");
  }
  RecordedWinner winner() const {
    const auto winners = recorded_winners(trials, device);
    EXPECT_EQ(winners.size(), 1U);
    return winners.front();
  }
};

// Answers by configuration; the device is that of `then` until the test says otherwise.
class Now : public FakeEvaluator {
 public:
  explicit Now(const Then& then, std::map<std::string, Evaluation> answers)
      : FakeEvaluator(
            [this](const Candidate& candidate) { return answers_.at(testing::text_of(candidate)); }),
        info(then.device),
        answers_(std::move(answers)) {}
  const kernels::DeviceInfo& device() const override { return info; }
  std::string source_hash(const Candidate& candidate) override {
    const std::string text = testing::text_of(candidate);
    return (changed_sources.contains(candidate.family->name()) ? "v2" : "v1") + text;
  }

  kernels::DeviceInfo info;
  std::set<std::string> changed_sources;  // families

 private:
  std::map<std::string, Evaluation> answers_;
};

RefreshResult refreshed(const Then& then, Now& now, double tolerance = 0.02) {
  MemorySink sink;
  RecordingEvaluator recording(now, sink, 1, &std::chrono::steady_clock::now);
  return refresh(then.winner(), recording, tolerance);
}

TEST(Refresh, JudgesTheIntervalNotTheRatio) {
  EXPECT_EQ(freshness_of({1.00, 0.99, 1.01}, 0.02), Freshness::same);
  EXPECT_EQ(freshness_of({1.01, 0.99, 1.03}, 0.02), Freshness::unsure);
  EXPECT_EQ(freshness_of({1.05, 1.03, 1.07}, 0.02), Freshness::slower);
  EXPECT_EQ(freshness_of({1.05, 1.01, 1.09}, 0.02), Freshness::unsure);
  EXPECT_EQ(freshness_of({0.95, 0.93, 0.97}, 0.02), Freshness::faster);
  EXPECT_EQ(freshness_of({0.95, 0.93, 0.99}, 0.02), Freshness::unsure);
}

TEST(Refresh, MeasuresWhatTheDispatchTableChoosesWithItsAnchorsInOneRace) {
  Then then;
  then.tuned();
  Now now(then, {{kFast, timed(2)}, {then.baseline, timed(3)}, {kUnfused, timed(10)}});
  EXPECT_EQ(refreshed(then, now).freshness, Freshness::same);
  ASSERT_EQ(now.races.size(), 1U);
  EXPECT_EQ(now.races[0], (std::vector<std::string>{kFast, then.baseline, kUnfused}));
}

TEST(Refresh, ADriftThatHitsTheBaselineTooIsNoSlowdown) {
  Then then;
  then.tuned();
  Now now(then, {{kFast, timed(2.2)}, {then.baseline, timed(3.3)}, {kUnfused, timed(11)}});
  const auto result = refreshed(then, now);
  EXPECT_EQ(result.freshness, Freshness::same);
  EXPECT_EQ(result.relative_to, then.baseline);
  EXPECT_NEAR(result.ratio.value, 1, 1e-12);
  EXPECT_NEAR(result.drift, 1.1, 1e-12);
  EXPECT_DOUBLE_EQ(result.recorded_ms, 2);
  EXPECT_DOUBLE_EQ(result.now_ms, 2.2);
}

TEST(Refresh, SlowerAndFasterThanTheBaselineBecameAreTold) {
  Then then;
  then.tuned();
  Now slower(then, {{kFast, timed(2.2)}, {then.baseline, timed(3)}, {kUnfused, timed(10)}});
  EXPECT_EQ(refreshed(then, slower).freshness, Freshness::slower);
  Now faster(then, {{kFast, timed(1.8)}, {then.baseline, timed(3)}, {kUnfused, timed(10)}});
  EXPECT_EQ(refreshed(then, faster).freshness, Freshness::faster);
}

TEST(Refresh, AnchorsThatChangedWithTheWinnerGiveWayToThoseThatDidNot) {
  Then then;
  then.tuned();
  // The family's source was changed for the worse, for all of its kernels.
  Now now(then, {{kFast, timed(2.2)}, {then.baseline, timed(3.3)}, {kUnfused, timed(10)}});
  now.changed_sources = {"simt"};
  const auto result = refreshed(then, now);
  EXPECT_EQ(result.freshness, Freshness::slower);
  EXPECT_EQ(result.relative_to, kUnfused);
  EXPECT_EQ(result.changed, "source");
}

TEST(Refresh, AWinnerThatIsTheBaselineIsComparedWithTheYardstick) {
  Then then;
  then.add(then.baseline, timed(2), "race");
  then.add(kUnfused, timed(10), "race");
  Now now(then, {{then.baseline, timed(2.2)}, {kUnfused, timed(10)}});
  const auto result = refreshed(then, now);
  EXPECT_EQ(result.relative_to, kUnfused);
  EXPECT_EQ(result.freshness, Freshness::slower);
}

TEST(Refresh, WithoutARecordedRaceItComparesByTime) {
  Then then;
  then.add(kFast, timed(2));
  then.add(then.baseline, timed(3));
  Now now(then, {{kFast, timed(2.2)}});
  const auto result = refreshed(then, now);
  EXPECT_EQ(result.relative_to, "");
  EXPECT_EQ(result.freshness, Freshness::slower);
  EXPECT_EQ(result.drift, 0);
}

TEST(Refresh, ShapesThatWereOnlyProbedAreLeftOut) {
  Then then;
  then.tuned();
  then.problem = problem_of_length(1500);
  then.add(kFast, timed(4), "probe");
  then.trials.back().trial.phase = Phase::probe;
  EXPECT_EQ(then.winner().candidate.problem.nq, 1024);
}

TEST(Refresh, AProbeOfATunedShapeLeavesItsConfirmationTheRecord) {
  Then then;
  then.tuned();
  then.add(kFast, timed(2.1), "probe");
  then.trials.back().trial.phase = Phase::probe;
  EXPECT_EQ(then.winner().trial.trial.race_id, "race");
  EXPECT_EQ(then.winner().anchors.size(), 2U);
}

TEST(Refresh, AnAnchorThatFailsIsLeftOut) {
  Then then;
  then.tuned();
  Now now(then, {{kFast, timed(2)},
                 {then.baseline, testing::failed(Status::crashed)},
                 {kUnfused, testing::failed(Status::out_of_memory)}});
  const auto result = refreshed(then, now);
  EXPECT_EQ(result.relative_to, "");
  EXPECT_EQ(result.freshness, Freshness::same);
}

TEST(Refresh, AWinnerThatIsWrongNowHasFailed) {
  Then then;
  then.tuned();
  Now now(then,
          {{kFast, testing::failed(Status::wrong_result)}, {then.baseline, timed(3)}, {kUnfused, timed(10)}});
  const auto result = refreshed(then, now);
  EXPECT_EQ(result.freshness, Freshness::failed);
  EXPECT_EQ(result.message, "wrong_result: as the test wants");
}

TEST(Refresh, TooFewRecordedSamplesLeaveItUnsure) {
  Then then;
  then.tuned();
  then.trials[0].trial.evaluation.measurement.samples_ms = {2};
  Now now(then, {{kFast, timed(2)}, {then.baseline, timed(3)}, {kUnfused, timed(10)}});
  EXPECT_EQ(refreshed(then, now).freshness, Freshness::unsure);
}

TEST(Refresh, NamesWhatChanged) {
  Then then;
  then.tuned();
  Now now(then, {{kFast, timed(2)}, {then.baseline, timed(3)}, {kUnfused, timed(10)}});
  EXPECT_EQ(refreshed(then, now).changed, "");
  now.info.uuid = "gpu-2";
  now.info.driver = "driver-2";
  now.info.compiler = "compiler-2";
  EXPECT_EQ(refreshed(then, now).changed, "device, driver, compiler");
}

TEST(Refresh, IsRecordedAsARaceThatLaterRefreshesAndTablesDoNotBuildOn) {
  Then then;
  then.tuned();
  Now now(then, {{kFast, timed(4)}, {then.baseline, timed(3)}, {kUnfused, timed(10)}});
  MemorySink sink;
  RecordingEvaluator recording(now, sink, 1, &std::chrono::steady_clock::now);
  EXPECT_EQ(refresh(then.winner(), recording, 0.02).freshness, Freshness::slower);
  ASSERT_EQ(sink.trials.size(), 3U);
  EXPECT_EQ(sink.at_a_time, std::vector<std::size_t>{3});
  for (const auto& trial : sink.trials) {
    EXPECT_EQ(trial.phase, Phase::refresh);
    then.add(trial.configuration, trial.evaluation, trial.race_id);
    then.trials.back().trial.phase = trial.phase;
  }
  EXPECT_EQ(configuration_text(then.winner().candidate), kFast);
  EXPECT_DOUBLE_EQ(then.winner().trial.trial.evaluation.measurement.median_ms, 2);
  EXPECT_DOUBLE_EQ(make_dispatch_table(then.trials, "gpu-1").classes[0].entries[0].chosen_ms, 2);
}

TEST(Refresh, AKernelThatFailedIsNotChosenUntilItIsTunedAgain) {
  Then then;
  then.tuned();
  then.add(kFast, testing::failed(Status::wrong_result), "refresh-1");
  const auto chosen = [&] { return make_dispatch_table(then.trials, "gpu-1").classes[0].configurations; };
  EXPECT_EQ(chosen(), std::vector<std::string>{then.baseline});
  then.add(kFast, timed(2));
  EXPECT_EQ(chosen(), std::vector<std::string>{kFast});
}

TEST(Refresh, AFailureThatIsNotTheKernelsChangesNoTable) {
  Then then;
  then.tuned();
  then.add(kFast, testing::failed(Status::out_of_memory), "refresh-1");
  EXPECT_EQ(make_dispatch_table(then.trials, "gpu-1").classes[0].configurations,
            std::vector<std::string>{kFast});
}

TEST(Refresh, OfAModelWithoutTrialsIsRefused) {
  Then then;
  then.tuned();
  kernels::DeviceInfo other = then.device;
  other.name = "another model";
  EXPECT_THROW(recorded_winners(then.trials, other), std::invalid_argument);
}

}  // namespace
}  // namespace fcsa::tuner
