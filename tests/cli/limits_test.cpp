// Budgets, Ctrl-C, locked databases, missing compilers and output that can't be written.
#include <SQLiteCpp/SQLiteCpp.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "tests/cli/program.h"
#include "tuner/trials/store.h"

namespace fcsa::cli {
namespace {

using tuner::Store;

constexpr std::chrono::seconds kPatience{120};

std::vector<std::string> tune(const std::filesystem::path& db, const std::string& lengths,
                              const std::string& budget, const std::string& heads = "2") {
  return {"tune",      "--device", "cpu",     "--head-dim", "64",       "--seq",   lengths,
          "--heads",   heads,      "--batch", "1",          "--causal", "no",      "--db",
          db.string(), "--probes", "no",      "--budget",   budget,     "--evals", "2"};
}

std::vector<std::string> own_cache(const TemporaryFolder& folder) {
  return {"XDG_CACHE_HOME=" + std::string(folder / "cache")};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

template <typename Condition>
bool becomes_true(const Condition& condition) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

// Of the shell: "$FCSA" is the program.
ProgramResult shell(const std::string& script) {
  return run_program("/bin/sh", {"-c", script}, {"FCSA=" FCSA_PROGRAM});
}

// A trial of these takes minutes.
constexpr const char* kLong = "16384,32768";

TEST(Limits, TheBudgetEndsATrialAndNamesTheProblemsThatWereNotReached) {
  const TemporaryFolder folder;
  const auto start = std::chrono::steady_clock::now();
  const ProgramResult result = run_fcsa(tune(folder / "t.db", kLong, "4s", "16"), own_cache(folder));
  EXPECT_EQ(result.status, 1);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
  for (const char* length : {"16384", "32768"})
    EXPECT_TRUE(contains(result.out,
                         "not reached in the budget of 4 s: fwd f32 d64 b1 h16 n" + std::string(length)) ||
                (contains(result.out, "not reached in the budget of 4 s: ") && contains(result.out, length)))
        << result.out << result.err;
}

TEST(Limits, CtrlCAnswersAtOnceAndEndsTheTrialThatRuns) {
  const TemporaryFolder folder;
  const pid_t process = start_fcsa(tune(folder / "t.db", kLong, "10m", "16"), own_cache(folder),
                                   folder / "out", folder / "err");
  ASSERT_TRUE(becomes_true([&] { return std::filesystem::exists(folder / "t.db"); }));
  std::this_thread::sleep_for(std::chrono::seconds(2));
  const auto start = std::chrono::steady_clock::now();
  kill(process, SIGINT);
  EXPECT_TRUE(becomes_true([&] { return contains(read_file(folder / "err"), "fcsa: stopping"); }));
  EXPECT_EQ(wait_for(process), 1);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
  EXPECT_TRUE(contains(read_file(folder / "out"), "run the same command again")) << read_file(folder / "out");
}

TEST(Limits, AReaderThatHoldsTheDatabaseDelaysTuningAndCostsNothing) {
  const TemporaryFolder folder;
  const auto db = folder / "t.db";
  { const Store made(db, Store::Mode::read_write); }
  SQLite::Database reader(db.string(), SQLite::OPEN_READONLY);
  pid_t process = -1;
  {
    reader.exec("BEGIN");
    reader.execAndGet("SELECT count(*) FROM trials");
    process = start_fcsa(tune(db, "32", "300s"), own_cache(folder), folder / "out", folder / "err");
    EXPECT_TRUE(becomes_true([&] {
      return contains(read_file(folder / "err"), "waiting for another process");
    })) << read_file(folder / "err");
    std::this_thread::sleep_for(std::chrono::seconds(2));
    reader.exec("COMMIT");
  }
  EXPECT_EQ(wait_for(process), 0) << read_file(folder / "err");
  EXPECT_GE(Store(db, Store::Mode::read_only).trials().size(), 2U);
}

TEST(Limits, AWriterThatHoldsTheDatabaseDelaysReadersUntilCtrlC) {
  const TemporaryFolder folder;
  const auto db = folder / "t.db";
  { const Store made(db, Store::Mode::read_write); }
  SQLite::Database writer(db.string(), SQLite::OPEN_READWRITE);
  writer.exec("BEGIN EXCLUSIVE");
  const auto waits = [&](const std::string& name) {
    const pid_t process = start_fcsa({"db", "--db", db, "info"}, {}, folder / "out", folder / name);
    EXPECT_TRUE(
        becomes_true([&] { return contains(read_file(folder / name), "waiting for another process"); }));
    return process;
  };
  const pid_t stopped = waits("stopped"), patient = waits("patient");
  kill(stopped, SIGINT);
  EXPECT_EQ(wait_for(stopped), 1);
  EXPECT_TRUE(contains(read_file(folder / "stopped"), "locked")) << read_file(folder / "stopped");
  writer.exec("COMMIT");
  EXPECT_EQ(wait_for(patient), 0) << read_file(folder / "patient");
}

TEST(Limits, WithoutACompilerNothingIsCalledTheWinnerOfASearch) {
  const TemporaryFolder folder;
  auto environment = own_cache(folder);
  environment.push_back("PATH=/nonexistent");
  environment.push_back("FCSA_CXX=");
  environment.push_back("CXX=");
  const ProgramResult result = run_fcsa(tune(folder / "t.db", "64", "300s"), environment);
  EXPECT_EQ(result.status, 1);
  const std::string line = "only kernels that are built in are measured";
  const auto first = result.err.find(line), last = result.err.rfind(line);
  EXPECT_NE(first, last) << result.err;
  EXPECT_TRUE(contains(result.err, "install g++")) << result.err;
  EXPECT_TRUE(contains(result.out, "built in, not searched")) << result.out;
}

TEST(Limits, ACompilerThatLackedItsAssemblerIsUsedInTheNextRun) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "bin");
  std::ofstream(folder / "bin/g++") << "#!/bin/sh\nexec /usr/bin/g++ \"$@\"\n";
  std::filesystem::permissions(folder / "bin/g++", std::filesystem::perms::owner_all);
  auto environment = own_cache(folder);
  environment.push_back("FCSA_CXX=" + std::string(folder / "bin/g++"));
  auto without = environment;
  without.push_back("PATH=" + std::string(folder / "bin"));
  const ProgramResult first = run_fcsa(tune(folder / "t.db", "32", "300s"), without);
  EXPECT_EQ(first.status, 1);
  EXPECT_TRUE(contains(first.err, "install")) << first.err;
  const ProgramResult second = run_fcsa(tune(folder / "t.db", "32", "300s"), environment);
  EXPECT_EQ(second.status, 0) << second.out << second.err;
}

TEST(Output, ThatCannotBeWrittenIsAnExitStatusOf1) {
  const TemporaryFolder folder;
  const std::string db = folder / "t.db";
  { const Store made(db, Store::Mode::read_write); }
  for (const std::string& command :
       {std::string("--help"), std::string("--version"), std::string("tune --help"), std::string("devices"),
        std::string("devices --json"), "db --db " + db + " info --json", "db --db " + db + " export",
        std::string("explain --device cpu --seq 64 --head-dim 64 --json --db ") + db}) {
    for (const char* where : {" > /dev/full", " >&-"}) {
      const ProgramResult result = shell("\"$FCSA\" " + command + where);
      EXPECT_EQ(result.status, 1) << command << where << result.err;
      EXPECT_FALSE(result.err.empty()) << command << where;
    }
    const ProgramResult piped = shell("{ sleep 0.2; \"$FCSA\" " + command + "; echo status $? >&2; } | true");
    EXPECT_TRUE(contains(piped.err, "status 1")) << command << piped.err;
  }
}

TEST(Output, OfCommandsThatRunKernelsThatCannotBeWrittenIsAnExitStatusOf1) {
  const TemporaryFolder folder;
  const std::string problem = " --device cpu --seq 32 --head-dim 64 --batch 1 --heads 1 --causal no";
  for (const char* command :
       {"tune --json --evals 1 --probes no --db t.db", "verify --json", "bench --json"}) {
    const ProgramResult result = shell("cd '" + std::string(folder / "") +
                                       "' && XDG_CACHE_HOME=$PWD FCSA_CXX=/nonexistent \"$FCSA\" " + command +
                                       problem + " > /dev/full");
    EXPECT_EQ(result.status, 1) << command << result.err;
    EXPECT_TRUE(contains(result.err, "standard output") || contains(result.err, "write"))
        << command << result.err;
  }
}

TEST(Output, ThatNobodyReadsOnStandardErrorEndsNothing) {
  const TemporaryFolder folder;
  for (const char* where : {" 2>&-", " 2> /dev/full"}) {
    const ProgramResult result =
        shell("cd '" + std::string(folder / "") +
              "' && XDG_CACHE_HOME=$PWD \"$FCSA\" tune --device cpu --seq 32 --head-dim 64 "
              "--batch 1 --heads 1 --causal no --evals 1 --probes no --db t.db" +
              where);
    EXPECT_EQ(result.status, 0) << result.out;
  }
}

}  // namespace
}  // namespace fcsa::cli
