// Which trials go into a file of tuned data (tuned_data.h).
#pragma once

#include <vector>

#include "tuner/trials/trial.h"

namespace fcsa::tuner {

// What a dispatch table of the device needs of these trials, its own and those of others of its model: of
// each shape the configurations that the table chooses, and what the latest race has of the same kernels.
// With a few samples each, and without what says where it was measured rather than on what: host,
// paths. Throws std::invalid_argument when there is no successful trial.
std::vector<StoredTrial> trials_to_ship(const std::vector<StoredTrial>& trials,
                                        const kernels::DeviceInfo& device);

}  // namespace fcsa::tuner
