#include "tuner/workloads/workload.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <utility>

#include "tuner/workloads/problem_fields.h"
#include "tuner/workloads/workload_lines.h"

namespace fcsa::tuner {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMostCalls = std::uint64_t{1} << 53;  // what JSON's numbers hold exactly

// A mistake in one of them is most likely, and none of them has a value that most have.
constexpr const char* kStated[] = {"dtype", "head_dim", "heads", "nq", "nk"};

const std::vector<std::string>& allowed_members() {
  static const std::vector<std::string> names = [] {
    auto list = problem_field_names();
    for (const char* more : {"count", "name", "device"}) list.emplace_back(more);
    return list;
  }();
  return names;
}

std::string text_of(const Json& value, const char* name) {
  if (!value.is_string())
    throw std::invalid_argument(fmt::format("{} is {}: it must be a text", name, value.dump()));
  return value.get<std::string>();
}

std::uint64_t count_of(const Json& value) {
  if (!value.is_number_integer() || !(value.get<double>() >= 1) ||
      value.get<double>() > static_cast<double>(kMostCalls))
    throw std::invalid_argument(
        fmt::format("count is {}: it must be a whole number from 1 to 2^53", value.dump()));
  return value.get<std::uint64_t>();
}

kernels::DeviceKind device_of(const Json& value) {
  if (value == "cpu") return kernels::DeviceKind::cpu;
  if (value == "cuda") return kernels::DeviceKind::cuda;
  throw std::invalid_argument(fmt::format("device is {}: it must be \"cpu\" or \"cuda\"", value.dump()));
}

void check_members(const Json& json, const std::vector<std::string>& allowed) {
  for (const auto& [name, value] : json.items())
    if (std::find(allowed.begin(), allowed.end(), name) == allowed.end())
      throw std::invalid_argument(
          fmt::format("there is no field '{}': allowed are {}", name, fmt::join(allowed, ", ")));
}

WorkloadEntry entry_of(const Json& json, std::size_t line) {
  check_members(json, allowed_members());
  for (const char* name : kStated)
    if (!json.contains(name))
      throw std::invalid_argument(
          fmt::format("{} is missing: {} have to be stated", name, fmt::join(kStated, ", ")));
  WorkloadEntry entry{.problem = problem_from_fields(json), .line = line};
  if (json.contains("count")) entry.count = count_of(json["count"]);
  if (json.contains("name")) entry.name = text_of(json["name"], "name");
  if (json.contains("device")) entry.device = device_of(json["device"]);
  return entry;
}

// What tells entries apart.
std::string key_of(const WorkloadEntry& entry) {
  const char* device = !entry.device ? "" : *entry.device == kernels::DeviceKind::cpu ? " cpu" : " cuda";
  return kernels::to_text(entry.problem) + device;
}

class Reading {
 public:
  explicit Reading(const std::string& file) {
    workload_.file = file;
    workload_.name = std::filesystem::path(file).stem().string();
  }

  void add(const WorkloadLine& line) {
    try {
      if (line.json.is_discarded())
        workload_.notes.push_back(fmt::format("{}:{}: the line is cut off, and left out (was a disk full?)",
                                              workload_.file, line.number));
      else if (line.json.contains("format"))
        read_header(line.json);
      else if (line.json.contains("process"))
        add_recorded(line);
      else
        add_written(entry_of(line.json, line.number));
    } catch (const WorkloadError&) {
      throw;
    } catch (const std::invalid_argument& error) {
      throw WorkloadError(fmt::format("{}:{}: {}", workload_.file, line.number, error.what()));
    }
  }

  Workload finish(std::size_t last_line) {
    for (const auto& [key, counts] : counts_) {
      auto& entry = workload_.entries[places_.at(key)];
      entry.count = 0;
      for (const auto& [process, count] : counts) entry.count += count;
    }
    if (workload_.entries.empty())
      throw WorkloadError(fmt::format("{}:{}: there is no problem in it: a workload has one a line",
                                      workload_.file, last_line));
    return std::move(workload_);
  }

 private:
  // Of several, as in files that were put together, the last.
  void read_header(const Json& json) {
    check_members(json, {"format", "version", "name", "source"});
    if (json.contains("name")) workload_.name = text_of(json["name"], "name");
    if (json.contains("source")) workload_.source = text_of(json["source"], "source");
  }

  void add_written(WorkloadEntry entry) {
    const auto [place, added] = places_.try_emplace(key_of(entry), workload_.entries.size());
    if (!added)
      throw std::invalid_argument(
          fmt::format("the same problem as in line {}: give one of them the count of both",
                      workload_.entries[place->second].line));
    workload_.entries.push_back(std::move(entry));
  }

  void add_recorded(const WorkloadLine& line) {
    Json fields = line.json;
    const std::string process = fields["process"].dump();
    fields.erase("process");
    WorkloadEntry entry = entry_of(fields, line.number);
    entry.recorded = true;
    const std::string key = key_of(entry);
    const std::uint64_t count = entry.count;
    if (!places_.contains(key) || !counts_.contains(key)) add_written(std::move(entry));
    auto& largest = counts_[key][process];
    largest = std::max(largest, count);
  }

  Workload workload_;
  std::map<std::string, std::size_t> places_;                           // of entries, by key
  std::map<std::string, std::map<std::string, std::uint64_t>> counts_;  // recorded: key, process
};

}  // namespace

Workload workload_from_text(std::string_view text, const std::string& file) {
  const auto lines = workload_lines(text, file);
  Reading reading(file);
  for (const auto& line : lines) reading.add(line);
  return reading.finish(lines.back().number);
}

Workload read_workload(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  const char* why = std::filesystem::is_directory(file) ? "it is a folder"
                    : !stream                           ? std::strerror(errno)
                                                        : nullptr;
  if (why != nullptr) throw WorkloadError(fmt::format("cannot read {}: {}", file.string(), why));
  return workload_from_text(text, file.string());
}

}  // namespace fcsa::tuner
