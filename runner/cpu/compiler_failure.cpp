#include "runner/cpu/compiler_failure.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <initializer_list>
#include <span>

#include "runner/compiler.h"
#include "runner/cpu/compiler_command.h"

namespace fcsa::runner::cpu {
namespace {

bool says_one_of(std::string_view text, std::span<const std::string_view> complaints) {
  return std::any_of(complaints.begin(), complaints.end(),
                     [&](auto complaint) { return text.find(complaint) != std::string_view::npos; });
}

bool says_one_of(std::string_view text, std::initializer_list<std::string_view> complaints) {
  return says_one_of(text, std::span(complaints.begin(), complaints.size()));
}

// "kernel.cpp:12:3: error: ...". Of fatal errors there, those are of the machine that are about a file: of a
// header, of one that can't be written.
bool is_error_in(std::string_view line, std::string_view source_name) {
  return line.find(source_name) != std::string_view::npos && says_one_of(line, {"error: "}) &&
         !says_one_of(line, {"fatal error: "});
}

constexpr std::string_view kMemory[] = {
    "Killed signal terminated program", "out of memory", "memory exhausted",
    "Cannot allocate memory",           "bad_alloc",     "not enough memory",
    "unable to execute command: Killed"};
constexpr std::string_view kProcesses[] = {"Resource temporarily unavailable", "cannot fork", "fork failed"};

}  // namespace

bool blames_source(std::string_view output, std::string_view source_name) {
  while (!output.empty()) {
    const auto end = std::min(output.find('\n'), output.size());
    if (is_error_in(output.substr(0, end), source_name)) return true;
    output.remove_prefix(std::min(end + 1, output.size()));
  }
  return false;
}

bool ran_out_of_memory(const CommandResult& run) {
  return run.status == 128 + SIGKILL || (run.status != 0 && says_one_of(run.output, kMemory));
}

bool may_pass_soon(const CommandResult& run) {
  return ran_out_of_memory(run) || (run.status != 0 && says_one_of(run.output, kProcesses));
}

std::string cause_of_failure(const CommandResult& run, const std::string& compiler,
                             const std::string& folder) {
  const std::string line = first_error_line(run.output);
  if (says_one_of(run.output, {"No space left on device", "Disk quota exceeded"}))
    return fmt::format("no space left in {}: free some, or set TMPDIR to a folder with room", folder);
  if (says_one_of(run.output, kProcesses))
    return fmt::format("{} could not start a process: {}; end other programs, or raise the limit (ulimit -u)",
                       compiler, line);
  if (says_one_of(run.output, {"cannot execute", "unable to execute", "cannot find", "doesn't exist"}))
    return fmt::format(
        "{} is not complete: {}; install what is missing (apt install g++ has all of it, binutils the "
        "assembler "
        "and the linker), put it in PATH, or set FCSA_CXX to another compiler",
        compiler, line);
  if (line.empty())
    return fmt::format("{} ended with status {} and no message; {}", compiler, run.status,
                       kHowToGetACompiler);
  return fmt::format("{} failed, and not because of the source: {}; {}", compiler, line, kHowToGetACompiler);
}

}  // namespace fcsa::runner::cpu
