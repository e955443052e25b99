#include "tuner/trials/store.h"

#include <cstdlib>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tuner/trials/store_connection.h"
#include "tuner/trials/store_fields.h"
#include "tuner/trials/store_rows.h"
#include "tuner/trials/store_upgrade.h"

namespace fcsa::tuner {
namespace {

constexpr Status kStatusOrder[] = {Status::ok,
                                   Status::pruned,
                                   Status::compile_failed,
                                   Status::launch_failed,
                                   Status::out_of_memory,
                                   Status::wrong_result,
                                   Status::timed_out,
                                   Status::crashed};

std::vector<StoreSummary::PerDevice> summarize_devices(SQLite::Database& database) {
  RowReader rows(database);
  SQLite::Statement query(database,
                          "SELECT s.device_id, count(t.id), count(DISTINCT t.problem_id), "
                          "coalesce(min(t.finished_at), ''), coalesce(max(t.finished_at), '') "
                          "FROM sessions s LEFT JOIN trials t ON t.session_id = s.id "
                          "GROUP BY s.device_id ORDER BY s.device_id");
  std::vector<StoreSummary::PerDevice> devices;
  while (query.executeStep()) {
    StoreSummary::PerDevice device;
    device.device = rows.device(query.getColumn(0).getInt64());
    device.trials = static_cast<std::size_t>(query.getColumn(1).getInt64());
    device.problems = static_cast<std::size_t>(query.getColumn(2).getInt64());
    device.first_at = query.getColumn(3).getString();
    device.last_at = query.getColumn(4).getString();
    devices.push_back(std::move(device));
  }
  return devices;
}

std::vector<std::pair<std::string, std::size_t>> count_by_status(SQLite::Database& database) {
  std::map<std::string, std::size_t> counts;
  SQLite::Statement query(database, "SELECT status, count(*) FROM trials GROUP BY status");
  while (query.executeStep()) {
    counts[query.getColumn(0).getString()] = static_cast<std::size_t>(query.getColumn(1).getInt64());
  }
  std::vector<std::pair<std::string, std::size_t>> by_status;
  for (const Status status : kStatusOrder) {
    const auto found = counts.find(field_text(status));
    if (found != counts.end()) by_status.emplace_back(found->first, found->second);
  }
  return by_status;
}

std::size_t count_rows(SQLite::Database& database, const char* table) {
  return static_cast<std::size_t>(
      database.execAndGet(fmt::format("SELECT count(*) FROM {}", table)).getInt64());
}

// What one file has to give to another.
struct Contents {
  std::vector<Session> sessions;
  std::vector<LoadedTrial> trials;
};

Contents read_contents(SQLite::Database& database) {
  RowReader rows(database);
  return {rows.sessions(), rows.trials("ORDER BY t.id", {})};
}

// How many trials were new.
std::size_t add(SQLite::Database& database, const Contents& contents) {
  std::map<std::string, std::int64_t> session_ids;
  for (const auto& session : contents.sessions) session_ids[session.id] = upsert_session(database, session);
  std::size_t added = 0;
  for (const auto& [stored, source] : contents.trials) {
    const TrialRow row{session_ids.at(stored.session.id), source.content_hash, source.occurrence};
    if (insert_trial(database, row, stored.trial)) ++added;
  }
  return added;
}

}  // namespace

struct Store::Impl {
  mutable StoreConnection connection;
  std::int64_t session_id = 0;  // row of the session that is recorded now; 0 before begin_session
};

Store::Store(const std::filesystem::path& file, Mode mode, Patience patience)
    : impl_(new Impl{StoreConnection(file, mode, std::move(patience))}) {}
Store::~Store() = default;
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;

const std::filesystem::path& Store::file() const {
  return impl_->connection.file();
}

void Store::begin_session(const Session& session) {
  impl_->session_id =
      impl_->connection.write([&](SQLite::Database& database) { return upsert_session(database, session); });
}

void Store::record(std::span<const Trial> trials) {
  impl_->connection.write([&](SQLite::Database& database) {
    if (impl_->session_id == 0)
      throw std::logic_error("Store::record was called before Store::begin_session");
    for (const auto& trial : trials) {
      TrialRow row{impl_->session_id, content_hash(trial), 0};
      row.occurrence = count_occurrences(database, row.session_id, row.content_hash);
      insert_trial(database, row, trial);
    }
    return trials.size();
  });
}

std::optional<Trial> Store::find(const TrialKey& key) {
  auto found = impl_->connection.read([&](SQLite::Database& database) {
    return RowReader(database).trials(
        "WHERE d.uuid = ? AND d.driver = ? AND p.text = ? AND c.text = ? AND t.source_hash = ? AND t.cache = "
        "? "
        "AND t.phase = ? ORDER BY t.finished_at DESC, t.id DESC LIMIT 1",
        {key.device_uuid, key.driver, key.problem, key.configuration, key.source_hash, field_text(key.cache),
         field_text(Phase::search)});
  });
  if (found.empty()) return std::nullopt;
  return std::move(found.front().stored.trial);
}

std::vector<StoredTrial> Store::recorded() const {
  return trials();
}

std::vector<StoredTrial> Store::trials(const TrialFilter& filter) const {
  std::vector<std::string> conditions{"true"};
  std::vector<std::string> parameters;
  const auto narrow = [&](const char* condition, std::string parameter) {
    conditions.emplace_back(condition);
    parameters.push_back(std::move(parameter));
  };
  if (filter.device_uuid) narrow("d.uuid = ?", *filter.device_uuid);
  if (filter.phase) narrow("t.phase = ?", field_text(*filter.phase));
  if (filter.status) narrow("t.status = ?", field_text(*filter.status));
  const std::string where = fmt::format("WHERE {} ORDER BY t.id", fmt::join(conditions, " AND "));
  auto loaded = impl_->connection.read(
      [&](SQLite::Database& database) { return RowReader(database).trials(where, parameters); });
  std::vector<StoredTrial> trials;
  trials.reserve(loaded.size());
  for (auto& trial : loaded) trials.push_back(std::move(trial.stored));
  return trials;
}

StoreSummary Store::summary() const {
  return impl_->connection.read([](SQLite::Database& database) {
    StoreSummary summary;
    summary.schema_version = database.execAndGet("PRAGMA user_version").getInt();
    summary.trials = count_rows(database, "trials");
    summary.sessions = count_rows(database, "sessions");
    summary.damaged = damaged_trials(database);
    summary.devices = summarize_devices(database);
    summary.by_status = count_by_status(database);
    return summary;
  });
}

std::size_t Store::merge(const Store& other) {
  const Contents contents = other.impl_->connection.read(read_contents);
  return impl_->connection.write([&](SQLite::Database& database) { return add(database, contents); });
}

std::size_t Store::merge(std::span<const StoredTrial> trials) {
  Contents contents;
  std::set<std::string> sessions;
  std::map<std::pair<std::string, std::string>, std::int64_t> occurrences;
  for (const auto& stored : trials) {
    if (sessions.insert(stored.session.id).second) contents.sessions.push_back(stored.session);
    const std::string hash = content_hash(stored.trial);
    contents.trials.push_back({stored, {0, hash, occurrences[{stored.session.id, hash}]++}});
  }
  return impl_->connection.write([&](SQLite::Database& database) { return add(database, contents); });
}

std::filesystem::path default_store_path() {
  const char* data_home = std::getenv("XDG_DATA_HOME");
  // The XDG specification says to ignore a relative one.
  if (data_home != nullptr && std::filesystem::path(data_home).is_absolute()) {
    return std::filesystem::path(data_home) / "fcsa" / "tuning.db";
  }
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home != '\0') {
    return std::filesystem::path(home) / ".local" / "share" / "fcsa" / "tuning.db";
  }
  throw StoreError(
      "there is no default place for the tuning database, since neither XDG_DATA_HOME nor HOME is set: "
      "name a file with --db FILE");
}

}  // namespace fcsa::tuner
