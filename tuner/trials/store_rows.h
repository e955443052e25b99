// Records to rows and back. Everything here runs inside a transaction of the caller and throws
// SQLite::Exception; reading throws std::invalid_argument for a value it doesn't understand.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <SQLiteCpp/SQLiteCpp.h>

#include "tuner/trials/store.h"

namespace fcsa::tuner {

// Row id of the record with this identity, inserted if it isn't there.
std::int64_t upsert_session(SQLite::Database& database, const Session& session);
std::int64_t upsert_problem(SQLite::Database& database, const kernels::Problem& problem);

// Equal for equal trials: a merge recognises them by it.
std::string content_hash(const Trial& trial);

// Inserts the trial as the n-th one of this content in its session; false when that one is there already.
struct TrialRow {
  std::int64_t session_id = 0;
  std::string content_hash;
  std::int64_t occurrence = 0;
};
bool insert_trial(SQLite::Database& database, const TrialRow& row, const Trial& trial);
std::int64_t count_occurrences(SQLite::Database& database, std::int64_t session_id,
                               const std::string& content_hash);

struct LoadedTrial {
  StoredTrial stored;
  TrialRow row;  // with the session_id of the database that it was read from
};

// Reads records by row id; those that many trials share are read once.
class RowReader {
 public:
  explicit RowReader(SQLite::Database& database) : database_(database) {}

  kernels::DeviceInfo device(std::int64_t id);
  const Session& session(std::int64_t id);
  std::vector<Session> sessions();
  // `where` and `parameters` narrow down the trials; the tables' aliases are t (trials), s, d, p and c.
  std::vector<LoadedTrial> trials(const std::string& where, const std::vector<std::string>& parameters);

 private:
  const kernels::Problem& problem(std::int64_t id);
  const std::string& configuration(std::int64_t id);

  SQLite::Database& database_;
  std::map<std::int64_t, Session> sessions_;
  std::map<std::int64_t, kernels::Problem> problems_;
  std::map<std::int64_t, std::string> configurations_;
};

}  // namespace fcsa::tuner
