#include "tuner/workloads/workload_lines.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "tuner/workloads/workload.h"

namespace fcsa::tuner {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kCsvHeader = "# fcsa workload ";
constexpr std::string_view kHeaderStart = R"({"format":)";

struct TextLine {
  std::size_t number = 0;
  std::string_view text;
};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r";
  const auto first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::vector<TextLine> lines_of(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<TextLine> lines;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    if (const auto line = trimmed(text.substr(0, end)); !line.empty()) lines.push_back({number, line});
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

[[noreturn]] void refuse(const std::string& file, std::size_t line, const std::string& what) {
  throw WorkloadError(fmt::format("{}:{}: {}", file, line, what));
}

void check_version(const std::string& file, std::size_t line, const Json& version) {
  if (version != kWorkloadVersion)
    refuse(file, line,
           fmt::format("version is {}: this fcsa reads version {}", version.dump(), kWorkloadVersion));
}

// A line of libfcsa's that was cut (by a full disk), which isn't anybody's mistake.
bool is_cut_off(std::string_view line) {
  for (const auto start : {kRecordedStart, kHeaderStart})
    if (line.starts_with(start) || start.starts_with(line)) return true;
  return false;
}

// Of an object whose members are all different: the parser would keep the last silently.
Json parsed(const std::string& file, const TextLine& line) {
  std::set<std::string> seen;
  const auto on_event = [&](int depth, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::key && depth == 1 && !seen.insert(value.get<std::string>()).second)
      refuse(file, line.number, fmt::format("{} is there twice", value.dump()));
    return true;
  };
  try {
    Json json = Json::parse(line.text, on_event);
    if (!json.is_object()) refuse(file, line.number, "it is not an object: {\"dtype\":\"bf16\", ...}");
    return json;
  } catch (const Json::parse_error& error) {
    if (is_cut_off(line.text)) return Json(Json::value_t::discarded);
    refuse(file, line.number, fmt::format("it is not JSON: {}", error.what()));
  }
}

std::vector<WorkloadLine> json_lines(const std::vector<TextLine>& lines, const std::string& file) {
  std::vector<WorkloadLine> result;
  for (const auto& line : lines) {
    Json json = parsed(file, line);
    const bool first = std::all_of(result.begin(), result.end(),
                                   [](const auto& before) { return before.json.is_discarded(); });
    if (first && !json.is_discarded() && !json.contains("format"))
      refuse(file, line.number,
             fmt::format("the first line must be {{\"format\":\"{}\",\"version\":{}}}, or for CSV {}{}",
                         kWorkloadFormat, kWorkloadVersion, kCsvHeader, kWorkloadVersion));
    if (json.is_object() && json.contains("format")) {
      if (json["format"] != kWorkloadFormat)
        refuse(file, line.number,
               fmt::format("format is {}: it must be \"{}\"", json["format"].dump(), kWorkloadFormat));
      check_version(file, line.number, json.contains("version") ? json["version"] : Json(nullptr));
    }
    result.push_back({line.number, std::move(json)});
  }
  return result;
}

// A number, true, false or null where it is one, else a word.
Json value_of_cell(const std::string& column, const std::string& cell) {
  if (column == "name") return cell;
  Json value = Json::parse(cell, nullptr, false);
  return value.is_primitive() && !value.is_discarded() && !value.is_string() ? value : Json(cell);
}

std::vector<std::string> cells_of(const std::string& file, const TextLine& line) {
  try {
    return csv_cells(line.text);
  } catch (const std::invalid_argument& error) {
    refuse(file, line.number, error.what());
  }
}

std::vector<WorkloadLine> csv_lines(const std::vector<TextLine>& lines, const std::string& file) {
  const auto& first = lines.front();
  const auto version = first.text.substr(kCsvHeader.size());
  check_version(file, first.number, value_of_cell("version", std::string(version)));
  std::vector<WorkloadLine> result{{first.number, {{"format", kWorkloadFormat}}}};
  std::vector<std::string> columns;
  for (auto line = lines.begin() + 1; line != lines.end(); ++line) {
    if (line->text.starts_with('#')) continue;
    auto cells = cells_of(file, *line);
    if (columns.empty()) {
      columns = std::move(cells);
      for (auto column = columns.begin(); column != columns.end(); ++column)
        if (std::find(columns.begin(), column, *column) != column)
          refuse(file, line->number, fmt::format("there are two columns '{}'", *column));
      continue;
    }
    if (cells.size() != columns.size())
      refuse(
          file, line->number,
          fmt::format("{} cells, and {} columns: {}", cells.size(), columns.size(), fmt::join(columns, ",")));
    Json json = Json::object();
    for (std::size_t i = 0; i < cells.size(); ++i)
      if (!cells[i].empty()) json[columns[i]] = value_of_cell(columns[i], cells[i]);
    result.push_back({line->number, std::move(json)});
  }
  return result;
}

}  // namespace

std::vector<std::string> csv_cells(std::string_view line) {
  std::vector<std::string> cells(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"')
      cells.back() += line[++i];
    else if (c == '"')
      quoted = !quoted;
    else if (c == ',' && !quoted)
      cells.emplace_back();
    else
      cells.back() += c;
  }
  if (quoted) throw std::invalid_argument("a quote has no end");
  for (auto& cell : cells) cell = trimmed(cell);
  return cells;
}

std::vector<WorkloadLine> workload_lines(std::string_view text, const std::string& file) {
  const auto lines = lines_of(text);
  if (lines.empty())
    throw WorkloadError(fmt::format("{}:1: the file is empty: a workload has a problem a line", file));
  return lines.front().text.starts_with(kCsvHeader) ? csv_lines(lines, file) : json_lines(lines, file);
}

}  // namespace fcsa::tuner
