#include "reports/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "reports/page_style.h"
#include "reports/provenance.h"
#include "reports/tables.h"

namespace fcsa::reports {
namespace {

constexpr std::size_t kCommandsShown = 4;

bool is_code(std::string_view column) {
  return column == "configuration" || column == "latest example";
}
bool is_prose(std::string_view column) {
  return column == "remarks" || column == "reason";
}

bool is_number(std::string_view cell) {
  return !cell.empty() && cell.front() >= '0' && cell.front() <= '9';
}

// A column is set right when most of what is in it are numbers.
bool is_numeric_column(const Table& table, std::size_t column) {
  if (is_code(table.header[column]) || is_prose(table.header[column])) return false;
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
    return fmt::format("<td>{}</td>", text.empty() ? "" : "<code>" + text + "</code>");
  if (is_prose(table.header[column])) return fmt::format("<td class=\"wrap\">{}</td>", breakable(text));
  return fmt::format("<td{}>{}</td>", numeric ? " class=\"n\"" : "", text);
}

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

std::string details_html(const std::string& summary, const std::string& body, bool open = false) {
  return fmt::format("<details{}><summary>{}</summary>{}</details>\n", open ? " open" : "",
                     html_escape(summary), body);
}

std::string notes_html(const std::vector<std::string>& notes) {
  if (notes.empty()) return "";
  std::string html = "<aside class=\"notes\" aria-label=\"Notes\"><ul>";
  for (const std::string& note : notes) html += "<li>" + html_escape(note) + "</li>";
  return html + "</ul></aside>\n";
}

std::string overview_html(const Page& page) {
  std::string html =
      "<section id=\"overview\"><h2>At a glance</h2>\n"
      "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Overview\"><table><thead><tr>";
  constexpr std::array kHeader = {
      "problems", "device", "N", "fastest", "speed-up over baseline", "speed-up over unfused", "confirmed"};
  for (const char* name : kHeader) html += fmt::format("<th scope=\"col\">{}</th>", name);
  html += "</tr></thead><tbody>";
  for (const OverviewRow& row : overview(page.sections, page.devices)) {
    const Section& section = page.sections[row.section];
    html += fmt::format("<tr><th scope=\"row\"><a href=\"#{}\">{}</a></th>", section.id,
                        html_escape(section.title));
    const std::string confirmed = fmt::format("{} of {}", row.confirmed, row.problems);
    for (const std::string& cell : {page.devices[row.device].device.name, row.lengths,
                                    row.best_speed.empty() ? std::string("nothing worked") : row.best_speed,
                                    row.over_baseline, row.over_unfused, confirmed}) {
      html += "<td>" + html_escape(cell) + "</td>";
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string reading_html() {
  return details_html(
      "How to read this",
      "<p><b>tuned</b> is the fastest configuration found, <b>baseline</b> the configuration that its kernel "
      "family "
      "has before any tuning, <b>unfused</b> plain attention that writes all N x N scores to memory. Every "
      "configuration passed verification against fp64 before it was timed.</p>"
      "<p>Times are medians; intervals and error bars are 95% confidence intervals of the median from order "
      "statistics. Speed-ups compare only configurations measured interleaved in one confirmation race; "
      "their "
      "interval is the widest that the two intervals allow, and means over lengths are geometric. "
      "Configurations "
      "whose intervals overlap the winner's are named as ties. A problem without such a race is marked "
      "unconfirmed, "
      "is shown from the search, and has no speed-up.</p>"
      "<p>FLOPs are those of the operation: 4 B H Nq Nk D forward, 2.5 times that backward, visible pairs "
      "only when "
      "causal. Peak memory is measured on the device during one launch: inputs, outputs, workspace and "
      "scratch; "
      "extra memory is what is beyond inputs and outputs.</p>");
}

std::string figure_html(const Page& page, const Figure& figure, std::size_t index) {
  std::string html = "<figure><figcaption>" + html_escape(figure.title);
  if (page.devices.size() > 1)
    html += "<small>" + html_escape(page.devices[figure.device].device.name) + "</small>";
  html += "</figcaption>";
  const std::string& svg = page.svgs[index];
  if (!svg.empty()) {
    html += embed_svg(svg, fmt::format("p{}-", index), figure.text);
  } else {
    html += figure.plot.empty() ? "<p class=\"missing\">nothing to plot</p>"
                                : "<p class=\"missing\">no plot (see the notes)</p>";
  }
  if (!figure.note.empty()) html += "<p class=\"note\">" + html_escape(figure.note) + "</p>";
  if (!figure.numbers.rows.empty()) {
    const bool open = svg.empty() && !figure.plot.empty();
    html += details_html("Numbers", table_html(figure.numbers, figure.text.title), open);
  }
  return html + "</figure>\n";
}

std::string figures_html(const Page& page, const std::vector<FigureRow>& rows, std::size_t first) {
  const std::size_t columns = rows.empty() ? 0 : rows.front().size();
  std::string html = columns > 1
                         ? fmt::format("<div class=\"figures by-device\" style=\"--devices:{}\">\n", columns)
                         : "<div class=\"figures\">\n";
  for (const FigureRow& row : rows) {
    for (const Figure& figure : row) html += figure_html(page, figure, first++);
  }
  return html + "</div>\n";
}

std::size_t figure_count(const std::vector<FigureRow>& rows) {
  std::size_t count = 0;
  for (const FigureRow& row : rows) count += row.size();
  return count;
}

std::string section_html(const Page& page, std::size_t index, std::size_t first_figure) {
  const Section& section = page.sections[index];
  std::string html =
      fmt::format("<section id=\"{}\"><h2>{}</h2>\n<p class=\"sub\">{} (<code>{}</code>)</p>\n", section.id,
                  html_escape(section.title), html_escape(section.subtitle), html_escape(section.class_text));
  html += figures_html(page, page.figures[index], first_figure);
  for (std::size_t d = 0; d < page.devices.size(); ++d) {
    const std::string name = page.devices[d].device.name;
    if (section.by_device[d].empty()) {
      html += fmt::format("<p class=\"note\">Not tuned on {}.</p>\n", html_escape(name));
      continue;
    }
    html += fmt::format("<h3>Winners on {}</h3>\n", html_escape(name));
    html += table_html(winners_table(section, page.devices, d), "Winners on " + name);
  }
  return html + "</section>\n";
}

std::string failures_html(const std::vector<DeviceResults>& devices) {
  std::string html =
      "<section id=\"failures\"><h2>Failures</h2>\n"
      "<p class=\"sub\">Candidates that were not timed, by kind and reason.</p>\n";
  for (const DeviceResults& results : devices) {
    const Table table = failures_table(results);
    html += fmt::format("<h3>{}</h3>\n", html_escape(results.device.name));
    if (table.rows.empty()) {
      html += "<p class=\"note\">None.</p>\n";
      continue;
    }
    const std::string label = "Failures on " + results.device.name;
    constexpr std::size_t kShortTable = 12;
    html += table.rows.size() <= kShortTable
                ? table_html(table, label)
                : details_html(count_text(table.rows.size(), "reason", "reasons"), table_html(table, label));
  }
  return html + "</section>\n";
}

std::string commands_html(const std::vector<std::string>& commands) {
  std::string list = "<ul class=\"commands\">";
  for (const std::string& command : commands) list += "<li><code>" + html_escape(command) + "</code></li>";
  list += "</ul>";
  return details_html(count_text(commands.size(), "session", "sessions"), list,
                      commands.size() <= kCommandsShown);
}

std::string provenance_html(const std::vector<DeviceResults>& devices) {
  std::string html = "<section id=\"provenance\"><h2>Provenance</h2>\n<div class=\"devices\">\n";
  for (const DeviceResults& results : devices) {
    const Provenance provenance = provenance_of(results);
    html += fmt::format("<div><h3>{}</h3><dl>", html_escape(results.device.name));
    for (const auto& [name, value] : provenance.facts) {
      html += fmt::format("<dt>{}</dt><dd>{}</dd>", html_escape(name), html_escape(value));
    }
    html += "</dl>\n" + commands_html(provenance.commands) + "</div>\n";
  }
  return html + "</div></section>\n";
}

std::string empty_html() {
  return "<section id=\"empty\"><h2>Nothing here yet</h2>\n"
         "<p>The database holds no trials. Tune something, then write the report again:</p>\n"
         "<pre><code>fcsa tune --device auto --op fwd --dtype f32 --head-dim 64 --seq 1024,2048,4096 "
         "--budget 2m --db FILE\n"
         "fcsa report --db FILE --out DIR</code></pre>\n</section>\n";
}

std::string header_html(const Page& page) {
  std::string names;
  for (const DeviceResults& results : page.devices) {
    names += (names.empty() ? "" : "; ") + html_escape(results.device.name);
  }
  return "<header><h1>Flash cosine-similarity attention, tuned</h1>\n<p class=\"lead\">Speed and memory "
         "against "
         "sequence length" +
         (names.empty() ? "" : ": " + names) + ".</p>\n" + notes_html(page.notes) + "</header>\n";
}

}  // namespace

std::string page_html(const Page& page) {
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>fcsa report</title>\n<style>";
  html += page_style();
  html += "</style>\n</head>\n<body>\n" + header_html(page) + "<main>\n";
  if (page.devices.empty()) {
    html += empty_html();
  } else {
    html += overview_html(page) + reading_html() + "</section>\n";
    std::size_t first_figure = 0;
    for (std::size_t i = 0; i < page.sections.size(); ++i) {
      html += section_html(page, i, first_figure);
      first_figure += figure_count(page.figures[i]);
    }
    html += failures_html(page.devices) + provenance_html(page.devices);
  }
  html += fmt::format(
      "</main>\n<footer>Written by fcsa {}. The same numbers are in speed.csv and memory.csv.</footer>\n"
      "</body>\n</html>\n",
      FCSA_VERSION);
  return html;
}

}  // namespace fcsa::reports
