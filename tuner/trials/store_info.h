// What is in a tuning database, for people and for programs: `fcsa db info`.
#pragma once

#include <string>

#include "tuner/trials/store.h"

namespace fcsa::tuner {

// Lines of text: file, schema, counts by status, trials that are damaged, and a table of the devices.
std::string describe_store(const Store& store);
// {"file", "schema_version", "trials", "sessions", "damaged", "by_status": {...}, "devices": [{...}]}
std::string store_info_json(const Store& store);

}  // namespace fcsa::tuner
