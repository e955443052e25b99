#include "runner/cpu/host.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

#include "kernels/cpu/cores.h"

namespace fcsa::runner::cpu {
namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \t") - begin + 1));
}

// The text after "key:" in a file of such lines, the first of them; empty when there is none.
std::string field(const fs::path& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon != std::string::npos && trimmed(std::string_view(line).substr(0, colon)) == key) {
      return trimmed(std::string_view(line).substr(colon + 1));
    }
  }
  return {};
}

// "16384 kB", "32K", "1M", "123" -> bytes; nothing for "max" and other words.
std::optional<std::size_t> parse_bytes(const std::string& text) {
  std::istringstream stream(text);
  std::uint64_t number = 0;
  if (!(stream >> number)) return std::nullopt;
  char unit = ' ';
  stream >> unit;
  if (unit == 'k' || unit == 'K') number <<= 10;
  if (unit == 'M') number <<= 20;
  return number;
}

// Folders of this process's control group and its parents, innermost first, for a controller of version 1
// or 2. In a container the path that /proc names may not exist: then only the root of the mount is left.
std::vector<fs::path> control_groups(const fs::path& root, const std::string& controller) {
  std::vector<fs::path> folders;
  std::ifstream file(root / "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = fmt::format(",{},", line.substr(first + 1, second - first - 1));
    const bool version_2 = controllers == ",,";
    if (!version_2 && controllers.find(fmt::format(",{},", controller)) == std::string::npos) continue;
    const fs::path mount = version_2 ? root / "sys/fs/cgroup" : root / "sys/fs/cgroup" / controller;
    fs::path group = fs::path(line.substr(second + 1)).relative_path();
    while (!group.empty()) {
      folders.push_back(mount / group);
      group = group.parent_path();
    }
    folders.push_back(mount);
  }
  return folders;
}

std::size_t statistic(const fs::path& path, std::string_view key) {
  std::ifstream file(path);
  std::string name;
  std::size_t value = 0;
  while (file >> name >> value) {
    if (name == key) return value;
  }
  return 0;
}

// What one control group leaves of its limit; the largest number when it has none.
std::size_t left_in_group(const fs::path& group) {
  for (const auto& [limit_name, use_name] : {std::pair{"memory.max", "memory.current"},
                                             std::pair{"memory.limit_in_bytes", "memory.usage_in_bytes"}}) {
    const auto limit = parse_bytes(first_line(group / limit_name));
    const auto used = parse_bytes(first_line(group / use_name));
    if (!limit || !used) continue;
    const std::size_t page_cache =
        statistic(group / "memory.stat", "inactive_file") + statistic(group / "memory.stat", "active_file");
    const std::size_t held = *used - std::min(*used, page_cache);
    return *limit - std::min(*limit, held);
  }
  return std::numeric_limits<std::size_t>::max();
}

std::size_t lifetime_peak() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

std::size_t status_bytes(std::string_view key) {
  return parse_bytes(field("/proc/self/status", key)).value_or(0);
}

}  // namespace

std::string Host::model_name() const {
  for (const char* key : {"model name", "Processor", "cpu model", "CPU part"}) {
    if (auto name = field(root_ / "proc/cpuinfo", key); !name.empty()) return name;
  }
  return "unknown CPU";
}

std::string Host::instruction_flags() const {
  const auto flags = field(root_ / "proc/cpuinfo", "flags");
  return flags.empty() ? field(root_ / "proc/cpuinfo", "Features") : flags;
}

int Host::usable_cores() const {
  return kernels::cpu::allowed_cores(root_ == "/" ? "" : root_.c_str());
}

std::size_t Host::cache_bytes(int level) const {
  for (int index = 0; index < 8; ++index) {
    const fs::path folder = root_ / fmt::format("sys/devices/system/cpu/cpu0/cache/index{}", index);
    const bool matches = first_line(folder / "level") == std::to_string(level);
    if (matches && first_line(folder / "type") != "Instruction") {
      return parse_bytes(first_line(folder / "size")).value_or(0);
    }
  }
  return 0;
}

std::size_t Host::memory_bytes() const {
  return parse_bytes(field(root_ / "proc/meminfo", "MemTotal")).value_or(0);
}

std::size_t Host::available_memory_bytes() const {
  std::size_t available = parse_bytes(field(root_ / "proc/meminfo", "MemAvailable")).value_or(0);
  for (const auto& group : control_groups(root_, "memory"))
    available = std::min(available, left_in_group(group));
  return available;
}

double Host::core_mhz() const {
  const int core = std::max(sched_getcpu(), 0);
  const fs::path file = root_ / fmt::format("sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq", core);
  return static_cast<double>(parse_bytes(first_line(file)).value_or(0)) / 1000;
}

std::size_t resident_bytes() {
  return status_bytes("VmRSS");
}

void PeakResident::reset() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  kernel_resets_ = file.good();
  at_reset_ = resident_bytes();
  lifetime_peak_at_reset_ = lifetime_peak();
}

std::size_t PeakResident::bytes() const {
  std::size_t highest = resident_bytes();
  if (kernel_resets_) highest = std::max(highest, status_bytes("VmHWM"));
  // The kernel keeps the lifetime's peak only: it is ours when it has risen since the reset.
  if (!kernel_resets_ && lifetime_peak() > lifetime_peak_at_reset_)
    highest = std::max(highest, lifetime_peak());
  return highest - std::min(highest, at_reset_);
}

}  // namespace fcsa::runner::cpu
