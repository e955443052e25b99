// The child process that compiles.
#pragma once

#include <string>

namespace fcsa::runner {

// Called by main for `fcsa __compile KIND`, "nvrtc" or "system". Returns the exit status.
int compile_main(const std::string& kind);

}  // namespace fcsa::runner
