// Why a C++ compiler failed: its source, or the machine that it ran on.
#pragma once

#include <string>
#include <string_view>

#include "runner/cpu/command.h"

namespace fcsa::runner::cpu {

// Whether the output has an error at a place in the source. Everything else is of the machine: a program that
// the compiler starts is missing, a header, a process, room on the disk.
bool blames_source(std::string_view output, std::string_view source_name);
// It says so, or was killed, as the kernel does then.
bool ran_out_of_memory(const CommandResult& run);
// Out of memory, or no process to be had.
bool may_pass_soon(const CommandResult& run);
// Of a failure that the source isn't to blame for: what happened and what to do. `folder` is that of
// temporary files.
std::string cause_of_failure(const CommandResult& run, const std::string& compiler,
                             const std::string& folder);

}  // namespace fcsa::runner::cpu
