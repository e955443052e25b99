// The child process that has the device.
#pragma once

#include <string>

namespace fcsa::runner {

// Called by main for `fcsa __worker DEVICE`. Returns the exit status.
int worker_main(const std::string& device);

}  // namespace fcsa::runner
