// A small database, damaged in every column in turn: every command, and a program that uses the library, does
// without it or says what is wrong with it. None ends by a signal.
#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "library/fcsa.h"
#include "runner/cpu/cpu_device.h"
#include "tests/cli/program.h"
#include "tuner/trials/store.h"

namespace fcsa::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kHeadDim = 64;

tuner::Trial trial_of(int length, const std::string& configuration, double ms, tuner::Phase phase) {
  tuner::Trial trial;
  trial.problem.head_dim = kHeadDim;
  trial.problem.nq = trial.problem.nk = length;
  trial.problem.heads = trial.problem.kv_heads = 2;
  trial.configuration = configuration;
  trial.source_hash = "hash of " + configuration;
  trial.phase = phase;
  trial.race_id = phase == tuner::Phase::search ? "" : fmt::format("race {}", length);
  trial.finished_at = "2026-01-02T03:05:00Z";
  auto& measurement = trial.evaluation.measurement;
  measurement.samples_ms = {ms, 1.01 * ms};
  measurement.median_ms = ms, measurement.ci_low_ms = 0.99 * ms, measurement.ci_high_ms = 1.01 * ms;
  trial.evaluation.accuracy = {1e-7, 1e-6};
  return trial;
}

// Two configurations at two lengths, searched and raced, on this processor.
void write_database(const fs::path& file) {
  tuner::Session session;
  session.id = "session";
  session.started_at = "2026-01-02T03:04:05Z";
  session.command = "fcsa tune";
  session.device = runner::cpu::describe_cpu("g++");
  const auto& family = kernels::family_named("cpu");
  const kernels::Problem problem = trial_of(64, "", 1, tuner::Phase::search).problem;
  auto configuration = family.baseline(problem, session.device.target);
  const std::string baseline = kernels::to_text(family, problem.op, configuration);
  for (auto& [name, value] : configuration.values)
    if (name == "row_groups") value = value == 8 ? 4 : 8;
  const std::string other = kernels::to_text(family, problem.op, configuration);
  tuner::Store store(file, tuner::Store::Mode::read_write);
  store.begin_session(session);
  for (const int length : {64, 256})
    for (const auto phase : {tuner::Phase::search, tuner::Phase::confirm}) {
      const tuner::Trial race[] = {trial_of(length, baseline, 0.02 * length, phase),
                                   trial_of(length, other, 0.01 * length, phase)};
      store.record(race);
    }
}

// What a program with libfcsa does with the file, in a process of its own: 0 when a plan was made and run.
int status_of_library(const fs::path& file) {
  const pid_t child = ::fork();
  if (child != 0) return wait_for(child);
  fcsa_options options = FCSA_OPTIONS_INIT;
  options.database = file.c_str();
  options.log = [](void*, const char*) {};
  fcsa_library* library = nullptr;
  fcsa_plan* plan = nullptr;
  fcsa_problem problem = FCSA_PROBLEM_INIT;
  problem.device = FCSA_CPU, problem.dtype = FCSA_F32, problem.heads = 2, problem.head_dim = kHeadDim;
  problem.nq = problem.nk = 100;
  if (fcsa_open(&options, &library) != FCSA_OK) ::_exit(1);
  if (fcsa_plan_create(library, &problem, &plan) != FCSA_OK) ::_exit(2);
  ::_exit(std::string(fcsa_describe(plan)).empty() ? 3 : 0);
}

struct Column {
  std::string table, name;
};

std::vector<Column> columns_of(const fs::path& file) {
  SQLite::Database database(file.string(), SQLite::OPEN_READONLY);
  std::vector<Column> columns;
  for (const char* table : {"devices", "sessions", "problems", "configurations", "trials"}) {
    SQLite::Statement query(database, fmt::format("PRAGMA table_info({})", table));
    while (query.executeStep()) columns.push_back({table, query.getColumn(1).getString()});
  }
  return columns;
}

// False when the tables don't take the value.
bool damage(const fs::path& file, const Column& column, const std::string& value) {
  SQLite::Database database(file.string(), SQLite::OPEN_READWRITE);
  database.exec("PRAGMA synchronous = OFF");
  database.exec("PRAGMA ignore_check_constraints = ON");
  try {
    database.exec(fmt::format("UPDATE {} SET \"{}\" = {}", column.table, column.name, value));
    return true;
  } catch (const SQLite::Exception&) {
  }
  try {  // of one row, where values are unique
    database.exec(fmt::format("UPDATE {0} SET \"{1}\" = {2} WHERE rowid = (SELECT max(rowid) FROM {0})",
                              column.table, column.name, value));
    return true;
  } catch (const SQLite::Exception&) {
    return false;
  }
}

class DamagedDatabaseTest : public ::testing::Test {
 protected:
  DamagedDatabaseTest() { write_database(sound_); }

  fs::path damaged_copy() const {
    fs::copy_file(sound_, folder_ / "damaged.db", fs::copy_options::overwrite_existing);
    return folder_ / "damaged.db";
  }

  std::vector<std::vector<std::string>> commands(const std::string& db) const {
    const std::string length = "100", dim = std::to_string(kHeadDim);
    fs::remove(folder_ / "merged.db");
    return {{"emit", "--db", db, "--out", folder_ / "emitted"},
            {"explain", "--device", "cpu", "--head-dim", dim, "--seq", length, "--heads", "2", "--db", db},
            {"report", "--db", db, "--out", folder_ / "report"},
            {"db", "--db", folder_ / "merged.db", "merge", db}};
  }

  static void expect_an_answer(const ProgramResult& result, const std::string& what) {
    EXPECT_LE(result.status, 2) << what << "\n" << result.err;
    EXPECT_TRUE(result.status == 0 || !result.err.empty()) << what;
  }

  const TemporaryFolder folder_;
  const fs::path sound_ = folder_ / "sound.db";
};

TEST_F(DamagedDatabaseTest, IsNoneToBeginWith) {
  for (const auto& command : commands(sound_)) {
    const ProgramResult result = run_fcsa(command);
    EXPECT_EQ(result.status, 0) << command.front() << "\n" << result.err;
  }
  EXPECT_EQ(status_of_library(sound_), 0);
}

TEST_F(DamagedDatabaseTest, TimesThatNobodyMeasuredAreRefusedByNameEverywhere) {
  for (const std::string column : {"median_ms", "ci_low_ms", "ci_high_ms", "samples_ms"})
    for (const char* value :
         {"NULL", "-1", "9e999", "'text'", "x'00ff'", "'[0.1,null]'", "'[0.1,\"a\"]'", "0"}) {
      const fs::path file = damaged_copy();
      const bool may_be_zero = column.starts_with("ci_") && std::string(value) == "0";
      if (may_be_zero || !damage(file, {"trials", column}, value)) continue;
      const std::string what = fmt::format("{} = {}", column, value);
      for (const auto& command : commands(file)) {
        const ProgramResult result = run_fcsa(command);
        EXPECT_EQ(result.status, 1) << command.front() << ": " << what << "\n" << result.err;
        EXPECT_NE(result.err.find("trial 1"), std::string::npos) << command.front() << what << result.err;
        EXPECT_NE(result.err.find(column == "samples_ms" ? "samples" : column), std::string::npos)
            << command.front() << what << result.err;
      }
      EXPECT_EQ(status_of_library(file), 0) << what;
    }
}

// Each damage meets one of the commands, and all of them where it is in what they compute with. Under the
// address sanitizer each column gets two of the values, and one command: all of it would take ten minutes.
TEST_F(DamagedDatabaseTest, EndsNoCommandAndNoProgramByASignal) {
  const std::vector<std::string> values{"NULL", "0", "-1", "9e999", "'text'", "x'00ff'", "'simt.forward{}'"};
#if defined(__SANITIZE_ADDRESS__)
  constexpr bool kSanitised = true;
#else
  constexpr bool kSanitised = false;
#endif
  std::size_t turn = 0;
  for (const Column& column : columns_of(sound_))
    for (std::size_t i = 0; i < (kSanitised ? 2 : values.size()); ++i, ++turn) {
      const std::string& value = values[turn % values.size()];
      const fs::path file = damaged_copy();
      if (!damage(file, column, value)) continue;
      const std::string what = fmt::format("{}.{} = {}", column.table, column.name, value);
      const auto all = commands(file);
      const bool matters = column.table == "devices" || column.table == "configurations";
      for (std::size_t j = 0; j < (matters && !kSanitised ? all.size() : 1); ++j) {
        const auto& command = all[(turn + j) % all.size()];
        expect_an_answer(run_fcsa(command), what + ": " + command.front());
      }
      EXPECT_EQ(status_of_library(file), 0) << what;
    }
}

TEST_F(DamagedDatabaseTest, ThatHasNoUsableTrialLeftIsRefusedByName) {
  const fs::path file = damaged_copy();
  ASSERT_TRUE(damage(file, {"trials", "status"}, "'crashed'"));
  for (const auto& command : commands(file)) expect_an_answer(run_fcsa(command), command.front());
  const ProgramResult emitted = run_fcsa(commands(file).front());
  EXPECT_EQ(emitted.status, 1);
  EXPECT_NE(emitted.err.find("no successful trial"), std::string::npos) << emitted.err;
  EXPECT_EQ(status_of_library(file), 0);
}

TEST_F(DamagedDatabaseTest, ThatIsTruncatedIsRefused) {
  const auto whole = fs::file_size(sound_);
  for (const auto size : {whole - 4096, whole / 2, std::uintmax_t{4096}, std::uintmax_t{100}}) {
    const fs::path file = damaged_copy();
    fs::resize_file(file, size);
    for (const auto& command : commands(file))
      expect_an_answer(run_fcsa(command), fmt::format("{} bytes: {}", size, command.front()));
    EXPECT_EQ(status_of_library(file), 0) << size;
  }
}

}  // namespace
}  // namespace fcsa::cli
