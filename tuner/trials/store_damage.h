// Trials that were merged by an fcsa that lost fields of their problem (dbias, dscale, deterministic: schema 2
// and before). Their content hash was kept, so that it no longer fits what is stored.
#pragma once

#include <cstddef>

#include <SQLiteCpp/SQLiteCpp.h>

namespace fcsa::tuner {

// Gives those trials the problem whose content hash is theirs, where there is one. Inside a transaction of the
// caller; throws SQLite::Exception.
void restore_lost_fields(SQLite::Database& database);

// Those for which there is none. Throws SQLite::Exception, and std::invalid_argument for a record that can't be
// understood.
std::size_t damaged_trials(SQLite::Database& database);

}  // namespace fcsa::tuner
