// Tables of the tuning database and how older ones are brought up to date.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace SQLite {
class Database;
}

namespace fcsa::tuner {

// "fcsa", in SQLite's application_id: tells our files from other SQLite databases.
inline constexpr std::int32_t kApplicationId = 0x66637361;

// Brings a database from version - 1 to version (SQLite's user_version).
struct Migration {
  int version;
  std::string_view sql;
};

// Ascending from version 1, without gaps. Steps that were ever released are never changed: append.
const std::vector<Migration>& migrations();

enum class SchemaState { empty, foreign, older, current, newer };

struct Schema {
  SchemaState state = SchemaState::empty;
  int version = 0;
};

Schema read_schema(SQLite::Database& database, std::span<const Migration> steps);
// Applies the missing steps in one transaction; safe when several processes do it at a time. Throws
// SQLite::Exception.
void migrate(SQLite::Database& database, std::span<const Migration> steps);

}  // namespace fcsa::tuner
