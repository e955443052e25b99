// What can run here is asked in a child process, which loads the libraries of GPUs.
#pragma once

#include <string>

#include "runner/device/device.h"

namespace fcsa::runner {

// Called by main for `fcsa __inventory`: prints take_inventory() as JSON. Returns the exit status.
int inventory_main();

// Runs `fcsa __inventory` in a child process and parses it. Throws std::runtime_error when the child dies.
Inventory inventory_from_child(const std::string& executable);

}  // namespace fcsa::runner
