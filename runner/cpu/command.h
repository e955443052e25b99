// Runs another program to its end.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace fcsa::runner::cpu {

struct Command {
  std::vector<std::string> arguments;    // the program's path first
  std::filesystem::path directory;       // where it runs; empty: here
  std::vector<std::string> environment;  // "NAME=value", on top of this process's own
};

struct CommandResult {
  int status = 0;      // exit status; 128 + the signal that ended it
  std::string output;  // stdout and stderr as they came
};

// Throws std::system_error when the program can't be started.
CommandResult run_command(const Command& command);

}  // namespace fcsa::runner::cpu
