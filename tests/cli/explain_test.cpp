// fcsa explain, and what fcsa tune measures for it.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/cli/program.h"
#include "tuner/trials/store.h"

namespace fcsa::cli {
namespace {

using nlohmann::json;

const std::string kRecorded = FCSA_TEST_SOURCES "/benchmarks/results/h100_bf16_wgmma.db";
const std::string kH100 = "NVIDIA H100 80GB HBM3";

ProgramResult explain(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"explain", "--db", kRecorded, "--device", kH100});
  return run_fcsa(arguments);
}

TEST(Explain, SaysWhatIsChosenForAnUntunedShapeOfAGpuThatIsNotHere) {
  const auto result = explain({"--dtype", "bf16", "--head-dim", "128", "--seq", "1337", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const auto explanation = json::parse(result.out).at(0);
  EXPECT_EQ(explanation["device"]["name"], kH100);
  EXPECT_EQ(explanation["match"], "nearest");
  EXPECT_TRUE(explanation["choice"].get<std::string>().starts_with("wgmma.forward{"));
  EXPECT_GT(explanation["predicted_ms"].get<double>(), 0.2);
  EXPECT_LT(explanation["predicted_ms"].get<double>(), 0.5);
  const auto& chosen = explanation["rivals"][0];
  EXPECT_EQ(chosen["configuration"], explanation["choice"]);
  EXPECT_LT(chosen["measured"]["low_ms"], chosen["measured"]["high_ms"]);
  EXPECT_EQ(chosen["measured"]["registers"], 168);
  EXPECT_EQ(chosen["measured"]["occupancy"]["blocks"], 1);
  EXPECT_GE(explanation["rivals"].size(), 4u);
  EXPECT_EQ(explanation["neighbours"].size(), 4u);
}

TEST(Explain, TakesTheDeviceOfTheDatabaseWhereThisMachineHasNoGpu) {
  if (json::parse(run_fcsa({"devices", "--json"}).out).dump().find("cuda:0") != std::string::npos)
    GTEST_SKIP() << "this machine has a GPU";
  const auto result = run_fcsa({"explain", "--db", kRecorded, "--dtype", "bf16", "--seq", "4096"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("on " + kH100), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("exact: tuned at N = 4096"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("measured "), std::string::npos) << result.out;
}

TEST(Explain, SaysThatNothingLikeTheProblemWasTuned) {
  const auto result = explain({"--dtype", "f32", "--seq", "1024"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("default: nothing like it was tuned"), std::string::npos) << result.out;
}

TEST(Explain, ShowsEveryTunedShapeAndWhatLeavingItOutCosts) {
  const auto result = explain({"--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  const auto table = json::parse(result.out);
  std::set<std::string> tuned, tuned_classes;
  for (const auto& stored : tuner::Store(kRecorded, tuner::Store::Mode::read_only).trials()) {
    tuned.insert(kernels::to_text(stored.trial.problem));
    tuned_classes.insert(kernels::class_text(stored.trial.problem));
  }
  ASSERT_EQ(table["classes"].size(), tuned_classes.size());
  std::size_t shapes = 0;
  for (const auto& c : table["classes"]) {
    shapes += c["entries"].size();
    EXPECT_EQ(c["left_out"]["priced"].get<int>() + c["left_out"]["unpriced"].get<int>(), c["shapes"]);
    EXPECT_LE(c["worst_regret"], 0.02);
  }
  EXPECT_EQ(shapes, tuned.size());
}

TEST(Explain, RefusesADeviceThatNobodyKnows) {
  const auto result = run_fcsa({"explain", "--db", kRecorded, "--device", "NVIDIA Z9"});
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.err.find("'NVIDIA Z9' is not"), std::string::npos) << result.err;
}

TEST(Explain, MeasuresTheRegretOnShapesThatWereNeverTuned) {
  const TemporaryFolder folder;
  const std::vector<std::string> environment = {"XDG_CACHE_HOME=" + std::string(folder / "cache")};
  const std::string db = folder / "tuning.db";
  const auto tuned =
      run_fcsa({"tune", "--device", "cpu", "--head-dim", "32", "--seq", "32,128", "--heads", "2", "--batch",
                "1", "--causal", "no", "--evals", "2", "--budget", "8s", "--db", db},
               environment);
  ASSERT_EQ(tuned.status, 0) << tuned.err;
  EXPECT_NE(tuned.out.find("left out: median"), std::string::npos) << tuned.out;
  const auto before = tuner::Store(db, tuner::Store::Mode::read_only).trials().size();

  const auto result = run_fcsa(
      {"explain", "--db", db, "--device", "cpu", "--regret", "2", "--seed", "3", "--json"}, environment);
  ASSERT_EQ(result.status, 0) << result.err;
  const auto measured = json::parse(result.out);
  EXPECT_EQ(measured["failed"], 0);
  ASSERT_EQ(measured["shapes"].size(), 2u);
  EXPECT_GE(measured["worst_regret"], measured["median_regret"]);
  EXPECT_EQ(measured["shapes"][0]["match"], "nearest");
  EXPECT_EQ(tuner::Store(db, tuner::Store::Mode::read_only).trials().size(), before);
  const auto recorded = tuner::Store(folder / "tuning.regret.db", tuner::Store::Mode::read_only).trials();
  EXPECT_TRUE(std::all_of(recorded.begin(), recorded.end(),
                          [](const auto& stored) { return stored.trial.phase == tuner::Phase::probe; }));
  EXPECT_GE(recorded.size(), 2u);

  const std::string header = R"({"format": "fcsa workload", "version": 1})";
  const std::string known = R"({"dtype": "f32", "head_dim": 32, "batch": 1, "heads": 2, "nq": 32, "nk": 32})";
  const std::string other = R"({"dtype": "f32", "head_dim": 32, "batch": 1, "heads": 2, "nq": 48, "nk": 48})";
  std::ofstream(folder / "mixed.jsonl") << header << '\n' << known << '\n' << other << '\n';
  std::ofstream(folder / "known.jsonl") << header << '\n' << known << '\n';
  const auto regret_of_file = [&](const char* name) {
    return run_fcsa({"explain", "--db", db, "--device", "cpu", "--regret", "9", "--problems",
                     std::string(folder / name), "--json"},
                    environment);
  };
  const auto mixed = regret_of_file("mixed.jsonl");
  ASSERT_EQ(mixed.status, 0) << mixed.err;
  ASSERT_EQ(json::parse(mixed.out)["shapes"].size(), 1u);
  const auto nothing_left = regret_of_file("known.jsonl");
  EXPECT_EQ(nothing_left.status, 1);
  EXPECT_NE(nothing_left.err.find("every one of these problems was tuned"), std::string::npos)
      << nothing_left.err;
}

}  // namespace
}  // namespace fcsa::cli
