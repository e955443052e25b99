// Lines of a workload that a program records: workload_from_text() reads them.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/problem.h"
#include "kernels/target.h"

namespace fcsa::tuner {

struct RecordingProcess {
  std::string host;
  long pid = 0;
  std::string started;  // tells processes of one id apart
};

// The line that makes a file a workload; it may be there again and again.
std::string recorded_header();
// What lines about a problem have in common.
std::string recorded_fields(const kernels::Problem& problem, kernels::DeviceKind device);
std::string recorded_line(const RecordingProcess& process, const std::string& fields, std::uint64_t calls);

}  // namespace fcsa::tuner
