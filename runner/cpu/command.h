// Runs another program to its end.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace fcsa::runner::cpu {

struct Command {
  std::vector<std::string> arguments;    // the program's path first
  std::filesystem::path directory;       // where it runs; empty: here
  std::vector<std::string> environment;  // "NAME=value", on top of this process's own
  // Then it is killed, with everything that it started and that stayed in its process group. 0: never.
  std::chrono::milliseconds deadline{0};
};

struct CommandResult {
  int status = 0;      // exit status; 128 + the signal that ended it
  std::string output;  // stdout and stderr as they came
  bool timed_out = false;
};

// Throws std::system_error when the program can't be started.
CommandResult run_command(const Command& command);

}  // namespace fcsa::runner::cpu
