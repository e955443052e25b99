// A workload: the problems that a program has, and how often. A file of one problem a line, JSON or CSV,
// written by hand or recorded by libfcsa (FCSA_RECORD): docs/workloads.md says what stands in it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/problem.h"
#include "kernels/target.h"

namespace fcsa::tuner {

// The message has file and line, and what is allowed.
class WorkloadError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

struct WorkloadEntry {
  kernels::Problem problem;
  std::uint64_t count = 1;  // calls
  std::string name = {};    // for people; empty: none
  // Where it ran; none: anywhere.
  std::optional<kernels::DeviceKind> device = std::nullopt;
  bool recorded = false;  // by libfcsa, not written by somebody who can be asked
  std::size_t line = 0;   // the first about it, from 1
};

struct Workload {
  std::string file, name, source;  // source: of the numbers
  std::vector<WorkloadEntry> entries;
  std::vector<std::string> notes;  // what was left out, with file and line
};

// `text` as it stands in `file`. Of recorded lines the largest count of each process counts, and processes
// are added up. Throws WorkloadError for everything that isn't understood: what, where, and what is allowed.
Workload workload_from_text(std::string_view text, const std::string& file);
// Likewise, also where it can't be read.
Workload read_workload(const std::filesystem::path& file);

}  // namespace fcsa::tuner
