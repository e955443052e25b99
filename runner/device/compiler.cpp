#include "runner/device/compiler.h"

#include "kernels/cpu/instruction_set.h"

namespace fcsa::runner {
namespace {

bool reports_error(std::string_view line) {
  return line.find("error:") != std::string_view::npos || line.starts_with("ptxas fatal") ||
         line.starts_with("ptxas error") || line.find(": undefined reference") != std::string_view::npos;
}

}  // namespace

std::vector<std::string> compile_options(const kernels::Target& target) {
  if (target.kind == kernels::DeviceKind::cuda)
    return {"-std=c++20", "-default-device", "--gpu-architecture=" + target.arch, "--ptxas-options=-v"};
  std::vector<std::string> options = {"-std=c++20", "-O3", "-fPIC", "-shared"};
  for (auto& flag : kernels::cpu::compile_flags_for(target.arch)) options.push_back(std::move(flag));
  return options;
}

std::string first_error_line(std::string_view log) {
  std::string_view first_line;
  while (!log.empty()) {
    const std::size_t end = log.find('\n');
    const std::string_view line = log.substr(0, end);
    if (reports_error(line)) return std::string(line);
    if (first_line.empty()) first_line = line;
    log.remove_prefix(end == std::string_view::npos ? log.size() : end + 1);
  }
  return std::string(first_line);
}

}  // namespace fcsa::runner
