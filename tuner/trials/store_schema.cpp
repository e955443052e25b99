#include "tuner/trials/store_schema.h"

#include <string>

#include <SQLiteCpp/SQLiteCpp.h>

#include "tuner/trials/store.h"
#include "tuner/trials/store_upgrade.h"

namespace fcsa::tuner {
namespace {

// Seeds are text: SQLite has no unsigned 64-bit integer. NaN is stored as NULL. samples_ms is a JSON array.
constexpr std::string_view kVersion1 = R"sql(
CREATE TABLE devices (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  uuid TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  driver TEXT NOT NULL,
  compiler TEXT NOT NULL,
  arch TEXT NOT NULL,
  compute_capability INTEGER NOT NULL,
  multiprocessors INTEGER NOT NULL,
  max_threads_per_block INTEGER NOT NULL,
  smem_per_block_bytes INTEGER NOT NULL,
  l2_bytes INTEGER NOT NULL,
  memory_bytes INTEGER NOT NULL,
  UNIQUE (uuid, driver, compiler, kind, name, ordinal, arch, compute_capability, multiprocessors,
          max_threads_per_block, smem_per_block_bytes, l2_bytes, memory_bytes));

CREATE TABLE sessions (
  id INTEGER PRIMARY KEY,
  device_id INTEGER NOT NULL REFERENCES devices,
  uid TEXT NOT NULL UNIQUE,
  started_at TEXT NOT NULL,
  command TEXT NOT NULL,
  host TEXT NOT NULL,
  fcsa_version TEXT NOT NULL,
  seed TEXT NOT NULL);
CREATE INDEX sessions_by_device ON sessions (device_id);

CREATE TABLE problems (
  id INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE,
  op TEXT NOT NULL,
  dtype TEXT NOT NULL,
  head_dim INTEGER NOT NULL,
  batch INTEGER NOT NULL,
  heads INTEGER NOT NULL,
  kv_heads INTEGER NOT NULL,
  nq INTEGER NOT NULL,
  nk INTEGER NOT NULL,
  causal INTEGER NOT NULL,
  key_mask INTEGER NOT NULL,
  layout TEXT NOT NULL,
  scale REAL NOT NULL,
  l2norm_qk INTEGER NOT NULL,
  "groups" INTEGER NOT NULL,
  logit_bound REAL,
  bias TEXT NOT NULL,
  head_scale INTEGER NOT NULL);

CREATE TABLE configurations (
  id INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE,
  kernel TEXT NOT NULL);

CREATE TABLE trials (
  id INTEGER PRIMARY KEY,
  session_id INTEGER NOT NULL REFERENCES sessions,
  problem_id INTEGER NOT NULL REFERENCES problems,
  configuration_id INTEGER NOT NULL REFERENCES configurations,
  content_hash TEXT NOT NULL,
  occurrence INTEGER NOT NULL,
  source_hash TEXT NOT NULL,
  phase TEXT NOT NULL,
  race_id TEXT NOT NULL,
  finished_at TEXT NOT NULL,
  input_seed TEXT NOT NULL,
  status TEXT NOT NULL,
  message TEXT NOT NULL,
  cache TEXT NOT NULL,
  median_ms REAL,
  ci_low_ms REAL,
  ci_high_ms REAL,
  launches_per_sample INTEGER NOT NULL,
  samples_ms TEXT NOT NULL,
  peak_memory_bytes INTEGER NOT NULL,
  extra_memory_bytes INTEGER NOT NULL,
  sm_mhz REAL,
  memory_mhz REAL,
  temperature_c REAL,
  power_w REAL,
  throttle_reasons TEXT NOT NULL,
  error REAL,
  tolerance REAL,
  registers INTEGER NOT NULL,
  spill_bytes INTEGER NOT NULL,
  stack_bytes INTEGER NOT NULL,
  smem_bytes INTEGER NOT NULL,
  compile_ms REAL,
  UNIQUE (session_id, content_hash, occurrence));
CREATE INDEX trials_by_key ON trials (problem_id, configuration_id, source_hash, cache, phase);
)sql";

constexpr std::string_view kVersion2 = R"sql(
ALTER TABLE problems ADD COLUMN bias_batch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE problems ADD COLUMN bias_heads INTEGER NOT NULL DEFAULT 0;
ALTER TABLE problems ADD COLUMN allow_tf32 INTEGER NOT NULL DEFAULT 0;
)sql";

// Fields that version 2 kept in the text alone.
constexpr std::string_view kVersion3 = R"sql(
ALTER TABLE problems ADD COLUMN bias_gradient INTEGER NOT NULL DEFAULT 0;
ALTER TABLE problems ADD COLUMN scale_gradient INTEGER NOT NULL DEFAULT 0;
ALTER TABLE problems ADD COLUMN deterministic INTEGER NOT NULL DEFAULT 0;
UPDATE problems SET bias_gradient = ' ' || text || ' ' LIKE '% dbias %',
                    scale_gradient = ' ' || text || ' ' LIKE '% dscale %',
                    deterministic = ' ' || text || ' ' LIKE '% deterministic %';
)sql";

// What records say has not changed since.
constexpr int kRecordsAsTheyAreSince = 3;

int read_integer(SQLite::Database& database, const char* query) {
  return database.execAndGet(query).getInt();
}

}  // namespace

const std::vector<Migration>& migrations() {
  static const std::vector<Migration> steps{{1, kVersion1}, {2, kVersion2}, {3, kVersion3}};
  static_assert(Store::kSchemaVersion == 3, "append the step that leads to the new version");
  return steps;
}

Schema read_schema(SQLite::Database& database, std::span<const Migration> steps) {
  // One statement, so that all three come from one state of the file.
  SQLite::Statement query(database,
                          "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
                          "FROM pragma_application_id, pragma_user_version");
  query.executeStep();
  const int application = query.getColumn(0).getInt();
  const int version = query.getColumn(1).getInt();
  const int objects = query.getColumn(2).getInt();
  if (application == 0 && version == 0 && objects == 0) return {SchemaState::empty, 0};
  if (application != kApplicationId) return {SchemaState::foreign, version};
  const int known = steps.back().version;
  if (version > known) return {SchemaState::newer, version};
  return {version < known ? SchemaState::older : SchemaState::current, version};
}

void migrate(SQLite::Database& database, std::span<const Migration> steps) {
  SQLite::Transaction transaction(database, SQLite::TransactionBehavior::IMMEDIATE);
  const int version = read_integer(database, "PRAGMA user_version");
  for (const auto& step : steps) {
    if (step.version <= version) continue;
    database.exec(std::string(step.sql));
    database.exec("PRAGMA user_version = " + std::to_string(step.version));
  }
  // When every table is up to date, since it reads whole records.
  if (version > 0 && version < kRecordsAsTheyAreSince) upgrade_records(database);
  if (version == 0) database.exec("PRAGMA application_id = " + std::to_string(kApplicationId));
  transaction.commit();
}

}  // namespace fcsa::tuner
