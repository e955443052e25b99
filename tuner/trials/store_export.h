// Exports for other programs: T4 JSON and CSV.
#pragma once

#include <string>
#include <vector>

#include "tuner/trials/trial.h"

namespace fcsa::tuner {

// T4 results format (AutoTuningAssociation): {"schema_version", "metadata", "results": [{"configuration",
// "times", "invalidity", "correctness", "measurements", ...}]}. Times in ms. Beyond the format, each result
// names its problem, kernel, device, session, phase and status.
std::string to_t4_json(const std::vector<StoredTrial>& trials);
// RFC 4180, one header line; samples joined by spaces.
std::string to_csv(const std::vector<StoredTrial>& trials);

}  // namespace fcsa::tuner
