#include "tuner/trials/store.h"

#include <cmath>
#include <limits>
#include <thread>

#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/kernels/changed_problems.h"
#include "tests/tuner/trials/store_records.h"
#include "tuner/trials/store_connection.h"
#include "tuner/trials/store_info.h"

namespace fcsa::tuner {
namespace {

class StoreTest : public ::testing::Test {
 protected:
  Store open(const std::string& name = "tuning.db", Store::Mode mode = Store::Mode::read_write) {
    return {folder_ / name, mode};
  }

  TemporaryFolder folder_;
};

TEST_F(StoreTest, GivesBackEveryFieldAfterReopening) {
  const Session session = make_session("s1");
  Trial trial = make_trial();
  trial.problem = {.op = kernels::Op::backward,
                   .dtype = kernels::DType::f32,
                   .head_dim = 96,
                   .batch = 2,
                   .heads = 8,
                   .kv_heads = 4,
                   .nq = 100,
                   .nk = 200,
                   .causal = true,
                   .key_mask = true,
                   .layout = kernels::Layout::bnhd,
                   .scale = 0.1f,
                   .l2norm_qk = true,
                   .groups = 2,
                   .logit_bound = 3.3f,
                   .bias = kernels::Bias::same,
                   .bias_batch = 1,
                   .bias_heads = 8,
                   .head_scale = true,
                   .allow_tf32 = true};
  trial.phase = Phase::confirm;
  trial.race_id = "race-5";
  trial.evaluation.status = Status::wrong_result;
  trial.evaluation.message = std::string("row 3 of o\n\"quoted\", comma \xff and a zero \0 byte", 44);
  {
    Store store = open();
    store.begin_session(session);
    store.record(trial);
  }
  const auto trials = open("tuning.db", Store::Mode::read_only).trials();
  ASSERT_EQ(trials.size(), 1u);
  EXPECT_EQ(all_fields(trials[0].session), all_fields(session));
  EXPECT_EQ(all_fields(trials[0].trial), all_fields(trial));
  EXPECT_EQ(trials[0].trial.problem, trial.problem);
}

void record_each(const std::vector<kernels::ChangedProblem>& changed, Store& store) {
  store.begin_session(make_session("s1"));
  Trial trial = make_trial();
  for (const auto& [field, scope, problem] : changed) {
    trial.problem = problem;
    store.record(trial);
  }
}

TEST_F(StoreTest, ForgetsNoFieldOfAProblemNeitherRecordedNorMerged) {
  const auto changed = kernels::changed_problems(kernels::problem_with_everything());
  Store store = open();
  record_each(changed, store);
  Store merged = open("merged.db");
  EXPECT_EQ(merged.merge(store), changed.size());
  for (const auto& trials : {store.trials(), merged.trials()}) {
    ASSERT_EQ(trials.size(), changed.size());
    for (std::size_t i = 0; i < changed.size(); ++i)
      EXPECT_EQ(trials[i].trial.problem, changed[i].problem) << changed[i].field;
  }
}

TEST_F(StoreTest, HasAColumnForEveryFieldOfAProblem) {
  const auto changed = kernels::changed_problems(kernels::problem_with_everything());
  Store store = open();
  record_each(changed, store);
  SQLite::Database database((folder_ / "tuning.db").string());
  for (const auto& [field, scope, problem] : changed) {
    SQLite::Statement query(
        database, fmt::format("SELECT count(DISTINCT coalesce(\"{}\", 'none')) FROM problems", field));
    ASSERT_TRUE(query.executeStep());
    EXPECT_EQ(query.getColumn(0).getInt(), 2) << field;
  }
}

TEST_F(StoreTest, KeepsNanAndInfiniteErrors) {
  Store store = open();
  store.begin_session(make_session("s1"));
  Trial trial = make_trial();
  trial.evaluation.accuracy = {.error = std::nan(""), .tolerance = std::numeric_limits<double>::infinity()};
  trial.evaluation.measurement.samples_ms.clear();
  store.record(trial);
  const Trial read = store.trials().at(0).trial;
  EXPECT_TRUE(std::isnan(read.evaluation.accuracy.error));
  EXPECT_EQ(read.evaluation.accuracy.tolerance, std::numeric_limits<double>::infinity());
  EXPECT_TRUE(read.evaluation.measurement.samples_ms.empty());
}

TEST_F(StoreTest, CreatesMissingFolders) {
  Store store = open("a/b/c.db");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "a/b/c.db"));
  EXPECT_EQ(store.file(), folder_ / "a/b/c.db");
}

TEST_F(StoreTest, UsesTheDurableSettings) {
  open();
  SQLite::Database database((folder_ / "tuning.db").string());
  EXPECT_EQ(database.execAndGet("PRAGMA journal_mode").getString(),
            "delete");  // not WAL: TRUNCATE is per connection
  EXPECT_EQ(database.execAndGet("PRAGMA user_version").getInt(), Store::kSchemaVersion);
  EXPECT_EQ(database.execAndGet("PRAGMA application_id").getInt(), kApplicationId);

  StoreConnection connection(folder_ / "tuning.db", Store::Mode::read_write, std::chrono::seconds(1));
  const auto setting = [&](const char* pragma) {
    return connection.read([&](SQLite::Database& db) { return db.execAndGet(pragma).getString(); });
  };
  EXPECT_EQ(setting("PRAGMA journal_mode"), "truncate");
  EXPECT_EQ(setting("PRAGMA synchronous"), "2");
  EXPECT_EQ(setting("PRAGMA foreign_keys"), "1");
}

TEST_F(StoreTest, KeepsSamplesAsJsonThatOtherToolsRead) {
  Store store = open();
  store.begin_session(make_session("s1"));
  Trial trial = make_trial();
  trial.evaluation.measurement.samples_ms = {1, 2.5, 4};
  store.record(trial);
  SQLite::Database database((folder_ / "tuning.db").string());
  EXPECT_EQ(database.execAndGet("SELECT sum(value) FROM trials, json_each(samples_ms)").getDouble(), 7.5);
}

TEST_F(StoreTest, KeepsTrialsInOrderAndRepeatedOnesToo) {
  Store store = open();
  store.begin_session(make_session("s1"));
  for (const int number : {3, 1, 3, 2}) store.record(make_trial(number));
  std::vector<std::string> hashes;
  for (const auto& stored : store.trials()) hashes.push_back(stored.trial.source_hash);
  EXPECT_EQ(hashes, (std::vector<std::string>{"hash3", "hash1", "hash3", "hash2"}));
}

TEST_F(StoreTest, FiltersByDevicePhaseAndStatus) {
  Store store = open();
  store.begin_session(make_session("s1", "GPU-1"));
  store.record(make_trial(1));
  store.begin_session(make_session("s2", "GPU-2"));
  Trial failed = make_trial(2);
  failed.evaluation.status = Status::timed_out;
  failed.phase = Phase::confirm;
  store.record(failed);
  store.record(make_trial(3));

  EXPECT_EQ(store.trials().size(), 3u);
  EXPECT_EQ(store.trials({.device_uuid = "GPU-2", .phase = {}, .status = {}}).size(), 2u);
  EXPECT_EQ(store.trials({.device_uuid = {}, .phase = Phase::search, .status = {}}).size(), 2u);
  EXPECT_EQ(store.trials({.device_uuid = {}, .phase = {}, .status = Status::timed_out}).size(), 1u);
  EXPECT_EQ(store.trials({.device_uuid = "GPU-2", .phase = Phase::search, .status = Status::ok}).size(), 1u);
  EXPECT_TRUE(store.trials({.device_uuid = "GPU-1", .phase = {}, .status = Status::timed_out}).empty());
}

TEST_F(StoreTest, FindsTheLatestTrialWithTheKey) {
  Store store = open();
  const Session session = make_session("s1");
  store.begin_session(session);
  Trial trial = make_trial();
  trial.evaluation.measurement.median_ms = 1;
  store.record(trial);
  trial.evaluation.measurement.median_ms = 2;
  store.record(trial);
  trial.evaluation.measurement.median_ms = 3;
  trial.finished_at = "2025-12-31T00:00:00Z";  // recorded last, measured first
  store.record(trial);
  const auto found = store.find(key_of(trial, session));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->evaluation.measurement.median_ms, 2);
}

TEST_F(StoreTest, FindIgnoresTrialsThatDifferInAnyPartOfTheKey) {
  Store store = open();
  const Session session = make_session("s1");
  store.begin_session(session);
  const Trial trial = make_trial();
  store.record(trial);
  const TrialKey key = key_of(trial, session);
  ASSERT_TRUE(store.find(key));

  std::vector<TrialKey> others(6, key);
  others[0].device_uuid = "GPU-9";
  others[1].driver = "999";
  others[2].problem = "forward f32 d64 b4 h32 kv32 nq1 nk1 bhnd scale=8";
  others[3].configuration = "made_up.forward";
  others[4].source_hash = "another";
  others[5].cache = CacheState::warm;
  for (const auto& other : others) EXPECT_FALSE(store.find(other)) << &other - others.data();
}

TEST_F(StoreTest, FindIgnoresConfirmations) {
  Store store = open();
  const Session session = make_session("s1");
  store.begin_session(session);
  Trial trial = make_trial();
  trial.phase = Phase::confirm;
  store.record(trial);
  EXPECT_FALSE(store.find(key_of(trial, session)));
}

TEST_F(StoreTest, FindsTrialsOfAnotherSession) {
  Store store = open();
  const Session session = make_session("s1");
  store.begin_session(session);
  store.record(make_trial());
  store.begin_session(make_session("s2"));
  EXPECT_TRUE(store.find(key_of(make_trial(), session)));
}

TEST_F(StoreTest, SummarizesDevicesAndStatuses) {
  Store store = open();
  store.begin_session(make_session("s1", "GPU-1"));
  Trial trial = make_trial(1);
  store.record(trial);
  trial.problem.nq = 1024;
  trial.finished_at = "2026-02-01T00:00:00Z";
  trial.evaluation.status = Status::crashed;
  store.record(trial);
  Session upgraded = make_session("s2", "GPU-1");
  upgraded.device.driver = "590";
  store.begin_session(upgraded);

  const StoreSummary summary = store.summary();
  EXPECT_EQ(summary.schema_version, Store::kSchemaVersion);
  EXPECT_EQ(summary.trials, 2u);
  EXPECT_EQ(summary.sessions, 2u);
  ASSERT_EQ(summary.devices.size(), 2u);
  EXPECT_EQ(summary.devices[0].trials, 2u);
  EXPECT_EQ(summary.devices[0].problems, 2u);
  EXPECT_EQ(summary.devices[0].first_at, "2026-01-02T03:05:00Z");
  EXPECT_EQ(summary.devices[0].last_at, "2026-02-01T00:00:00Z");
  EXPECT_EQ(summary.devices[1].device.driver, "590");
  EXPECT_EQ(summary.devices[1].trials, 0u);
  EXPECT_EQ(summary.by_status, (decltype(summary.by_status){{"ok", 1}, {"crashed", 1}}));
}

TEST_F(StoreTest, DescribesItselfAsTextAndAsJson) {
  Store store = open();
  EXPECT_NE(describe_store(store).find("none yet"), std::string::npos);
  store.begin_session(make_session("s1"));
  store.record(make_trial());
  const std::string text = describe_store(store);
  EXPECT_NE(text.find((folder_ / "tuning.db").string()), std::string::npos);
  EXPECT_NE(text.find("1 (1 ok)"), std::string::npos);
  EXPECT_NE(text.find("NVIDIA H100 80GB HBM3"), std::string::npos);
  const std::string json = store_info_json(store);
  EXPECT_NE(json.find("\"trials\": 1"), std::string::npos);
  EXPECT_NE(json.find("\"uuid\": \"GPU-1\""), std::string::npos);
}

TEST_F(StoreTest, ReadsWhileAWriterHoldsTheFile) {
  Store writer = open();
  writer.begin_session(make_session("s1"));
  writer.record(make_trial());
  SQLite::Database other((folder_ / "tuning.db").string(), SQLite::OPEN_READWRITE);
  const SQLite::Transaction held(other, SQLite::TransactionBehavior::IMMEDIATE);
  EXPECT_EQ(open("tuning.db", Store::Mode::read_only).trials().size(), 1u);
}

TEST_F(StoreTest, SeveralThreadsLoseNothing) {
  constexpr int kThreads = 4;
  constexpr int kTrials = 20;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([this, thread] {
      Store store = open();
      store.begin_session(make_session("s" + std::to_string(thread)));
      for (int i = 0; i < kTrials; ++i) store.record(make_trial(thread * kTrials + i));
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(open().trials().size(), std::size_t{kThreads} * kTrials);
  EXPECT_EQ(open().summary().sessions, std::size_t{kThreads});
}

TEST_F(StoreTest, RecordingBeforeASessionIsAProgrammingError) {
  Store store = open();
  EXPECT_THROW(store.record(make_trial()), std::logic_error);
}

TEST_F(StoreTest, TenThousandTrialsAreRead) {
  Store store = open();
  store.begin_session(make_session("s1"));
  store.record(make_trial());
  SQLite::Database database((folder_ / "tuning.db").string(), SQLite::OPEN_READWRITE);
  std::string columns;
  SQLite::Statement names(
      database, "SELECT name FROM pragma_table_info('trials') WHERE name NOT IN ('id', 'occurrence')");
  while (names.executeStep()) columns += ", " + names.getColumn(0).getString();
  database.exec(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) "
      "INSERT INTO trials (occurrence" +
      columns + ") SELECT i" + columns + " FROM trials, n");
  EXPECT_EQ(store.trials().size(), 10000u);
}

TEST(DefaultStorePath, FollowsTheXdgSpecification) {
  const auto with = [](const char* data_home, const char* home) {
    data_home ? setenv("XDG_DATA_HOME", data_home, 1) : unsetenv("XDG_DATA_HOME");
    home ? setenv("HOME", home, 1) : unsetenv("HOME");
    return default_store_path().string();
  };
  const char* home = std::getenv("HOME");
  const std::string saved = home != nullptr ? home : "/";
  EXPECT_EQ(with("/data", "/home/u"), "/data/fcsa/tuning.db");
  EXPECT_EQ(with(nullptr, "/home/u"), "/home/u/.local/share/fcsa/tuning.db");
  EXPECT_EQ(with("relative", "/home/u"), "/home/u/.local/share/fcsa/tuning.db");
  EXPECT_THROW(with(nullptr, nullptr), StoreError);
  setenv("HOME", saved.c_str(), 1);
}

}  // namespace
}  // namespace fcsa::tuner
