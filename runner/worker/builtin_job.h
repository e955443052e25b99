// What can be run where there is no compiler: the CPU kernels that are part of the program.
#pragma once

#include <optional>

#include "kernels/target.h"
#include "runner/worker/job.h"
#include "tuner/trials/trial.h"

namespace fcsa::runner {

// The job of a candidate of the cpu family that is the baseline for the target and built in; nothing for
// others. `placement` is of the tensors of the problem itself.
std::optional<CandidateJob> builtin_job(const tuner::Candidate& candidate, const kernels::Target& target,
                                        std::uint64_t seed, Placement placement);

}  // namespace fcsa::runner
