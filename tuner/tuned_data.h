// Tuned data of known devices as files of the source tree (data/): text that can be reviewed, one trial a
// line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tuner/store.h"

namespace fcsa::tuner {

// What a dispatch table of the device needs of these trials, its own and those of others of its model: of
// each shape the configurations that the table chooses, and what the latest race has of the same kernels.
// With a few samples each, and without what says where it was measured rather than on what: host,
// paths. Throws std::invalid_argument when there is no successful trial.
std::vector<StoredTrial> trials_to_ship(const std::vector<StoredTrial>& trials,
                                        const kernels::DeviceInfo& device);

// JSON; numbers read back exactly, fields at their default are left out.
std::string to_tuned_data(const std::vector<StoredTrial>& trials);
// Throws std::invalid_argument that says what can't be understood, and where.
std::vector<StoredTrial> trials_of_tuned_data(std::string_view text);

}  // namespace fcsa::tuner
