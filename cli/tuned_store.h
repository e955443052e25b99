// The database that a command takes tuned data from.
#pragma once

#include <string>

#include "tuner/trials/store.h"

namespace fcsa::cli {

// The file that is named (--db); else the user's database, or where that isn't there or has no trial of the
// device (a uuid or a name; empty: of any), the one that is shipped with fcsa, which a note on standard error
// says. Read-only.
tuner::Store open_tuned_store(const std::string& named, const std::string& device);

}  // namespace fcsa::cli
