// Do recorded measurements belong to the kernels of this build?
#pragma once

#include <string>
#include <vector>

#include "tuner/trials/store.h"

namespace fcsa::runner {

// Those whose kernel this build would compile from other source or with other options, or doesn't know. The
// version of the compiler counts as the one that they were measured with.
std::vector<const tuner::StoredTrial*> stale_trials(const std::vector<tuner::StoredTrial>& trials);

// For people: how much of a file of tuned data is stale, and the commands that measure it again and make the
// file, or give it this build's hashes where the machine code is what it was. Precondition: `stale` of
// `trials`, at least one.
std::string how_to_renew(const std::string& file, const std::vector<tuner::StoredTrial>& trials,
                         const std::vector<const tuner::StoredTrial*>& stale);

}  // namespace fcsa::runner
