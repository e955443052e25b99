#include "reports/html_table.h"

#include <fmt/format.h>

#include <string_view>
#include <vector>

namespace fcsa::reports {
namespace {

bool is_code(std::string_view column) {
  return column == "configuration" || column == "latest example";
}
bool is_prose(std::string_view column) {
  return column == "remarks" || column == "reason";
}
bool is_share(std::string_view column) {
  return column.starts_with("share");
}

bool is_number(std::string_view cell) {
  return !cell.empty() && cell.front() >= '0' && cell.front() <= '9';
}

// A column is set right when most of what is in it are numbers.
bool is_numeric_column(const Table& table, std::size_t column) {
  const std::string& name = table.header[column];
  if (is_code(name) || is_prose(name) || is_share(name) || name == "meaning") return false;
  std::size_t numbers = 0, filled = 0;
  for (const auto& row : table.rows) {
    numbers += is_number(row[column]) ? 1 : 0;
    filled += row[column].empty() ? 0 : 1;
  }
  return 2 * numbers > filled;
}

// Lets long configurations break after their commas.
std::string breakable(const std::string& html) {
  std::string result;
  for (const char c : html) result += c == ',' ? std::string(",<wbr>") : std::string(1, c);
  return result;
}

std::string cell_html(const Table& table, std::size_t column, const std::string& cell, bool numeric) {
  const std::string text = html_escape(cell);
  if (column == 0) return fmt::format("<th scope=\"row\"{}>{}</th>", numeric ? " class=\"n\"" : "", text);
  if (is_code(table.header[column]))
    return fmt::format("<td class=\"code\">{}</td>",
                       text.empty() ? "" : "<code>" + breakable(text) + "</code>");
  if (is_share(table.header[column]))
    return fmt::format("<td class=\"share\"><span style=\"--share:{0}\"></span>{0}</td>", text);
  if (table.header[column] == "meaning") return "<td class=\"line\">" + text + "</td>";
  if (is_prose(table.header[column])) return fmt::format("<td class=\"wrap\">{}</td>", breakable(text));
  return fmt::format("<td{}>{}</td>", numeric ? " class=\"n\"" : "", text);
}

}  // namespace

std::string table_html(const Table& table, const std::string& label) {
  std::vector<bool> numeric;
  for (std::size_t i = 0; i < table.header.size(); ++i) numeric.push_back(is_numeric_column(table, i));
  std::string html =
      fmt::format("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{}\"><table><thead><tr>",
                  html_escape(label));
  for (std::size_t i = 0; i < table.header.size(); ++i) {
    html += fmt::format("<th scope=\"col\"{}>{}</th>", numeric[i] ? " class=\"n\"" : "",
                        html_escape(table.header[i]));
  }
  html += "</tr></thead><tbody>";
  for (const auto& row : table.rows) {
    html += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) html += cell_html(table, i, row[i], numeric[i]);
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

}  // namespace fcsa::reports
