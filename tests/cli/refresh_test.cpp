// fcsa tune --refresh on the CPU device, over histories that were made faster or slower by hand.
#include <SQLiteCpp/SQLiteCpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "runner/cpu/cpu_device.h"
#include "tests/cli/program.h"
#include "tuner/trials/store.h"

namespace fcsa::cli {
namespace {

class RefreshProgram : public testing::Test {
 protected:
  std::string db() const { return folder_ / "tuning.db"; }

  // A history of this machine in which the baseline won and took so long.
  void pretend_it_took(double median_ms) const {
    tuner::Session session;
    session.id = "tuned";
    session.command = "fcsa tune --seq 64";
    session.device = runner::cpu::describe_cpu("an earlier compiler");
    tuner::Trial trial;
    trial.problem.head_dim = 32;
    trial.problem.nq = trial.problem.nk = 64;
    const auto& family = kernels::family_named("cpu");
    trial.configuration =
        kernels::to_text(family, trial.problem.op, family.baseline(trial.problem, session.device.target));
    trial.source_hash = "an earlier source";
    trial.phase = tuner::Phase::confirm;
    trial.race_id = "race";
    trial.finished_at = "2025-01-01T00:00:00Z";
    auto& measurement = trial.evaluation.measurement;
    measurement.samples_ms.assign(20, median_ms);
    measurement.median_ms = measurement.ci_low_ms = measurement.ci_high_ms = median_ms;
    tuner::Store store(db(), tuner::Store::Mode::read_write);
    store.begin_session(session);
    store.record(trial);
  }

  ProgramResult refresh(const std::vector<std::string>& more,
                        const std::string& variable = "FCSA_NONE=") const {
    std::vector<std::string> words = {"tune", "--refresh", "--device", "cpu", "--quiet", "--db", db()};
    words.insert(words.end(), more.begin(), more.end());
    return run_fcsa(words, {variable, "XDG_CACHE_HOME=" + std::string(folder_ / "cache")});
  }

  const TemporaryFolder folder_;
};

TEST_F(RefreshProgram, AWinnerThatTakesAsLongAsRecordedIsTheSameAndItsRaceIsKept) {
  pretend_it_took(0.03);
  // Whatever machine this is, and busy with other tests.
  const ProgramResult result = refresh({"--tolerance", "999", "--json"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("\"verdict\": \"SAME\""), std::string::npos) << result.out;
  const auto after = tuner::Store(db(), tuner::Store::Mode::read_only).trials();
  ASSERT_EQ(after.size(), 2U);
  EXPECT_NE(after.back().session.id, "tuned");
  EXPECT_NE(after.back().session.command.find("--refresh"), std::string::npos);
}

TEST_F(RefreshProgram, AWinnerThatTakesLongerFailsAndSaysHowItWasTuned) {
  pretend_it_took(1e-6);
  const ProgramResult result = refresh({"--tolerance", "100"});
  EXPECT_EQ(result.status, 1) << result.out;
  EXPECT_NE(result.out.find("1 SLOWER"), std::string::npos) << result.out << result.err;
  EXPECT_NE(result.out.find("to search again: fcsa tune --seq 64"), std::string::npos) << result.out;
  // The verdict is about what tuning recorded: it doesn't change by asking twice.
  EXPECT_EQ(refresh({"--tolerance", "100"}).status, 1);
}

TEST_F(RefreshProgram, AWinnerThatTakesLessTimeIsFaster) {
  pretend_it_took(1e6);
  const ProgramResult result = refresh({"--tolerance", "100"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_NE(result.out.find("1 FASTER"), std::string::npos) << result.out;
}

TEST_F(RefreshProgram, AWinnerThatDoesNotCompileHasFailed) {
  pretend_it_took(0.03);
  const auto compiler = folder_ / "c++";
  std::ofstream(compiler) << "#!/bin/sh\ncase \"$1\" in -*version) exec c++ \"$@\";; esac\n"
                             // It works, as what asks that at the start sees.
                             "grep -q 'void nothing()' kernel.cpp && exec c++ \"$@\"\n"
                             "echo 'kernel.cpp:1:1: error: not any more'; exit 1\n";
  chmod(compiler.c_str(), 0755);
  const ProgramResult result = refresh({}, "FCSA_CXX=" + compiler.string());
  EXPECT_EQ(result.status, 1) << result.out;
  EXPECT_NE(result.out.find("1 FAILED"), std::string::npos) << result.out << result.err;
  EXPECT_NE(result.out.find("not any more"), std::string::npos) << result.out;
}

TEST_F(RefreshProgram, WhereNothingWasTunedItSaysWhatToDo) {
  pretend_it_took(0.03);
  const auto change = [&](const char* sql) { SQLite::Database(db(), SQLite::OPEN_READWRITE).exec(sql); };
  change("UPDATE devices SET uuid = 'CPU-another', name = 'Another Machine'");
  const ProgramResult other = refresh({});
  EXPECT_EQ(other.status, 2);
  EXPECT_NE(other.err.find("run fcsa tune on it first"), std::string::npos) << other.err;
  EXPECT_NE(other.err.find("CPU-another  Another Machine"), std::string::npos) << other.err;

  change("DELETE FROM trials");
  EXPECT_EQ(refresh({}).status, 2);

  std::filesystem::remove(db());
  const ProgramResult none = refresh({});
  EXPECT_EQ(none.status, 1);
  EXPECT_NE(none.err.find("there is no such tuning database"), std::string::npos) << none.err;
}

TEST_F(RefreshProgram, WhatBelongsToASearchIsRefused) {
  pretend_it_took(0.03);
  for (const auto& option : {std::vector<std::string>{"--seq", "64"}, {"--evals", "3"}, {"--tolerance", "0"}})
    EXPECT_EQ(refresh(option).status, 2) << option.front();
  EXPECT_EQ(run_fcsa({"tune", "--device", "cpu", "--tolerance", "3", "--db", db()}).status, 2);
}

}  // namespace
}  // namespace fcsa::cli
