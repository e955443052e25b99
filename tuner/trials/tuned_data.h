// Tuned data of known devices as files of the source tree (data/): text that can be reviewed, one trial a
// line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tuner/trials/store.h"

namespace fcsa::tuner {

// JSON; numbers read back exactly, fields at their default are left out.
std::string to_tuned_data(const std::vector<StoredTrial>& trials);
// Throws std::invalid_argument that says what can't be understood, and where.
std::vector<StoredTrial> trials_of_tuned_data(std::string_view text);

}  // namespace fcsa::tuner
