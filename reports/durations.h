// What each trial cost in wall time.
#pragma once

#include <unordered_map>
#include <vector>

#include "tuner/trials/store.h"

namespace fcsa::reports {

// Seconds since the trial before it in its session, or since that began. `trials` are oldest first.
std::unordered_map<const tuner::StoredTrial*, double> durations(
    const std::vector<const tuner::StoredTrial*>& trials);

}  // namespace fcsa::reports
