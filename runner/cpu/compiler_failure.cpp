#include "runner/cpu/compiler_failure.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <initializer_list>
#include <span>

#include "runner/device/compiler.h"

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

bool has_error_in(std::string_view output, std::string_view source_name) {
  while (!output.empty()) {
    const auto end = std::min(output.find('\n'), output.size());
    if (is_error_in(output.substr(0, end), source_name)) return true;
    output.remove_prefix(std::min(end + 1, output.size()));
  }
  return false;
}

constexpr std::string_view kMemory[] = {
    "Killed signal terminated program", "out of memory", "memory exhausted",
    "Cannot allocate memory",           "bad_alloc",     "not enough memory",
    "unable to execute command: Killed"};
constexpr std::string_view kProcesses[] = {"Resource temporarily unavailable", "cannot fork", "fork failed"};
constexpr std::string_view kDisk[] = {"No space left on device", "Disk quota exceeded", "File too large"};
// As strerror() has them in the locale that compilers run in.
constexpr std::string_view kMissing[] = {
    "cannot execute",      "unable to execute",       "cannot find",
    "doesn't exist",       "file not found",          "No such file",
    "Permission denied",   "Input/output error",      "Read-only file",
    "Too many open files", "Text file busy",          "Stale file handle",
    "Exec format error",   "Operation not permitted", "error while loading shared libraries"};

}  // namespace

bool ran_out_of_memory(const CommandResult& failed) {
  return failed.status == 128 + SIGKILL || says_one_of(failed.output, kMemory);
}

Blame blame_for(const CommandResult& failed, std::string_view source_name) {
  if (has_error_in(failed.output, source_name)) return Blame::source;
  if (ran_out_of_memory(failed) || says_one_of(failed.output, kProcesses)) return Blame::passes;
  const bool of_machine = says_one_of(failed.output, kDisk) || says_one_of(failed.output, kMissing);
  return of_machine ? Blame::stays : Blame::source;
}

std::string cause_of_failure(const CommandResult& failed, const std::string& compiler,
                             const std::string& folder) {
  const std::string line = first_error_line(failed.output);
  if (says_one_of(failed.output, kDisk))
    return fmt::format("no space left in {}: free some, or set TMPDIR to a folder with room", folder);
  if (says_one_of(failed.output, kProcesses))
    return fmt::format("{} could not start a process: {}; end other programs, or raise the limit (ulimit -u)",
                       compiler, line);
  return fmt::format(
      "{} is not complete, or can't do its work here: {}; install what is missing (apt install g++ has all "
      "of "
      "it, binutils the assembler and the linker), put it in PATH, or set FCSA_CXX to another compiler",
      compiler, line);
}

}  // namespace fcsa::runner::cpu
