#include "runner/device/compiler.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <stdexcept>
#include <string_view>
#include <system_error>

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

std::chrono::milliseconds compiler_deadline() {
  constexpr double kUsual = 20, kMost = 86400;
  double seconds = kUsual;
  if (const char* chosen = std::getenv("FCSA_COMPILER_DEADLINE"); chosen != nullptr && *chosen != '\0') {
    const std::string_view text = chosen;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error != std::errc() || end != text.data() + text.size() || !(seconds > 0) || seconds > kMost)
      throw std::runtime_error(fmt::format(
          "FCSA_COMPILER_DEADLINE is '{}': set it to seconds, above 0 and up to {}", text, kMost));
  }
  return std::chrono::milliseconds(static_cast<long long>(std::ceil(seconds * 1000)));
}

std::chrono::milliseconds kernel_deadline() {
  return 6 * compiler_deadline();
}

}  // namespace fcsa::runner
