#include "tuner/workloads/recorded_line.h"

#include <fmt/format.h>

#include "tuner/workloads/problem_fields.h"
#include "tuner/workloads/workload_lines.h"

namespace fcsa::tuner {

std::string recorded_header() {
  return fmt::format("{{\"format\":\"{}\",\"version\":{}}}\n", kWorkloadFormat, kWorkloadVersion);
}

std::string recorded_fields(const kernels::Problem& problem, kernels::DeviceKind device) {
  nlohmann::ordered_json fields = {{"device", device == kernels::DeviceKind::cpu ? "cpu" : "cuda"}};
  fields.update(problem_fields(problem));
  const std::string text = fields.dump();
  return text.substr(1, text.size() - 2);
}

std::string recorded_line(const RecordingProcess& process, const std::string& fields, std::uint64_t calls) {
  const nlohmann::ordered_json json = {
      {"host", process.host}, {"pid", process.pid}, {"started", process.started}};
  // A host's name may be any bytes.
  const auto text = json.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
  return fmt::format("{}{},{},\"count\":{}}}\n", kRecordedStart, text, fields, calls);
}

}  // namespace fcsa::tuner
