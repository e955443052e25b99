// What is known about a candidate without running it.
#pragma once

#include <string>

#include "runner/compile/compile_pool.h"
#include "tuner/trials/trial.h"

namespace fcsa::runner {

// Why it isn't worth compiling for the target; empty when it may be.
std::string reason_not_to_compile(const tuner::Candidate& candidate, const kernels::Target& target);

tuner::Evaluation pruned(std::string reason);

// The part of an Evaluation that the compiler decides: compile_failed, timed_out, crashed, pruned (spills,
// stack, ptxas warnings that mean serialised tensor-core work; never for a yardstick), or ok so far; with
// resources and compile_ms.
tuner::Evaluation evaluation_of(const tuner::Candidate& candidate, const Compilation& compilation);

}  // namespace fcsa::runner
