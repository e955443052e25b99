// Who measured what, when and how: the record that every run that stores trials begins with.
#pragma once

#include <cstdint>
#include <string>

#include "tuner/trials/trial.h"

namespace fcsa::cli {

tuner::Session new_session(const kernels::DeviceInfo& device, const std::string& command, std::uint64_t seed);
// This process's command line, quoted for a shell.
std::string command_line();

}  // namespace fcsa::cli
