// Recorded spaces in fcsa databases.
#pragma once

#include <filesystem>
#include <vector>

#include "tuner/search/recorded_space.h"

namespace fcsa::tuner {

// Of every device, problem and family the latest search trial of each configuration. Those with only one
// configuration are left out. Throws StoreError, and std::runtime_error when nothing is left.
std::vector<RecordedSpace> spaces_from_database(const std::filesystem::path& file);

}  // namespace fcsa::tuner
