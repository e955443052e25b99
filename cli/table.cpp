#include "cli/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

namespace fcsa::cli {
namespace {

bool is_number(const std::string& cell, double& value) {
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  return error == std::errc{} && end == cell.data() + cell.size() && std::isfinite(value);
}

nlohmann::ordered_json json_cell(const std::string& cell) {
  double value = 0;
  if (cell == "-") return nullptr;
  if (is_number(cell, value)) return nlohmann::ordered_json::parse(cell, nullptr, false);
  return cell;
}

// Display columns, not bytes: UTF-8 continuation bytes take no room.
std::size_t width_of(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; });
}

std::string line(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths,
                 const std::vector<bool>& right) {
  std::string text;
  for (std::size_t c = 0; c < cells.size(); ++c) {
    const std::string padding(widths[c] - std::min(widths[c], width_of(cells[c])), ' ');
    text += (c ? "  " : "") + (right[c] ? padding + cells[c] : cells[c] + padding);
  }
  return text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
}

}  // namespace

std::string to_text(const Table& table) {
  std::vector<std::size_t> widths;
  std::vector<bool> right(table.headers.size(), !table.rows.empty());
  for (const auto& header : table.headers) widths.push_back(width_of(header));
  for (const auto& row : table.rows) {
    for (std::size_t c = 0; c < row.size(); ++c) {
      double ignored = 0;
      widths[c] = std::max(widths[c], width_of(row[c]));
      if (row[c] != "-" && !is_number(row[c], ignored)) right[c] = false;
    }
  }
  std::string text = line(table.headers, widths, right);
  for (const auto& row : table.rows) text += line(row, widths, right);
  return text;
}

std::string to_json(const Table& table) {
  auto rows = nlohmann::ordered_json::array();
  for (const auto& row : table.rows) {
    nlohmann::ordered_json object;
    for (std::size_t c = 0; c < row.size(); ++c) {
      std::string key = table.headers[c];
      std::replace(key.begin(), key.end(), ' ', '_');
      object[key] = json_cell(row[c]);
    }
    rows.push_back(std::move(object));
  }
  return rows.dump(2) + "\n";
}

void print(const Table& table, bool json) {
  fmt::print("{}", json ? to_json(table) : to_text(table));
}

}  // namespace fcsa::cli
