// The whole program on the CPU device: tune, verify, store, emit, report, and days that go wrong.
#include <SQLiteCpp/SQLiteCpp.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <fstream>
#include <map>
#include <thread>

#include "tests/cli/program.h"
#include "tuner/trials/store.h"

namespace fcsa::cli {
namespace {

using tuner::Phase;
using tuner::Status;
using tuner::Store;

// One folder of compiled kernels for all tests: they share configurations.
const std::vector<std::string>& environment() {
  static const TemporaryFolder cache;
  static const std::vector<std::string> entries = {"XDG_CACHE_HOME=" + std::string(cache / "cache")};
  return entries;
}

std::vector<std::string> tune(const std::filesystem::path& db, const std::string& lengths,
                              const std::string& trials, const std::string& seed = "1") {
  return {"tune", "--device", "cpu", "--head-dim", "32",        "--seq",    lengths, "--heads",
          "2",    "--batch",  "1",   "--causal",   "no",        "--evals",  trials,  "--budget",
          "120s", "--seed",   seed,  "--db",       db.string(), "--probes", "no"};
}

std::vector<tuner::StoredTrial> trials_of(const std::filesystem::path& db) {
  return Store(db, Store::Mode::read_only).trials();
}

std::size_t count_trials(const std::filesystem::path& db) {
  try {
    return std::filesystem::exists(db) ? trials_of(db).size() : 0;
  } catch (const tuner::StoreError&) {
    return 0;  // being created
  }
}

bool wait_for_trials(const std::filesystem::path& db, std::size_t count) {
  for (int i = 0; i < 1200 && count_trials(db) < count; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  return count_trials(db) >= count;
}

// Process ids of the workers whose parent is `parent`.
std::vector<pid_t> workers_of(pid_t parent) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (read_file(entry.path() / "cmdline").find("__worker") == std::string::npos) continue;
    const std::string stat = read_file(entry.path() / "stat");
    const auto after_name = stat.rfind(')');
    if (after_name == std::string::npos) continue;
    if (std::stoi(stat.substr(after_name + 4)) == parent) found.push_back(std::stoi(name));
  }
  return found;
}

// How often each piece of work was done in the search phase.
std::map<std::string, int> repetitions(const std::vector<tuner::StoredTrial>& trials) {
  std::map<std::string, int> times;
  for (const auto& stored : trials)
    if (stored.trial.phase == Phase::search)
      ++times[kernels::to_text(stored.trial.problem) + stored.trial.configuration + stored.trial.source_hash];
  return times;
}

TEST(EndToEnd, TunesEmitsReportsExportsAndMerges) {
  const TemporaryFolder folder;
  const auto db = folder / "tuning.db";
  const ProgramResult tuned = run_fcsa(tune(db, "64,96", "5"), environment());
  ASSERT_EQ(tuned.status, 0) << tuned.out << tuned.err;
  EXPECT_NE(tuned.out.find("cpu.forward{"), std::string::npos) << tuned.out;

  std::size_t raced = 0, yardsticks = 0;
  for (const auto& stored : trials_of(db)) {
    raced += stored.trial.phase == Phase::confirm;
    yardsticks +=
        stored.trial.configuration.starts_with("unfused") && stored.trial.evaluation.status == Status::ok;
    if (stored.trial.evaluation.status == Status::ok) {
      EXPECT_GT(stored.trial.evaluation.accuracy.tolerance, 0);
      EXPECT_FALSE(stored.trial.evaluation.measurement.samples_ms.empty());
    }
  }
  EXPECT_GE(raced, 4u);
  EXPECT_EQ(yardsticks, 2u);

  const ProgramResult emitted = run_fcsa({"emit", "--db", db, "--out", folder / "include"}, environment());
  EXPECT_EQ(emitted.status, 0) << emitted.err;
  EXPECT_NE(read_file(folder / "include" / "fcsa_tuned_cpu.h").find("unchanged since they were measured"),
            std::string::npos)
      << emitted.out << emitted.err;

  const ProgramResult reported = run_fcsa({"report", "--db", db, "--out", folder / "report"});
  EXPECT_EQ(reported.status, 0) << reported.err;
  for (const char* name : {"index.html", "summary.md", "speed.csv", "memory.csv"})
    EXPECT_TRUE(std::filesystem::exists(folder / "report" / name)) << name;

  EXPECT_EQ(run_fcsa({"db", "--db", db, "export", "--format", "csv", "--out", folder / "t.csv"}).status, 0);
  EXPECT_EQ(run_fcsa({"db", "--db", db, "info", "--json"}).status, 0);
  const auto merged = folder / "merged.db";
  EXPECT_EQ(run_fcsa({"db", "--db", merged, "merge", db.string()}).status, 0);
  EXPECT_EQ(run_fcsa({"db", "--db", merged, "merge", db.string()}).status, 0);
  EXPECT_EQ(trials_of(merged).size(), trials_of(db).size());

  const ProgramResult verified = run_fcsa({"verify", "--device", "cpu", "--db", db}, environment());
  EXPECT_EQ(verified.status, 0) << verified.out << verified.err;
}

TEST(EndToEnd, VerifiesEveryFamilyOnEveryFeature) {
  const ProgramResult result =
      run_fcsa({"verify", "--device", "cpu",  "--head-dim", "16,80",   "--dtype",  "f32,bf16,f16",
                "--nq",   "65",       "--nk", "130",        "--heads", "4",        "--kv-heads",
                "2",      "--batch",  "1",    "--mask",     "both",    "--layout", "bnhd"},
               environment());
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("48 verified"), std::string::npos) << result.out;
}

// A file as the first release wrote it: without the columns that schemas 2 and 3 added.
void undo_later_schemas(const std::filesystem::path& db) {
  SQLite::Database database(db.string(), SQLite::OPEN_READWRITE);
  for (const char* column :
       {"bias_batch", "bias_heads", "allow_tf32", "bias_gradient", "scale_gradient", "deterministic"})
    database.exec(std::string("ALTER TABLE problems DROP COLUMN ") + column);
  database.exec("PRAGMA user_version = 1");
}

TEST(EndToEnd, ADatabaseOfTheFirstSchemaIsReadUnchangedAndTunedFurther) {
  const TemporaryFolder folder;
  const auto db = folder / "tuning.db";
  ASSERT_EQ(run_fcsa(tune(db, "64", "3"), environment()).status, 0);
  undo_later_schemas(db);
  const std::string bytes = read_file(db);
  for (const char* command : {"report", "emit"}) {
    const ProgramResult result = run_fcsa({command, "--db", db, "--out", folder / command});
    EXPECT_EQ(result.status, 0) << result.err;
  }
  EXPECT_EQ(read_file(db), bytes);
  const auto before = trials_of(db);

  const ProgramResult tuned = run_fcsa(tune(db, "64", "3"), environment());
  EXPECT_EQ(tuned.status, 0) << tuned.err;
  for (const auto& [work, times] : repetitions(trials_of(db))) EXPECT_EQ(times, 1) << work;
  EXPECT_GE(trials_of(db).size(), before.size());
}

TEST(EndToEnd, ResumesAfterKillMinusNineWithoutRepeatingATrial) {
  const TemporaryFolder folder;
  const auto db = folder / "tuning.db";
  const pid_t process = start_fcsa(tune(db, "48,80", "6"), environment(), folder / "out", folder / "err");
  ASSERT_TRUE(wait_for_trials(db, 3)) << read_file(folder / "err");
  kill(process, SIGKILL);
  wait_for(process);
  const auto before = trials_of(db);
  ASSERT_GE(before.size(), 3u);

  const ProgramResult resumed = run_fcsa(tune(db, "48,80", "6"), environment());
  EXPECT_EQ(resumed.status, 0) << resumed.out << resumed.err;
  const auto after = trials_of(db);
  ASSERT_GT(after.size(), before.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(after[i].id, before[i].id);
    EXPECT_EQ(after[i].trial.configuration, before[i].trial.configuration);
  }
  for (const auto& [work, times] : repetitions(after)) EXPECT_EQ(times, 1) << work;
}

TEST(EndToEnd, AKilledWorkerCostsOneTrialAtMost) {
  const TemporaryFolder folder;
  const auto db = folder / "tuning.db";
  const pid_t process =
      start_fcsa(tune(db, "40,56", "6", "2"), environment(), folder / "out", folder / "err");
  ASSERT_TRUE(wait_for_trials(db, 1)) << read_file(folder / "err");
  for (pid_t worker : workers_of(process)) kill(worker, SIGKILL);
  EXPECT_EQ(wait_for(process), 0) << read_file(folder / "err");
  std::size_t crashed = 0;
  for (const auto& stored : trials_of(db)) crashed += stored.trial.evaluation.status == Status::crashed;
  EXPECT_LE(crashed, 1u);
}

TEST(EndToEnd, TwoTunersShareADatabase) {
  const TemporaryFolder folder;
  const auto db = folder / "tuning.db";
  const pid_t first = start_fcsa(tune(db, "33", "5", "3"), environment(), folder / "out1", folder / "err1");
  const pid_t second = start_fcsa(tune(db, "34", "5", "4"), environment(), folder / "out2", folder / "err2");
  EXPECT_EQ(wait_for(first), 0) << read_file(folder / "err1");
  EXPECT_EQ(wait_for(second), 0) << read_file(folder / "err2");
  std::map<std::string, std::size_t> per_session;
  for (const auto& stored : trials_of(db)) ++per_session[stored.session.id];
  EXPECT_EQ(per_session.size(), 2u);
  for (const auto& [session, trials] : per_session) EXPECT_GE(trials, 5u);
}

TEST(EndToEnd, InterruptionKeepsWhatIsDoneAndSaysHowToGoOn) {
  const TemporaryFolder folder;
  const auto db = folder / "tuning.db";
  const pid_t process =
      start_fcsa(tune(db, "72", "2000", "5"), environment(), folder / "out", folder / "err");
  ASSERT_TRUE(wait_for_trials(db, 2)) << read_file(folder / "err");
  kill(process, SIGINT);
  EXPECT_EQ(wait_for(process), 1);
  EXPECT_NE(read_file(folder / "out").find("run the same command again"), std::string::npos)
      << read_file(folder / "out") << read_file(folder / "err");
  EXPECT_GE(trials_of(db).size(), 2u);
}

TEST(EndToEnd, WithoutACompilerTheBuiltInKernelsAreMeasured) {
  const TemporaryFolder folder;
  const ProgramResult result =
      run_fcsa(tune(folder / "tuning.db", "64", "3"),
               {"FCSA_CXX=/nonexistent/c++", "XDG_CACHE_HOME=" + std::string(folder / "cache")});
  EXPECT_EQ(result.status, 1) << result.out << result.err;
  EXPECT_NE(result.out.find("built in, not searched"), std::string::npos) << result.out << result.err;
}

}  // namespace
}  // namespace fcsa::cli
