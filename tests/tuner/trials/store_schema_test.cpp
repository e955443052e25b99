#include "tuner/trials/store_schema.h"

#include <chrono>
#include <memory>
#include <vector>

#include <SQLiteCpp/SQLiteCpp.h>
#include <gtest/gtest.h>

#include "tests/tuner/trials/store_fixture.h"
#include "tuner/trials/store_connection.h"
#include "tuner/trials/store_info.h"

namespace fcsa::tuner {
namespace {

class StoreSchema : public StoreFixture {};

// The first released step, and two that a later fcsa might add.
std::vector<Migration> later_migrations() {
  std::vector<Migration> steps = migrations();
  const int last = steps.back().version;
  steps.push_back({last + 1, "ALTER TABLE trials ADD COLUMN rating INTEGER NOT NULL DEFAULT 5"});
  steps.push_back({last + 2, "UPDATE trials SET rating = rating + 1; CREATE TABLE notes (text)"});
  return steps;
}

int sum_of_ratings(StoreConnection& connection) {
  return connection.read([](SQLite::Database& database) {
    return database.execAndGet("SELECT sum(rating) FROM trials").getInt();
  });
}

// Makes the current file one of schema 2, or 1.
void undo_to(int version, const std::filesystem::path& file) {
  SQLite::Database database(file.string(), SQLite::OPEN_READWRITE);
  std::vector<const char*> columns{"bias_gradient", "scale_gradient", "deterministic"};
  if (version == 1) columns.insert(columns.end(), {"bias_batch", "bias_heads", "allow_tf32"});
  for (const char* column : columns)
    database.exec(fmt::format("ALTER TABLE problems DROP COLUMN {}", column));
  database.exec(fmt::format("PRAGMA user_version = {}", version));
}

kernels::Problem deterministic_problem() {
  return kernels::problem_from_text(
      "backward bf16 d64 b2 h4 kv4 nq100 nk200 bhnd bias dbias dscale deterministic scale=8");
}

void record_one(const std::filesystem::path& file, const kernels::Problem& problem) {
  Store store(file, Store::Mode::read_write);
  store.begin_session(make_session("s1"));
  Trial trial = make_trial();
  trial.problem = problem;
  store.record(trial);
}

// What a merge by an fcsa of schema 2 left of that problem.
void damage(const std::filesystem::path& file) {
  undo_to(2, file);
  SQLite::Database database(file.string(), SQLite::OPEN_READWRITE);
  database.exec("UPDATE problems SET text = replace(text, ' dbias dscale deterministic', '')");
}

std::string texts_of(const std::vector<StoredTrial>& trials) {
  std::string text;
  for (const auto& stored : trials) text += all_fields(stored.trial);
  return text;
}

int version_in(const std::filesystem::path& file) {
  return SQLite::Database(file.string()).execAndGet("PRAGMA user_version").getInt();
}

TEST_F(StoreSchema, CountsUpFromOneToTheCurrentVersion) {
  int version = 0;
  for (const auto& step : migrations()) EXPECT_EQ(step.version, ++version);
  EXPECT_EQ(version, Store::kSchemaVersion);
}

TEST_F(StoreSchema, BringsAnOlderDatabaseUpToDateAndKeepsItsTrials) {
  fill(3);
  const auto steps = later_migrations();
  for (int opened = 0; opened < 2; ++opened) {
    StoreConnection connection(file_, Mode::read_write, std::chrono::seconds(1), steps);
    EXPECT_EQ(sum_of_ratings(connection), 18);
  }
  EXPECT_EQ(version_in(file_), steps.back().version);
  expect_contains(error_of([&] { Store(file_, Mode::read_write); }), "upgrade fcsa");
}

TEST_F(StoreSchema, ReadsAnOlderDatabaseWithoutChangingIt) {
  fill(3);
  const std::string bytes = read_bytes(file_);
  const auto steps = later_migrations();
  StoreConnection connection(file_, Mode::read_only, std::chrono::seconds(1), steps);
  EXPECT_EQ(sum_of_ratings(connection), 18);
  EXPECT_EQ(read_bytes(file_), bytes);
}

TEST_F(StoreSchema, ReadsOlderVersionsWithoutChangingThemAndMigratesThemForWriting) {
  fill(3);
  const std::string trials = texts_of(Store(file_, Mode::read_only).trials());
  for (const int version : {2, 1}) {
    undo_to(version, file_);
    const std::string bytes = read_bytes(file_);
    EXPECT_EQ(texts_of(Store(file_, Mode::read_only).trials()), trials);
    EXPECT_EQ(read_bytes(file_), bytes);
    EXPECT_EQ(texts_of(Store(file_, Mode::read_write).trials()), trials);
    EXPECT_EQ(version_in(file_), Store::kSchemaVersion);
  }
}

TEST_F(StoreSchema, OlderVersionsAndTheirMigratedCopyMergeWithoutDoubles) {
  fill(3);
  for (const int version : {2, 1}) {
    const auto copy = folder_ / fmt::format("migrated{}.db", version);
    undo_to(version, file_);
    std::filesystem::copy_file(file_, copy);
    Store migrated(copy, Mode::read_write);
    EXPECT_EQ(migrated.merge(Store(file_, Mode::read_only)), 0u);
    EXPECT_EQ(Store(file_, Mode::read_write).merge(migrated), 0u);
  }
}

TEST_F(StoreSchema, FieldsThatOlderVersionsKeptInTheTextAloneComeBack) {
  for (const int version : {1, 2}) {
    const auto file = folder_ / fmt::format("version{}.db", version);
    record_one(file, deterministic_problem());
    undo_to(version, file);
    EXPECT_EQ(Store(file, Mode::read_only).trials().at(0).trial.problem, deterministic_problem());
    EXPECT_EQ(Store(file, Mode::read_write).trials().at(0).trial.problem, deterministic_problem());
    SQLite::Database database(file.string());
    EXPECT_EQ(
        database.execAndGet("SELECT bias_gradient + scale_gradient + deterministic FROM problems").getInt(),
        3);
  }
}

TEST_F(StoreSchema, WhatAnOlderMergeLostComesBackWhereTheContentHashTells) {
  record_one(file_, deterministic_problem());
  damage(file_);
  EXPECT_EQ(Store(file_, Mode::read_only).trials().at(0).trial.problem, deterministic_problem());
  const Store store(file_, Mode::read_write);
  EXPECT_EQ(store.trials().at(0).trial.problem, deterministic_problem());
  EXPECT_EQ(store.summary().damaged, 0u);
  SQLite::Database database(file_.string());
  EXPECT_EQ(database.execAndGet("SELECT count(*) FROM problems").getInt(), 1);
}

TEST_F(StoreSchema, RacesOfARefreshGetAPhaseOfTheirOwn) {
  Trial trial = make_trial();
  trial.phase = Phase::confirm, trial.race_id = "refresh-1";
  {
    Store store(file_, Mode::read_write);
    store.begin_session(make_session("s1"));
    store.record(trial);
  }
  undo_to(2, file_);
  const auto copy = folder_ / "copy.db";
  std::filesystem::copy_file(file_, copy);
  Store store(file_, Mode::read_write);
  EXPECT_EQ(store.trials().at(0).trial.phase, Phase::refresh);
  EXPECT_EQ(store.merge(Store(copy, Mode::read_only)), 0u);
}

TEST_F(StoreSchema, WhatAnOlderMergeLostForGoodIsFound) {
  record_one(file_, deterministic_problem());
  damage(file_);
  SQLite::Database(file_.string(), SQLite::OPEN_READWRITE)
      .exec("UPDATE trials SET content_hash = 'of another'");
  const Store store(file_, Mode::read_write);
  EXPECT_EQ(store.summary().damaged, 1u);
  expect_contains(describe_store(store), "damaged   1 trial");
  expect_contains(store_info_json(store), "\"damaged\": 1");
}

TEST_F(StoreSchema, AFailedMigrationLeavesTheOlderDatabase) {
  fill(3);
  auto steps = later_migrations();
  steps.push_back({steps.back().version + 1, "INSERT INTO no_such_table VALUES (1)"});
  expect_contains(error_of([&] { StoreConnection(file_, Mode::read_write, std::chrono::seconds(1), steps); }),
                  "no_such_table");
  EXPECT_EQ(version_in(file_), Store::kSchemaVersion);
  EXPECT_EQ(Store(file_, Mode::read_write).trials().size(), 3u);
}

TEST_F(StoreSchema, SeveralProcessesMigrateOnce) {
  fill(3);
  const auto steps = later_migrations();
  constexpr int kProcesses = 4;
  std::vector<std::unique_ptr<Child>> children;
  children.reserve(kProcesses);
  for (int i = 0; i < kProcesses; ++i) {
    children.push_back(std::make_unique<Child>(
        [&](int) { StoreConnection(file_, Mode::read_write, std::chrono::seconds(10), steps); }));
  }
  for (auto& child : children) EXPECT_EQ(child->read(), "");
  StoreConnection connection(file_, Mode::read_only, std::chrono::seconds(1), steps);
  EXPECT_EQ(sum_of_ratings(connection), 18);
}

}  // namespace
}  // namespace fcsa::tuner
