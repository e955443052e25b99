// Where the numbers of a device come from, and what went wrong on the way.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "reports/comparison.h"
#include "reports/format.h"

namespace fcsa::reports {

struct Provenance {
  std::vector<std::pair<std::string, std::string>> facts;  // name and value, in the order to show them
  std::vector<std::string> commands;  // "2026-08-01T10:00:00Z host: fcsa tune ...", by session
};

Provenance provenance_of(const DeviceResults& results);

// What isn't ok, by kind, most frequent first.
Table failure_kinds_table(const DeviceResults& results);
// Everything that isn't ok, by kind and reason, most frequent first; long lists are cut and say so.
Table failures_table(const DeviceResults& results);

}  // namespace fcsa::reports
