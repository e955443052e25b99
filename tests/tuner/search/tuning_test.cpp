#include "tuner/search/tuning.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/tuner/search/tuning_bench.h"

namespace fcsa::tuner {
namespace {

using testing::Bench;
using testing::failed;
using testing::parameter;
using testing::problem_of_length;
using testing::succeeded;
using testing::toy_time;
using testing::ToyFamily;

TEST(Tuning, MeasuresTheBaselineFirst) {
  Bench bench;
  bench.run();
  EXPECT_EQ(bench.evaluator.evaluated.front(), "toy.forward{}");
}

TEST(Tuning, MeasuresTheBaselinesOfAllProblemsBeforeAnySearch) {
  Bench bench;
  bench.problems = {problem_of_length(512), problem_of_length(1024), problem_of_length(2048)};
  bench.run();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(bench.evaluator.evaluated[i], "toy.forward{}");
  EXPECT_NE(bench.evaluator.evaluated[3], "toy.forward{}");
}

TEST(Tuning, FindsTheBestConfiguration) {
  Bench bench;
  const auto outcome = bench.run();
  EXPECT_EQ(outcome.problems[0].best, "toy.forward{a=8,b=2}");
  EXPECT_EQ(outcome.problems[0].best_ms, 1);
  EXPECT_EQ(outcome.problems[0].baseline_ms, 6);
  EXPECT_EQ(outcome.problems[0].unfused_ms, 20);
  EXPECT_EQ(outcome.problems[0].measured, 24u);
  EXPECT_EQ(outcome.problems[0].space, 24u);
  EXPECT_FALSE(outcome.interrupted);
}

// The fullest shape is tuned first: what isn't worth trying there may be the fastest on the emptiest.
TEST(Tuning, SearchesEveryShapeOfAClassInWhatIsWorthTryingThere) {
  Bench bench;
  bench.problems = {problem_of_length(4096), problem_of_length(64)};
  bench.toy.rules = {{"keys are too many to be split",
                      [](const kernels::Problem& p, const kernels::Configuration& c, const kernels::Target&) {
                        return c.at("a") != 8 || p.nk <= 64;
                      },
                      {"a"},
                      kernels::RuleKind::worth_here}};
  for (const char* strategy : {"exhaustive", "random", "local"}) {
    bench.options.strategy = strategy;
    bench.sink.trials.clear();
    const auto outcome = bench.run();
    EXPECT_EQ(outcome.problems[0].best, "toy.forward{a=4,b=2}") << strategy;
    EXPECT_EQ(outcome.problems[1].best, "toy.forward{a=8,b=2}") << strategy;
    for (const auto& trial : bench.sink.trials)
      EXPECT_TRUE(trial.problem.nk == 64 || !trial.configuration.starts_with("toy.forward{a=8"))
          << strategy << ": " << trial.configuration;
  }
}

// Of the shapes that follow, about what won before them alone.
TEST(Tuning, AsksTheRulesOfAClassOnceForEveryCombinationOfValues) {
  Bench bench;
  bench.problems = {problem_of_length(4096), problem_of_length(1024), problem_of_length(64)};
  std::map<int, int> asked;  // by length
  bench.toy.rules = {{"never",
                      [&](const kernels::Problem& p, const kernels::Configuration&, const kernels::Target&) {
                        ++asked[p.nk];
                        return true;
                      },
                      {"a", "b"}}};
  const auto outcome = bench.run();
  EXPECT_EQ(asked[4096], 24);
  EXPECT_LE(asked[1024] + asked[64], 12);
  EXPECT_EQ(outcome.problems[2].space, 24u);
}

TEST(Tuning, TriesNothingKnownThatItsSpaceLeavesOut) {
  Bench bench;
  bench.options.strategy = "random";
  bench.options.max_evaluations = 2;
  bench.toy.rules = {
      {"not eight",
       [](const auto&, const kernels::Configuration& c, const auto&) { return c.at("a") != 8; },
       {"a"},
       kernels::RuleKind::worth}};
  for (const char* known : {"toy.forward{a=8}", "toy.forward{a=7}"}) {
    bench.options.first = {bench.toy.configuration(known)};
    bench.run();
  }
  for (const auto& text : bench.evaluator.evaluated) {
    EXPECT_FALSE(text.starts_with("toy.forward{a=8"));
    EXPECT_FALSE(text.starts_with("toy.forward{a=7"));
  }
}

TEST(Tuning, RecordsEveryTrialWithItsProvenance) {
  Bench bench;
  bench.options.seed = 77;
  bench.run();
  ASSERT_EQ(bench.sink.count(Phase::search), 24u);
  const Trial& trial = bench.sink.trials.front();
  EXPECT_EQ(trial.problem, bench.problems[0]);
  EXPECT_EQ(trial.configuration, "toy.forward{}");
  EXPECT_EQ(trial.source_hash, "v1toy.forward{}");
  EXPECT_EQ(trial.seed, 77u);
  EXPECT_EQ(trial.race_id, "");
  EXPECT_EQ(trial.finished_at.size(), std::string("2025-01-31T12:00:00.000Z").size());
  EXPECT_EQ(trial.finished_at.back(), 'Z');
}

TEST(Tuning, RacesTheFinalistsWithTheBaselineAndTheYardstick) {
  Bench bench;
  bench.options.finalists = 2;
  bench.run();
  ASSERT_EQ(bench.evaluator.races.size(), 1u);
  const std::vector<std::string> expected = {"toy.forward{a=8,b=2}", "toy.forward{a=8,b=1}", "toy.forward{}",
                                             "unfused.forward{}"};
  EXPECT_EQ(std::set<std::string>(bench.evaluator.races[0].begin(), bench.evaluator.races[0].end()).size(),
            4u);
  EXPECT_EQ(bench.evaluator.races[0].front(), expected[0]);
  EXPECT_EQ(bench.evaluator.races[0][2], expected[2]);
  EXPECT_EQ(bench.evaluator.races[0][3], expected[3]);
}

TEST(Tuning, RecordsARaceAsOneConfirmation) {
  Bench bench;
  bench.problems = {problem_of_length(512), problem_of_length(1024)};
  bench.run();
  std::map<std::string, std::set<std::string>> problems_of_race;
  for (const auto& trial : bench.sink.trials) {
    if (trial.phase == Phase::confirm)
      problems_of_race[trial.race_id].insert(kernels::to_text(trial.problem));
  }
  EXPECT_EQ(problems_of_race.size(), 2u);
  EXPECT_FALSE(problems_of_race.contains(""));
  for (const auto& [race, problems] : problems_of_race) EXPECT_EQ(problems.size(), 1u);
  EXPECT_EQ(bench.sink.count(Phase::confirm), 2 * 6u);
}

TEST(Tuning, KeepsYardsticksOutOfTheSearch) {
  Bench bench;
  bench.run();
  for (const auto& text : bench.evaluator.evaluated) EXPECT_NE(text, "unfused.forward{}");
}

TEST(Tuning, RacesTheBaselineOnceWhenItIsAFinalist) {
  Bench bench;
  bench.options.max_evaluations = 1;
  const auto outcome = bench.run();
  EXPECT_EQ(bench.evaluator.races[0], (std::vector<std::string>{"toy.forward{}", "unfused.forward{}"}));
  EXPECT_EQ(outcome.problems[0].best, "toy.forward{}");
}

TEST(Tuning, DecidesByTheRaceAndNotByTheSearch) {
  Bench bench;
  bench.evaluator.on_race = [](const Candidate& candidate) {
    return succeeded(testing::text_of(candidate) == "toy.forward{a=8,b=2}"
                         ? 4
                         : 3 + toy_time(candidate).measurement.median_ms / 100);
  };
  const auto outcome = bench.run();
  EXPECT_NE(outcome.problems[0].best, "toy.forward{a=8,b=2}");
  EXPECT_LT(outcome.problems[0].best_ms, 4);
}

TEST(Tuning, PrefersTheBaselineWhenIntervalsOverlapAndSaysSo) {
  Bench bench;
  bench.evaluator.on_race = [](const Candidate& candidate) {
    return succeeded(testing::text_of(candidate) == "toy.forward{}" ? 2.1 : 2.0, 0.1);
  };
  const auto outcome = bench.run();
  EXPECT_EQ(outcome.problems[0].best, "toy.forward{}");
  EXPECT_NE(outcome.problems[0].message.find("tie"), std::string::npos);
  EXPECT_NE(outcome.problems[0].message.find("baseline"), std::string::npos);
}

TEST(Tuning, PrefersFewerChangedParametersAmongTheTied) {
  Bench bench;
  bench.options.finalists = 2;
  bench.evaluator.on_race = [](const Candidate& candidate) {
    const auto text = testing::text_of(candidate);
    if (text == "toy.forward{}") return succeeded(9);
    return succeeded(text == "toy.forward{b=2}" ? 2.05 : 2.0, 0.1);
  };
  bench.evaluator.on_evaluate = [](const Candidate& candidate) {
    return succeeded(
        testing::text_of(candidate) == "toy.forward{b=2}" ? 1.5 : toy_time(candidate).measurement.median_ms);
  };
  EXPECT_EQ(bench.run().problems[0].best, "toy.forward{b=2}");
}

TEST(Tuning, CallsNoTieWhenIntervalsAreApart) {
  Bench bench;
  EXPECT_EQ(bench.run().problems[0].message, "");
}

TEST(Tuning, AsksForCompilationAheadOfTheMeasurements) {
  Bench bench;
  bench.options.pending = 5;
  bench.run();
  std::size_t waiting = 0;
  std::set<std::string> compiling;
  for (const auto& event : bench.evaluator.events) {
    const auto text = event.substr(event.find(' ') + 1);
    if (event.starts_with("prefetch")) compiling.insert(text);
    if (event.starts_with("evaluate")) {
      EXPECT_TRUE(compiling.contains(text)) << text;
      compiling.erase(text);
      waiting = std::max(waiting, compiling.size());
    }
  }
  EXPECT_EQ(waiting, 4u);
}

TEST(Tuning, AsksForNoCompilationTwice) {
  Bench bench;
  bench.problems = {problem_of_length(512), problem_of_length(1024)};
  bench.run();
  const auto& all = bench.evaluator.prefetched;
  EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), all.size());
}

TEST(Tuning, GoesOnAfterFailuresAndCountsThem) {
  Bench bench;
  bench.evaluator.on_evaluate = [](const Candidate& candidate) {
    const int a = candidate.configuration.at("a");
    if (a == 2) return failed(Status::crashed);
    if (a == 4) return failed(Status::pruned);
    return toy_time(candidate);
  };
  const auto outcome = bench.run();
  EXPECT_EQ(outcome.problems[0].failed, 4u);
  EXPECT_EQ(outcome.problems[0].pruned, 4u);
  EXPECT_EQ(outcome.problems[0].measured, 24u);
  EXPECT_EQ(outcome.problems[0].best, "toy.forward{a=8,b=2}");
}

TEST(Tuning, SearchesOnWhenTheBaselineFails) {
  Bench bench;
  bench.evaluator.on_evaluate = [](const Candidate& candidate) {
    return testing::text_of(candidate) == "toy.forward{}" ? failed(Status::wrong_result)
                                                          : toy_time(candidate);
  };
  const auto outcome = bench.run();
  EXPECT_EQ(outcome.problems[0].best, "toy.forward{a=8,b=2}");
  EXPECT_EQ(outcome.problems[0].baseline_ms, 0);
  for (const auto& name : bench.evaluator.races[0]) EXPECT_NE(name, "toy.forward{}");
}

TEST(Tuning, SaysWhyNothingWorked) {
  Bench bench;
  bench.evaluator.on_evaluate = [](const Candidate&) { return failed(Status::compile_failed); };
  const auto outcome = bench.run();
  EXPECT_EQ(outcome.problems[0].best, "");
  EXPECT_NE(outcome.problems[0].message.find("toy.forward{}: compile_failed as the test wants"),
            std::string::npos);
}

TEST(Tuning, GivesUpOnAFamilyOfWhichNothingCompiles) {
  Bench bench;
  bench.evaluator.on_evaluate = [](const Candidate&) { return failed(Status::compile_failed); };
  bench.run();
  EXPECT_EQ(bench.evaluator.evaluated.size(), 16u);
}

TEST(Tuning, SaysWhyNoFamilyServesAProblem) {
  Bench bench;
  bench.toy.not_served = "toys don't do this";
  const auto outcome = bench.run();
  EXPECT_NE(outcome.problems[0].message.find("toy: toys don't do this"), std::string::npos);
  EXPECT_TRUE(bench.evaluator.evaluated.empty());
}

TEST(Tuning, NeverEvaluatesWhatAConstraintForbids) {
  Bench bench;
  bench.toy.rules = {{"b is too large", [](const auto&, const kernels::Configuration& c, const auto&) {
                        return c.at("b") < 3;
                      }}};
  const auto outcome = bench.run();
  EXPECT_EQ(bench.evaluator.evaluated.size(), 12u);
  EXPECT_EQ(outcome.problems[0].space, 12u);
  EXPECT_EQ(outcome.problems[0].pruned, 12u);
}

TEST(Tuning, TriesTheBestOfTheNearestTunedLengthFirst) {
  Bench bench;
  bench.problems = {problem_of_length(512), problem_of_length(4096), problem_of_length(8192)};
  bench.evaluator.on_race = bench.evaluator.on_evaluate = [](const Candidate& candidate) {
    if (!candidate.family->tunable()) return succeeded(1000);
    const int best = candidate.problem.nq == 512 ? 4 : 16;
    return succeeded(1 + std::abs(candidate.configuration.at("a") - best) + candidate.configuration.at("b"));
  };
  std::vector<std::string> tried;
  bench.also = [&](const Progress& p) {
    if (p.problem == 3 && p.candidate != nullptr) tried.push_back(testing::text_of(*p.candidate));
  };
  bench.run();
  ASSERT_GE(tried.size(), 2u);
  EXPECT_EQ(tried[0], "toy.forward{}");
  EXPECT_EQ(tried[1], "toy.forward{a=16}");
}

TEST(Tuning, TriesWhatWasGivenRightAfterTheBaselineWhereItIsValid) {
  Bench bench;
  const auto suggestion = [&](const std::string& text) {
    return kernels::configuration_from_text(text, "toy.forward", bench.toy.parameters(kernels::Op::forward));
  };
  const std::vector<kernels::Configuration> suggestions = {
      suggestion("toy.forward{a=7}"), suggestion("toy.forward{a=16,b=3}"), suggestion("toy.forward{}"),
      suggestion("toy.forward{a=8,b=2}")};
  bench.options.first = suggestions;
  bench.options.max_evaluations = 3;
  std::vector<std::string> tried;
  bench.also = [&](const Progress& p) {
    if (p.candidate == nullptr) return;
    tried.push_back(kernels::to_text(*p.candidate->family, kernels::Op::forward, p.candidate->configuration));
  };
  bench.run();
  EXPECT_EQ(tried,
            (std::vector<std::string>{"toy.forward{}", "toy.forward{a=16,b=3}", "toy.forward{a=8,b=2}"}));
}

// What is tried on the last of the problems.
std::vector<std::string> tried_last(Bench& bench) {
  std::vector<std::string> tried;
  bench.also = [&](const Progress& p) {
    if (p.problem == bench.problems.size() && p.candidate != nullptr)
      tried.push_back(testing::text_of(*p.candidate));
  };
  bench.run();
  bench.also = nullptr;
  return tried;
}

TEST(Tuning, TriesWhatWonOnProblemsThatDifferInAFeatureWhereTheClassHasNothing) {
  Bench bench;
  bench.problems = {problem_of_length(512), problem_of_length(1024)};
  bench.problems[1].causal = true;
  EXPECT_EQ(tried_last(bench).at(1), "toy.forward{a=8,b=2}");
}

TEST(Tuning, TransfersNothingBetweenHeadDims) {
  Bench bench;
  bench.problems = {problem_of_length(512), problem_of_length(1024)};
  bench.problems[1].head_dim = 128;
  EXPECT_EQ(tried_last(bench).at(1), "toy.forward{b=2}");
}

TEST(Tuning, TriesWhatWonOnEveryProblemOfTheClassBeforeTheStrategyIsAsked) {
  Bench bench;
  bench.problems = {problem_of_length(512), problem_of_length(4096), problem_of_length(64),
                    problem_of_length(1024)};
  bench.options.known = [&](const kernels::Problem&) {
    return std::vector{kernels::configuration_from_text("toy.forward{a=2,b=4}", "toy.forward",
                                                        bench.toy.parameters(kernels::Op::forward))};
  };
  bench.evaluator.on_race = bench.evaluator.on_evaluate = [](const Candidate& candidate) {
    if (!candidate.family->tunable()) return succeeded(1000);
    const int nq = candidate.problem.nq, best = nq == 512 ? 8 : nq == 4096 ? 16 : 32;
    return succeeded(100 + std::abs(candidate.configuration.at("a") - best));
  };
  const auto tried = tried_last(bench);
  EXPECT_EQ(std::vector(tried.begin(), tried.begin() + 4),
            (std::vector<std::string>{"toy.forward{}", "toy.forward{a=8}", "toy.forward{a=16}",
                                      "toy.forward{a=32}"}));
  EXPECT_LT(std::find(tried.begin(), tried.end(), "toy.forward{a=2,b=4}") - tried.begin(), 10);
}

TEST(Tuning, GivesNoTimeToAFamilyThatHasLostButWhereNothingIsKnown) {
  Bench bench;
  ToyFamily other("other", {parameter("a", {1, 8}, 1), parameter("b", {1, 2}, 1)});
  bench.options.clock = [&] { return bench.evaluator.now(); };
  bench.evaluator.on_evaluate = [](const Candidate& candidate) {
    return succeeded(toy_time(candidate).measurement.median_ms *
                     (candidate.family->name() == "other" ? 20 : 1));
  };
  for (const bool cold : {false, true}) {
    bench.options.cold = cold;
    bench.sink.trials.clear();
    bench.evaluator.evaluated.clear();
    tune(bench.problems, {&bench.toy, &other}, bench.evaluator, bench.sink, bench.options, nullptr,
         bench.stop);
    const auto others = std::count_if(bench.evaluator.evaluated.begin(), bench.evaluator.evaluated.end(),
                                      [](const auto& text) { return text.starts_with("other"); });
    EXPECT_EQ(others, cold ? 4 : 1);
  }
}

TEST(Tuning, SearchesEveryTunableFamilyAndRacesThemTogether) {
  Bench bench;
  ToyFamily other("other", {parameter("a", {1, 8}, 1), parameter("b", {1, 2}, 1)});
  bench.options.finalists = 5;
  bench.options.clock = [&] { return bench.evaluator.now(); };
  bench.evaluator.on_race = bench.evaluator.on_evaluate = [](const Candidate& candidate) {
    return succeeded(toy_time(candidate).measurement.median_ms *
                     (candidate.family->name() == "other" ? 0.5 : 1));
  };
  const auto outcome = tune(bench.problems, {&bench.toy, &other, &bench.unfused}, bench.evaluator, bench.sink,
                            bench.options, nullptr, bench.stop);
  EXPECT_EQ(outcome.problems[0].best, "other.forward{a=8,b=2}");
  EXPECT_EQ(outcome.problems[0].baseline_ms, 3);
  EXPECT_EQ(outcome.problems[0].measured, 28u);
  const auto& race = bench.evaluator.races[0];
  EXPECT_EQ(std::count(race.begin(), race.end(), "toy.forward{a=8,b=2}"), 1);
  EXPECT_EQ(std::count(race.begin(), race.end(), "other.forward{}"), 1);
}

TEST(Tuning, RacesNoOtherFamilyThatHasLostTheSearchByFar) {
  Bench bench;
  ToyFamily other("other", {parameter("a", {1, 8}, 1), parameter("b", {1, 2}, 1)});
  bench.options.clock = [&] { return bench.evaluator.now(); };
  bench.options.finalists = 100;
  bench.evaluator.on_evaluate = [](const Candidate& candidate) {
    return succeeded(toy_time(candidate).measurement.median_ms *
                     (candidate.family->name() == "other" ? 20 : 1));
  };
  tune(bench.problems, {&bench.toy, &other, &bench.unfused}, bench.evaluator, bench.sink, bench.options,
       nullptr, bench.stop);
  const auto& race = bench.evaluator.races.at(0);
  EXPECT_EQ(race.size(), 25u);
  EXPECT_EQ(std::count(race.begin(), race.end(), "other.forward{}"), 0);
}

TEST(Tuning, ReportsThatNoContenderFinishedTheRace) {
  Bench bench;
  bench.evaluator.on_race = [](const Candidate&) { return failed(Status::timed_out); };
  const auto outcome = bench.run();
  EXPECT_EQ(outcome.problems[0].best, "");
  EXPECT_EQ(outcome.problems[0].unfused_ms, 0);
  EXPECT_NE(outcome.problems[0].message.find("timed_out"), std::string::npos);
}

TEST(Tuning, LeavesTheYardstickOutWhenItDoesNotRun) {
  Bench bench;
  bench.evaluator.on_race = [](const Candidate& candidate) {
    return candidate.family->tunable() ? toy_time(candidate) : failed(Status::out_of_memory);
  };
  const auto outcome = bench.run();
  EXPECT_EQ(outcome.problems[0].best, "toy.forward{a=8,b=2}");
  EXPECT_EQ(outcome.problems[0].unfused_ms, 0);
}

TEST(Tuning, ColdTakesTheSimplestConfigurationForTheBaseline) {
  Bench bench;
  bench.toy.rules = {{"not the baseline", [](const auto&, const kernels::Configuration& c, const auto&) {
                        return c.at("a") > 1;
                      }}};
  bench.options.cold = true;
  bench.run();
  EXPECT_EQ(bench.evaluator.evaluated.front(), "toy.forward{a=2}");
  EXPECT_EQ(std::count(bench.evaluator.evaluated.begin(), bench.evaluator.evaluated.end(), "toy.forward{}"),
            0);
}

TEST(Tuning, SaysWhyASearchEndedBeforeItsTime) {
  Bench bench;
  EXPECT_EQ(bench.run().problems[0].finished, "every configuration was tried");
  bench.options.max_evaluations = 5;
  EXPECT_EQ(bench.run().problems[0].finished, "");
}

}  // namespace
}  // namespace fcsa::tuner
