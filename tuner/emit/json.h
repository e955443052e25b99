// The dispatch table as JSON, for programs in other languages. Format: docs/dispatch_table.md.
#pragma once

#include <string>

#include "tuner/emit/emit.h"

namespace fcsa::tuner {

// Increased when a reader of an earlier version would misread the file; members may be added without.
inline constexpr int kTableSchemaVersion = 3;

std::string table_json(const Emission& emission);

}  // namespace fcsa::tuner
