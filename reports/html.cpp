#include "reports/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "reports/html_table.h"
#include "reports/legend.h"
#include "reports/page_style.h"
#include "reports/provenance.h"
#include "reports/tables.h"

namespace fcsa::reports {
namespace {

constexpr std::size_t kCommandsShown = 4;

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
  const bool one_device = page.devices.size() == 1;
  std::string html =
      "<section id=\"overview\"><h2>At a glance</h2>\n"
      "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Overview\"><table><thead><tr>";
  std::vector<std::string> header = {
      "problems", "device", "N", "fastest", "speed-up over baseline", "speed-up over unfused", "confirmed"};
  if (one_device) header.erase(header.begin() + 1);
  for (const std::string& name : header) html += fmt::format("<th scope=\"col\">{}</th>", name);
  html += "</tr></thead><tbody>";
  for (const OverviewRow& row : overview(page.sections, page.devices)) {
    const Section& section = page.sections[row.section];
    html += fmt::format("<tr><th scope=\"row\"><a href=\"#{}\">{}</a></th>", section.id,
                        html_escape(section.title));
    std::vector<std::string> cells = {row.lengths, row.best_speed.empty() ? "nothing worked" : row.best_speed,
                                      row.over_baseline, row.over_unfused,
                                      fmt::format("{} of {}", row.confirmed, row.problems)};
    if (!one_device) cells.insert(cells.begin(), page.devices[row.device].label);
    for (const std::string& cell : cells) html += "<td>" + html_escape(cell) + "</td>";
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string reading_html() {
  return details_html(
      "How to read this",
      "<p><b>tuned</b> is the fastest configuration found, <b>baseline</b> the configuration that its kernel "
      "family has before any tuning, <b>unfused</b> plain attention that writes all N x N scores to memory "
      "(forward only). "
      "Every configuration passed verification against fp64 before it was timed.</p>"
      "<p>Times are medians; intervals and error bars are 95% confidence intervals of the median from order "
      "statistics. Speed-ups compare only configurations measured interleaved in one confirmation race; "
      "their interval is the widest that the two intervals allow, and means over lengths are geometric. "
      "Configurations whose intervals overlap the winner's are named as ties. A problem without such a race "
      "is marked unconfirmed, is shown from the search, and has no speed-up.</p>"
      "<p>FLOPs are those of the operation: 4 B H Nq Nk D forward, 2.5 times that backward, visible pairs "
      "only when causal. Peak memory is measured on the device during one launch: inputs, outputs, workspace "
      "and scratch; extra memory is what is beyond inputs and outputs.</p>"
      "<p>The <b>roofline</b> shows speed against the FLOPs per byte of compulsory traffic (each input read "
      "once, each output written once), for the lengths from left to right. Its limits are those of the "
      "maker's data sheet, dense, at the boost clock stated there; they were not measured.</p>"
      "<p><b>Search progress</b> is the best speed so far, measured alone, as a share of the best of the "
      "search. Time is wall time since the previous trial of the session, added up for each length.</p>"
      "<p><b>Which parameters mattered</b> looks at every configuration that the search timed. With y = "
      "ln(time) less its mean on the same length, the <i>share of variance</i> is 1 - (SS<sub>within</sub> / "
      "(n - p - k + 1)) / (SS<sub>total</sub> / (n - p)) for n trials on p lengths and k values of the "
      "parameter, at least 0: what it explains by itself. Others vary along, so shares need not add up to "
      "100%, and a search that looks closer where it is fast is no random sample. The <i>loss</i> of a value "
      "is the geometric mean over the lengths of the best time with that value over the best time, minus 1, "
      "for values tried on every length.</p>");
}

std::string figure_body(const Figure& figure, const std::string& svg, std::size_t index) {
  const std::string numbers =
      figure.numbers.rows.empty() ? "" : table_html(figure.numbers, figure.text.title);
  if (figure.empty()) return fmt::format("<p class=\"missing\">{}</p>", html_escape(figure.missing));
  if (figure.is_table) return numbers;
  const bool drawn = !svg.empty();
  return (drawn ? legend_html(figure.plot) + embed_svg(svg, fmt::format("p{}-", index), figure.text)
                : "<p class=\"missing\">no plot (see the notes)</p>") +
         (numbers.empty() ? "" : details_html("Numbers", numbers, !drawn));
}

std::string figure_html(const Page& page, const Figure& figure, std::size_t index) {
  std::string html = fmt::format("<figure{}><figcaption>{}", figure.is_table ? " class=\"wide\"" : "",
                                 html_escape(figure.title));
  if (page.devices.size() > 1)
    html += "<small>" + html_escape(page.devices[figure.device].label) + "</small>";
  html += "</figcaption>" + figure_body(figure, page.svgs[index], index);
  if (!figure.note.empty() && !figure.empty())
    html += "<p class=\"note\">" + html_escape(figure.note) + "</p>";
  return html + "</figure>\n";
}

bool is_empty(const FigureRow& row) {
  return std::all_of(row.begin(), row.end(), [](const Figure& figure) { return figure.empty(); });
}

// Rows in which no device has anything to show, by what they lack.
std::string left_out_html(const std::vector<FigureRow>& rows) {
  std::vector<std::pair<std::string, std::string>> titles_by_reason;
  for (const FigureRow& row : rows) {
    if (!is_empty(row)) continue;
    const auto known = std::find_if(titles_by_reason.begin(), titles_by_reason.end(),
                                    [&](const auto& entry) { return entry.first == row.front().missing; });
    if (known == titles_by_reason.end())
      titles_by_reason.emplace_back(row.front().missing, row.front().title);
    else
      known->second += ", " + row.front().title;
  }
  std::string html;
  for (const auto& [reason, titles] : titles_by_reason)
    html +=
        fmt::format("<p class=\"note\">Not shown ({}): {}.</p>\n", html_escape(reason), html_escape(titles));
  return html;
}

std::string figures_html(const Page& page, const std::vector<FigureRow>& rows, std::size_t first) {
  const std::size_t columns = rows.empty() ? 0 : rows.front().size();
  std::string html = columns > 1
                         ? fmt::format("<div class=\"figures by-device\" style=\"--devices:{}\">\n", columns)
                         : "<div class=\"figures\">\n";
  for (const FigureRow& row : rows) {
    for (const Figure& figure : row) {
      if (!is_empty(row)) html += figure_html(page, figure, first);
      ++first;
    }
  }
  return html + "</div>\n" + left_out_html(rows);
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
                  html_escape(section.title), html_escape(fmt::format("{}", fmt::join(section.shape, "; "))),
                  html_escape(section.class_text));
  if (const std::string note = speedup_note(section); !note.empty())
    html += "<p class=\"note\">" + html_escape(note) + "</p>\n";
  html += figures_html(page, page.figures[index], first_figure);
  for (std::size_t d = 0; d < page.devices.size(); ++d) {
    const std::string name = page.devices[d].label;
    if (section.by_device[d].empty()) {
      html += fmt::format("<p class=\"note\">Not tuned on {}.</p>\n", html_escape(name));
      continue;
    }
    html += fmt::format("<h3>Winners on {}</h3>\n", html_escape(name));
    html += table_html(winners_table(section, page.devices, d), "Winners on " + name);
  }
  const Table side_by_side = devices_table(section, page.devices);
  if (!side_by_side.rows.empty()) {
    html += "<h3>Devices side by side</h3>\n" + table_html(side_by_side, "Devices side by side") +
            "<p class=\"note\">Tuned on each device: medians, and how many times as fast as on the first "
            "of them.</p>\n";
  }
  return html + "</section>\n";
}

std::string failures_html(const std::vector<DeviceResults>& devices) {
  std::string html =
      "<section id=\"failures\"><h2>Failures</h2>\n"
      "<p class=\"sub\">Candidates that were not timed, by kind and by reason.</p>\n";
  for (const DeviceResults& results : devices) {
    const Table table = failures_table(results);
    html += fmt::format("<h3>{}</h3>\n", html_escape(results.label));
    if (table.rows.empty()) {
      html += "<p class=\"note\">None.</p>\n";
      continue;
    }
    html += table_html(failure_kinds_table(results), "Kinds of failures on " + results.label);
    const std::string label = "Reasons of failures on " + results.label;
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
    html += fmt::format("<div><h3>{}</h3><dl>", html_escape(results.label));
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
  std::string lead = "Speed and memory against sequence length";
  std::size_t trials = 0;
  for (const DeviceResults& results : page.devices) {
    lead += (trials == 0 ? ": " : "; ") + html_escape(results.label);
    trials += results.trials.size();
  }
  if (trials > 0) lead += ". From " + count_text(trials, "trial", "trials");
  return "<header><h1>Flash cosine-similarity attention, tuned</h1>\n<p class=\"lead\">" + lead + ".</p>\n" +
         notes_html(page.notes) + "</header>\n";
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
    html += page.more + failures_html(page.devices) + provenance_html(page.devices);
  }
  html += fmt::format(
      "</main>\n<footer>Written by fcsa {}. The same numbers are in speed.csv and memory.csv.</footer>\n"
      "</body>\n</html>\n",
      FCSA_VERSION);
  return html;
}

}  // namespace fcsa::reports
