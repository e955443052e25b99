// Races of `fcsa tune --refresh` in the store: they check what tuning chose, and choose nothing.
#pragma once

#include <string_view>
#include <vector>

#include "tuner/trials/store.h"

namespace fcsa::tuner {

inline constexpr std::string_view kRefreshRace = "refresh-";  // what their race ids begin with

bool of_refresh(const Trial& trial);

// The trials that a dispatch table may use, of one device in order of time: refreshes are left out (two races
// of different environments can't be compared), and so are the kernels (class and configuration) that failed
// in one and have not been tuned since.
std::vector<const StoredTrial*> without_refreshes(const std::vector<const StoredTrial*>& trials);

}  // namespace fcsa::tuner
