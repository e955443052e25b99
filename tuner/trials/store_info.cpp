#include "tuner/trials/store_info.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tuner/trials/store_fields.h"

namespace fcsa::tuner {
namespace {

using Row = std::array<std::string, 7>;

std::string table_text(const std::vector<Row>& rows) {
  std::array<std::size_t, std::tuple_size_v<Row>> widths{};
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}  ", row[i], widths[i]);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

std::string status_text(const StoreSummary& summary) {
  std::string text;
  for (const auto& [status, count] : summary.by_status) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, status);
  }
  return text.empty() ? "" : " (" + text + ")";
}

std::string damage_text(std::size_t trials) {
  return fmt::format(
      "damaged   {} trial{} of backward problems {} merged by an fcsa that lost whether dbias, dscale or\n"
      "          deterministic was asked for: tune again, or merge the originals into a new file\n",
      trials, trials == 1 ? "" : "s", trials == 1 ? "was" : "were");
}

}  // namespace

std::string describe_store(const Store& store) {
  const StoreSummary summary = store.summary();
  std::string text =
      fmt::format("file      {}\nschema    {}\nsessions  {}\ntrials    {}{}\n", store.file().string(),
                  summary.schema_version, summary.sessions, summary.trials, status_text(summary));
  if (summary.damaged > 0) text += damage_text(summary.damaged);
  if (summary.devices.empty()) return text + "devices   none yet: run fcsa tune\n";
  std::vector<Row> rows{{"DEVICE", "ARCH", "DRIVER", "COMPILER", "TRIALS", "PROBLEMS", "FROM .. TO"}};
  for (const auto& entry : summary.devices) {
    rows.push_back({entry.device.name, entry.device.target.arch, entry.device.driver, entry.device.compiler,
                    std::to_string(entry.trials), std::to_string(entry.problems),
                    entry.trials == 0 ? "-" : entry.first_at + " .. " + entry.last_at});
  }
  return text + '\n' + table_text(rows);
}

std::string store_info_json(const Store& store) {
  using Json = nlohmann::ordered_json;
  const StoreSummary summary = store.summary();
  Json by_status = Json::object();
  for (const auto& [status, count] : summary.by_status) by_status[status] = count;
  Json devices = Json::array();
  for (const auto& entry : summary.devices) {
    Json device = Json::object();
    visit_device(entry.device, [&](const char* name, const auto& value) {
      if constexpr (std::is_enum_v<std::decay_t<decltype(value)>>) {
        device[name] = enum_text(value);
      } else {
        device[name] = value;
      }
    });
    device["trials"] = entry.trials;
    device["problems"] = entry.problems;
    device["first_at"] = entry.first_at;
    device["last_at"] = entry.last_at;
    devices.push_back(std::move(device));
  }
  const Json info{{"file", store.file().string()},
                  {"schema_version", summary.schema_version},
                  {"trials", summary.trials},
                  {"sessions", summary.sessions},
                  {"damaged", summary.damaged},
                  {"by_status", by_status},
                  {"devices", devices}};
  return info.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace fcsa::tuner
