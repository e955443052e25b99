#include "tuner/trials/store_rows.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string_view>
#include <type_traits>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <xxhash.h>
#include <nlohmann/json.hpp>

#include "tuner/trials/store_fields.h"

namespace fcsa::tuner {
namespace {

// Names of the columns of a record, in the order in which Binder and ColumnReader go through them.
struct ColumnNames {
  std::vector<std::string> names;

  template <typename T>
  void operator()(const char* name, const T& /*value*/) {
    names.push_back(fmt::format("\"{}\"", name));
  }
};

std::string json_array(const std::vector<double>& values) {
  std::vector<std::string> texts;
  texts.reserve(values.size());
  for (const double value : values) texts.push_back(std::isfinite(value) ? field_text(value) : "null");
  return fmt::format("[{}]", fmt::join(texts, ","));
}

std::vector<double> values_of_json_array(const std::string& text) {
  const auto array = nlohmann::json::parse(text, nullptr, false);
  if (!array.is_array()) throw std::invalid_argument(fmt::format("samples '{}'", text));
  std::vector<double> values;
  values.reserve(array.size());
  for (const auto& value : array) {
    values.push_back(value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN());
  }
  return values;
}

// Binds the fields of a record to consecutive parameters of a statement.
class Binder {
 public:
  explicit Binder(SQLite::Statement& statement, int first = 1) : statement_(statement), next_(first) {}

  template <typename T>
  void operator()(const char* /*name*/, const T& value) {
    if constexpr (std::is_same_v<T, std::vector<double>>) {
      statement_.bind(next_++, json_array(value));
    } else if constexpr (std::is_same_v<T, kernels::OptionalFloat>) {
      if (value) {
        statement_.bind(next_++, static_cast<double>(*value));
      } else {
        statement_.bind(next_++);
      }
    } else if constexpr (std::is_floating_point_v<T>) {
      statement_.bind(next_++, static_cast<double>(value));
    } else {
      // Integers too: a column's affinity turns the text into an integer, or keeps it where 64 bits aren't
      // enough.
      statement_.bind(next_++, field_text(value));
    }
  }

 private:
  SQLite::Statement& statement_;
  int next_;
};

template <typename T>
T integer_of(const char* name, const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw std::invalid_argument(fmt::format("{} is '{}', not a whole number in range", name, text));
  }
  return value;
}

// SQLite makes 0 of any text.
double number_in(const char* name, const SQLite::Column& column) {
  if (!column.isInteger() && !column.isFloat())
    throw std::invalid_argument(fmt::format("{} is '{}', not a number", name, column.getString()));
  return column.getDouble();
}

// Reads consecutive columns of a row into the fields of a record.
class ColumnReader {
 public:
  explicit ColumnReader(SQLite::Statement& statement, int first = 0) : statement_(statement), next_(first) {}

  template <typename T>
  void operator()(const char* name, T& value) {
    const SQLite::Column column = statement_.getColumn(next_++);
    if constexpr (std::is_same_v<T, std::string>) {
      value = column.getString();
    } else if constexpr (std::is_same_v<T, std::vector<double>>) {
      value = values_of_json_array(column.getString());
    } else if constexpr (std::is_floating_point_v<T>) {
      value = column.isNull() ? std::numeric_limits<T>::quiet_NaN() : static_cast<T>(number_in(name, column));
    } else if constexpr (std::is_same_v<T, bool>) {
      value = number_in(name, column) != 0;
    } else if constexpr (std::is_enum_v<T>) {
      value = enum_from_text<T>(column.getString());
    } else {
      value = integer_of<T>(name, column.getString());
    }
  }

 private:
  SQLite::Statement& statement_;
  int next_;
};

std::string insert_sql(std::string_view table, const std::vector<std::string>& columns) {
  return fmt::format("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING", table,
                     fmt::join(columns, ", "),
                     fmt::join(std::vector<std::string>(columns.size(), "?"), ", "));
}

std::int64_t single_integer(SQLite::Statement& query) {
  if (!query.executeStep()) throw std::logic_error("a row that was just inserted is not there");
  return query.getColumn(0).getInt64();
}

std::int64_t upsert_device(SQLite::Database& database, const kernels::DeviceInfo& device) {
  ColumnNames columns;
  visit_device(device, columns);
  SQLite::Statement insert(database, insert_sql("devices", columns.names));
  visit_device(device, Binder(insert));
  insert.exec();
  SQLite::Statement query(
      database, fmt::format("SELECT id FROM devices WHERE {} = ?", fmt::join(columns.names, " = ? AND ")));
  visit_device(device, Binder(query));
  return single_integer(query);
}

std::int64_t upsert_configuration(SQLite::Database& database, const std::string& text) {
  SQLite::Statement insert(database, insert_sql("configurations", {"text", "kernel"}));
  insert.bind(1, text);
  insert.bind(2, kernels::kernel_of(text));
  insert.exec();
  SQLite::Statement query(database, "SELECT id FROM configurations WHERE text = ?");
  query.bind(1, text);
  return single_integer(query);
}

}  // namespace

std::int64_t upsert_problem(SQLite::Database& database, const kernels::Problem& problem) {
  const std::string text = kernels::to_text(problem);
  ColumnNames columns{{"text"}};
  visit_problem_fields(problem, columns);
  SQLite::Statement insert(database, insert_sql("problems", columns.names));
  insert.bind(1, text);
  visit_problem_fields(problem, Binder(insert, 2));
  insert.exec();
  SQLite::Statement query(database, "SELECT id FROM problems WHERE text = ?");
  query.bind(1, text);
  return single_integer(query);
}

std::int64_t upsert_session(SQLite::Database& database, const Session& session) {
  ColumnNames columns{{"device_id"}};
  visit_session(session, columns);
  SQLite::Statement insert(database, insert_sql("sessions", columns.names));
  insert.bind(1, upsert_device(database, session.device));
  visit_session(session, Binder(insert, 2));
  insert.exec();
  SQLite::Statement query(database, "SELECT id FROM sessions WHERE uid = ?");
  query.bind(1, session.id);
  return single_integer(query);
}

std::string content_hash(const Trial& trial) {
  std::string text = kernels::to_text(trial.problem) + '\n' + trial.configuration;
  visit_trial(trial, [&](const char* name, const auto& value) {
    const std::string field = field_text(value);
    text += fmt::format("\n{} {} ", name, field.size()) + field;
  });
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

bool insert_trial(SQLite::Database& database, const TrialRow& row, const Trial& trial) {
  ColumnNames columns{{"session_id", "content_hash", "occurrence", "problem_id", "configuration_id"}};
  visit_trial(trial, columns);
  SQLite::Statement insert(database, insert_sql("trials", columns.names));
  insert.bind(1, row.session_id);
  insert.bind(2, row.content_hash);
  insert.bind(3, row.occurrence);
  insert.bind(4, upsert_problem(database, trial.problem));
  insert.bind(5, upsert_configuration(database, trial.configuration));
  visit_trial(trial, Binder(insert, 6));
  return insert.exec() == 1;
}

std::int64_t count_occurrences(SQLite::Database& database, std::int64_t session_id,
                               const std::string& content_hash) {
  SQLite::Statement query(database, "SELECT count(*) FROM trials WHERE session_id = ? AND content_hash = ?");
  query.bind(1, session_id);
  query.bind(2, content_hash);
  return single_integer(query);
}

kernels::DeviceInfo RowReader::device(std::int64_t id) {
  kernels::DeviceInfo device;
  ColumnNames columns;
  visit_device(device, columns);
  SQLite::Statement query(database_,
                          fmt::format("SELECT {} FROM devices WHERE id = ?", fmt::join(columns.names, ", ")));
  query.bind(1, id);
  if (!query.executeStep()) throw std::invalid_argument(fmt::format("there is no device {}", id));
  visit_device(device, ColumnReader(query));
  return device;
}

const Session& RowReader::session(std::int64_t id) {
  if (const auto known = sessions_.find(id); known != sessions_.end()) return known->second;
  Session session;
  ColumnNames columns{{"device_id"}};
  visit_session(session, columns);
  SQLite::Statement query(
      database_, fmt::format("SELECT {} FROM sessions WHERE id = ?", fmt::join(columns.names, ", ")));
  query.bind(1, id);
  if (!query.executeStep()) throw std::invalid_argument(fmt::format("there is no session {}", id));
  session.device = device(query.getColumn(0).getInt64());
  visit_session(session, ColumnReader(query, 1));
  return sessions_.emplace(id, std::move(session)).first->second;
}

std::vector<Session> RowReader::sessions() {
  std::vector<Session> sessions;
  SQLite::Statement query(database_, "SELECT id FROM sessions ORDER BY id");
  while (query.executeStep()) sessions.push_back(session(query.getColumn(0).getInt64()));
  return sessions;
}

const kernels::Problem& RowReader::problem(std::int64_t id) {
  if (const auto known = problems_.find(id); known != problems_.end()) return known->second;
  // The text is the whole problem; the other columns are for queries.
  SQLite::Statement query(database_, "SELECT text FROM problems WHERE id = ?");
  query.bind(1, id);
  if (!query.executeStep()) throw std::invalid_argument(fmt::format("there is no problem {}", id));
  const auto problem = kernels::problem_from_text(query.getColumn(0).getString());
  kernels::validate(problem);
  return problems_.emplace(id, problem).first->second;
}

const std::string& RowReader::configuration(std::int64_t id) {
  if (const auto known = configurations_.find(id); known != configurations_.end()) return known->second;
  SQLite::Statement query(database_, "SELECT text FROM configurations WHERE id = ?");
  query.bind(1, id);
  if (!query.executeStep()) throw std::invalid_argument(fmt::format("there is no configuration {}", id));
  return configurations_.emplace(id, query.getColumn(0).getString()).first->second;
}

std::vector<LoadedTrial> RowReader::trials(const std::string& where,
                                           const std::vector<std::string>& parameters) {
  Trial empty;
  ColumnNames columns;
  visit_trial(empty, columns);
  SQLite::Statement query(
      database_,
      fmt::format(
          "SELECT t.id, t.session_id, t.content_hash, t.occurrence, t.problem_id, t.configuration_id, t.{} "
          "FROM trials t JOIN sessions s ON s.id = t.session_id JOIN devices d ON d.id = s.device_id "
          "JOIN problems p ON p.id = t.problem_id JOIN configurations c ON c.id = t.configuration_id {}",
          fmt::join(columns.names, ", t."), where));
  int index = 1;
  for (const auto& parameter : parameters) query.bind(index++, parameter);

  std::vector<LoadedTrial> trials;
  while (query.executeStep()) {
    LoadedTrial loaded;
    loaded.stored.id = query.getColumn(0).getInt64();
    loaded.row = {query.getColumn(1).getInt64(), query.getColumn(2).getString(),
                  query.getColumn(3).getInt64()};
    try {
      loaded.stored.session = session(loaded.row.session_id);
      loaded.stored.trial.problem = problem(query.getColumn(4).getInt64());
      loaded.stored.trial.configuration = configuration(query.getColumn(5).getInt64());
      visit_trial(loaded.stored.trial, ColumnReader(query, 6));
      check_plausible(loaded.stored.trial);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(fmt::format("trial {}: {}", loaded.stored.id, error.what()));
    }
    trials.push_back(std::move(loaded));
  }
  return trials;
}

}  // namespace fcsa::tuner
