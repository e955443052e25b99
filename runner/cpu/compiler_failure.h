// Why a C++ compiler failed: its source, or the machine that it ran on.
#pragma once

#include <string>
#include <string_view>

#include "runner/cpu/command.h"

namespace fcsa::runner::cpu {

// passes: out of memory, or no process to be had: the same again may go well. stays: a program that the
// compiler starts is missing, a header, room on the disk. A compiler that crashes does so because of the
// source.
enum class Blame { source, passes, stays };

Blame blame_for(const CommandResult& failed, std::string_view source_name);
// It says so, or was killed, as the kernel does then.
bool ran_out_of_memory(const CommandResult& failed);
// Of a failure that stays: what happened and what to do. `folder` is that of temporary files.
std::string cause_of_failure(const CommandResult& failed, const std::string& compiler,
                             const std::string& folder);

}  // namespace fcsa::runner::cpu
