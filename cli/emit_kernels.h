// What `fcsa emit` asks the compiler.
#pragma once

#include <optional>

#include "tuner/emit/emit.h"

namespace fcsa::cli {

// Whether the kernels of this build are those that were measured: a line for people. Nothing when no compiler
// is here to tell.
std::optional<std::string> compare_sources(const tuner::Emission& emission);

// Compiles every variant with NVRTC in child processes, for the architecture of the device that was tuned.
// Throws std::runtime_error that names what doesn't compile, or what is missing.
void compile_variants(tuner::Emission& emission);

}  // namespace fcsa::cli
