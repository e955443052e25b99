// What SQL alone can't bring up to date in a database of an earlier version, and what stays damaged.
//
// Merging lost fields of problems (dbias, dscale, deterministic) until schema 2. The content hash was kept,
// so that it no longer fits what is stored.
#pragma once

#include <cstddef>

#include <SQLiteCpp/SQLiteCpp.h>

namespace fcsa::tuner {

// Of a database of schema 2 or before, whose tables are up to date. Gives damaged trials the problem whose
// content hash is theirs, where there is one, and races of `fcsa tune --refresh`, which were told by the ids
// of their races, the phase that they have since. Inside a transaction of the caller; throws
// SQLite::Exception.
void upgrade_records(SQLite::Database& database);

// Damaged trials. Throws SQLite::Exception, and std::invalid_argument for a record that can't be understood.
std::size_t damaged_trials(SQLite::Database& database);

}  // namespace fcsa::tuner
