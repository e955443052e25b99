// Tuned data of a known device, from a database to the text in the source tree and to those who have not
// tuned.
#include <gtest/gtest.h>

#include <fstream>

#include "runner/cpu/cpu_device.h"
#include "tests/cli/program.h"
#include "tuner/search/space.h"
#include "tuner/trials/store.h"

namespace fcsa::cli {
namespace {

using tuner::Store;

kernels::Problem tuned_problem() {
  kernels::Problem problem;
  problem.head_dim = 32;
  problem.nq = problem.nk = 64;
  return problem;
}

class Shipped : public testing::Test {
 protected:
  Shipped() {
    const auto device = runner::cpu::describe_cpu("a compiler");
    const auto& family = kernels::family_named("cpu");
    best_ = kernels::to_text(family, kernels::Op::forward,
                             tuner::Space(family, tuned_problem(), device.target).valid().back());
  }

  // Of this machine, where the configuration won that is far from the baseline.
  void write_database(const std::filesystem::path& file) const {
    tuner::Session session;
    session.id = "tuned";
    session.command = "fcsa tune --db FILE";
    session.device = runner::cpu::describe_cpu("a compiler");
    tuner::Trial trial;
    trial.problem = tuned_problem();
    trial.configuration = best_;
    trial.source_hash = "a source";
    trial.finished_at = "2025-01-01T00:00:00Z";
    trial.evaluation.measurement.samples_ms = {1};
    trial.evaluation.measurement.median_ms = 1;
    Store store(file, Store::Mode::read_write);
    store.begin_session(session);
    store.record(trial);
  }

  // The program as it is installed, with the data that is shipped beside it.
  void install() {
    std::filesystem::create_directories(folder_ / "bin");
    std::error_code other_disk;
    std::filesystem::create_hard_link(FCSA_PROGRAM, folder_ / "bin/fcsa", other_disk);
    if (other_disk) std::filesystem::copy_file(FCSA_PROGRAM, folder_ / "bin/fcsa");
    write_database(folder_ / "share/fcsa/tuned.db");
  }

  ProgramResult run(const std::vector<std::string>& arguments) const {
    return run_program(folder_ / "bin/fcsa", arguments,
                       {"XDG_DATA_HOME=" + std::string(folder_ / "home"),
                        "XDG_CACHE_HOME=" + std::string(folder_ / "cache")});
  }

  const TemporaryFolder folder_;
  std::string best_;
};

TEST_F(Shipped, EmitTakesItWhereTheUserHasTunedNothing) {
  install();
  const ProgramResult result = run({"emit", "--out", folder_ / "include"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.err.find("taking the data that is shipped with fcsa"), std::string::npos) << result.err;
  EXPECT_TRUE(std::filesystem::exists(folder_ / "include/fcsa_tuned_cpu.h"));
}

TEST_F(Shipped, ExplainTakesItWhereTheUserHasTunedNothing) {
  install();
  const std::string name = runner::cpu::describe_cpu("").name;
  for (const auto& device : {std::string("cpu"), name}) {
    const ProgramResult result = run({"explain", "--device", device});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_NE(result.out.find(best_), std::string::npos) << result.out;
    EXPECT_NE(result.err.find("taking the data that is shipped with fcsa"), std::string::npos) << result.err;
  }
}

TEST_F(Shipped, EmitPrefersWhatTheUserHasTuned) {
  install();
  write_database(folder_ / "home/fcsa/tuning.db");
  const ProgramResult result = run({"emit", "--out", folder_ / "include"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err.find("shipped"), std::string::npos) << result.err;
  // What is named has to be there.
  EXPECT_EQ(run({"emit", "--db", folder_ / "none.db", "--out", folder_ / "include"}).status, 1);
}

TEST_F(Shipped, AnotherFileOrNoneCanTakeItsPlace) {
  write_database(folder_ / "elsewhere.db");
  const auto emit = [&](const std::string& variable) {
    return run_fcsa({"emit", "--out", folder_ / "include"},
                    {"XDG_DATA_HOME=" + std::string(folder_ / "home"), variable});
  };
  EXPECT_EQ(emit("FCSA_TUNED_DATA=" + std::string(folder_ / "elsewhere.db")).status, 0);
  const ProgramResult none = emit("FCSA_TUNED_DATA=");
  EXPECT_EQ(none.status, 1);
  EXPECT_NE(none.err.find("there is no such tuning database"), std::string::npos) << none.err;
}

TEST_F(Shipped, TuneTriesTheBestOfItRightAfterTheBaseline) {
  install();
  const ProgramResult result =
      run({"tune", "--device", "cpu", "--head-dim", "32", "--seq", "80", "--heads", "1", "--batch", "1",
           "--causal", "no", "--evals", "2", "--budget", "60s", "--quiet"});
  EXPECT_EQ(result.status, 0) << result.err;
  const auto trials = Store(folder_ / "home/fcsa/tuning.db", Store::Mode::read_only).trials();
  ASSERT_GE(trials.size(), 2U);
  EXPECT_EQ(trials[1].trial.configuration, best_);
}

TEST_F(Shipped, WhatThisProgramMeasuredShipsAsTextAndMergesBack) {
  const std::string db = folder_ / "tuning.db", text = folder_ / "cpu.json", merged = folder_ / "merged.db";
  const std::vector<std::string> environment = {"XDG_CACHE_HOME=" + std::string(folder_ / "cache")};
  const ProgramResult tuned =
      run_fcsa({"tune", "--device", "cpu", "--head-dim", "32", "--seq", "64", "--heads", "1", "--batch", "1",
                "--causal", "no", "--evals", "1", "--quiet", "--db", db},
               environment);
  ASSERT_EQ(tuned.status, 0) << tuned.err;
  const ProgramResult shipped = run_fcsa({"db", "--db", db, "ship", "--out", text});
  ASSERT_EQ(shipped.status, 0) << shipped.err;
  EXPECT_EQ(shipped.err.find("left out"), std::string::npos) << shipped.err;
  ASSERT_EQ(run_fcsa({"db", "--db", merged, "merge", text}).status, 0);
  EXPECT_EQ(run_fcsa({"emit", "--db", merged, "--out", folder_ / "include"}).status, 0);
}

TEST_F(Shipped, TrialsOfOtherKernelSourcesAreNotShipped) {
  const std::string db = folder_ / "tuning.db";
  write_database(db);
  const ProgramResult result = run_fcsa({"db", "--db", db, "ship", "--out", folder_ / "cpu.json"});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("1 of 1 trials were measured with other kernel sources"), std::string::npos)
      << result.err;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "cpu.json"));
  EXPECT_EQ(run_fcsa({"db", "--db", db, "ship", "--device", "another"}).status, 2);
}

TEST_F(Shipped, TextThatIsNoTunedDataIsRefused) {
  const std::string text = folder_ / "other.json";
  std::ofstream(text) << "{}";
  const ProgramResult result = run_fcsa({"db", "--db", folder_ / "tuning.db", "merge", text});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("is no tuned data as `fcsa db ship` writes it"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace fcsa::cli
