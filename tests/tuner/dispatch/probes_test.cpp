#include "tuner/dispatch/probes.h"

#include <gtest/gtest.h>

#include "tests/tuner/fake_family.h"
#include "tests/tuner/history.h"

namespace fcsa::tuner {
namespace {

using testing::History;
using testing::square_problem;

// Tiles of 128 and of 256 rows, and one that nothing is won by.
const std::string kNarrow = "simt.forward{}", kWide = "simt.forward{warps=8}",
                  kSlow = "simt.forward{thread_m=4}";

kernels::Problem problem_of(int length) {
  auto problem = square_problem(length);
  problem.heads = problem.kv_heads = 132;
  return problem;
}

// Wide tiles are the better by 5% for the same work; rows cost them more.
double true_ms(const kernels::Problem& problem, const std::string& configuration) {
  const bool wide = configuration == kWide;
  const kernels::Model model{
      {.rows = wide ? 256 : 128, .keys = 32}, wide ? 2e-4 : 1e-4, wide ? 0.95e-6 : 1e-6};
  return kernels::modelled_ms(model, problem, 132) * (configuration == kSlow ? 2 : 1);
}

struct Bench {
  Bench() {
    history.device.target.multiprocessors = 132;
    evaluator.info = sink.device = history.device;
  }

  History history;
  testing::FakeEvaluator evaluator{[](const Candidate& candidate) {
    return testing::succeeded(true_ms(candidate.problem, configuration_text(candidate)));
  }};
  testing::MemorySink sink;
  std::vector<Probe> probes;
  int most = 100;

  void measured(int length, const std::vector<std::string>& configurations) {
    for (const auto& configuration : configurations)
      searched(length, configuration, true_ms(problem_of(length), configuration));
  }
  void searched(int length, const std::string& configuration, double ms) {
    auto& trial = history.add(problem_of(length), configuration, ms).trial;
    trial.source_hash = evaluator.source_version + configuration;
  }
  ProbedClass probed() const {
    return {kernels::class_text(problem_of(1)), history.trials, history.device, 0.02};
  }
  ProbedClass run() {
    RecordingEvaluator recording(evaluator, sink, 1, [this] { return evaluator.now(); });
    std::vector<ProbedClass> classes{probed()};
    run_probes(classes, recording,
               {.may_start = [&] { return most-- > 0; },
                .starting = [&](const ProbedClass&, const Probe& probe) { probes.push_back(probe); }});
    return classes.front();
  }
  bool probed_as(ProbeKind kind) const {
    return std::any_of(probes.begin(), probes.end(), [&](const auto& probe) { return probe.kind == kind; });
  }
};

TEST(Probes, MeasureEveryChoiceOnEveryShapeInOneRace) {
  Bench bench;
  bench.measured(128, {kNarrow, kSlow});
  bench.measured(8192, {kWide});
  const auto probe = bench.probed().next();
  ASSERT_TRUE(probe);
  EXPECT_EQ(probe->kind, ProbeKind::every_choice);
  const auto probed = bench.run();
  for (const auto& entry : probed.dispatch()->entries)
    for (const double ms : entry.times_ms) EXPECT_GT(ms, 0);
  EXPECT_EQ(bench.sink.count(Phase::probe), bench.sink.trials.size());
  EXPECT_FALSE(bench.sink.trials.front().race_id.empty());
}

TEST(Probes, NarrowABreakPointDown) {
  Bench bench;
  for (const int length : {128, 8192}) bench.measured(length, {kNarrow, kWide});
  const auto probe = bench.probed().next();
  ASSERT_TRUE(probe);
  EXPECT_EQ(probe->kind, ProbeKind::break_point);
  EXPECT_EQ(probe->problem.nq, 1024);
  const auto probed = bench.run();
  EXPECT_GT(probed.dispatch()->entries.size(), 2u);
  EXPECT_FALSE(probed.next());
}

TEST(Probes, LookForShapesWhereAnotherConfigurationWins) {
  Bench bench;
  for (const int length : {2048, 4096, 8192}) bench.measured(length, {kNarrow, kWide});
  ASSERT_EQ(bench.probed().dispatch()->configurations, std::vector<std::string>{kWide});
  const auto probe = bench.probed().next();
  ASSERT_TRUE(probe);
  EXPECT_EQ(probe->kind, ProbeKind::unlike_choice);
  const auto probed = bench.run();
  EXPECT_EQ(probed.dispatch()->configurations.size(), 2u);
}

TEST(Probes, GiveUpWhenTheTableWasRightFourTimes) {
  Bench bench;
  for (const int length : {2048, 4096, 8192}) {
    bench.measured(length, {kWide});
    bench.searched(length, kNarrow, 1.01 * true_ms(problem_of(length), kWide));
  }
  bench.evaluator.on_race = [](const Candidate& candidate) {
    return testing::succeeded(configuration_text(candidate) == kWide ? 1 : 2);
  };
  bench.run();
  EXPECT_LE(std::count_if(bench.probes.begin(), bench.probes.end(),
                          [](const auto& probe) { return probe.kind == ProbeKind::unlike_choice; }),
            4);
}

TEST(Probes, PriceWhatATableWithoutAShapeWouldChoose) {
  Bench bench;
  bench.measured(1024, {kNarrow});
  bench.measured(2048, {kSlow});
  ASSERT_EQ(bench.probed().dispatch()->left_out.priced, 0u);
  EXPECT_EQ(bench.run().dispatch()->left_out.unpriced, 0u);
}

TEST(Probes, DoNotRepeatWhatFailed) {
  Bench bench;
  bench.measured(128, {kNarrow, kSlow});
  bench.measured(8192, {kWide});
  bench.evaluator.on_race = [](const Candidate&) { return testing::failed(Status::out_of_memory); };
  bench.run();
  EXPECT_LT(bench.probes.size(), 10u);
  EXPECT_GT(bench.most, 0);
}

TEST(Probes, StopWhenThereIsNoTimeLeft) {
  Bench bench;
  bench.measured(128, {kNarrow, kSlow});
  bench.measured(8192, {kWide});
  bench.most = 1;
  bench.run();
  EXPECT_EQ(bench.probes.size(), 1u);
}

TEST(Probes, GoOnWhereAnEarlierRunStopped) {
  Bench bench;
  for (const int length : {128, 8192}) bench.measured(length, {kNarrow, kWide});
  bench.run();
  const auto before = bench.probes.size();
  for (auto stored : bench.sink.recorded()) {
    stored.id += 1000;
    bench.history.trials.push_back(stored);
  }
  bench.probes.clear();
  bench.run();
  EXPECT_LT(bench.probes.size(), before);
  EXPECT_FALSE(bench.probed_as(ProbeKind::every_choice));
  EXPECT_FALSE(bench.probed_as(ProbeKind::break_point));
}

TEST(Probes, DoNothingForAClassWithoutTrials) {
  Bench bench;
  EXPECT_FALSE(bench.probed().next());
  EXPECT_EQ(bench.probed().dispatch(), nullptr);
}

}  // namespace
}  // namespace fcsa::tuner
