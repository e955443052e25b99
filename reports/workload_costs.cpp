#include "reports/workload_costs.h"

#include <fmt/format.h>

#include <stdexcept>

#include "reports/html_table.h"
#include "tuner/workloads/cost.h"

namespace fcsa::reports {
namespace {

std::string share_text(double share) {
  return fmt::format("{:.1f}%", 100 * share);
}

Table table_of(const std::vector<tuner::WorkloadCost>& costs, double total_ms) {
  Table table{
      {"problem", "name", "calls", "configuration", "match", "ms", "all calls, ms", "share", "expected loss"},
      {}};
  for (const auto& cost : costs) {
    const bool timed = cost.ms > 0;
    table.rows.push_back(
        {kernels::to_text(cost.entry->problem), cost.entry->name, std::to_string(cost.entry->count),
         cost.choice.configuration, std::string(tuner::to_text(cost.choice.match)),
         timed ? significant(cost.ms) : "", timed ? significant(cost.weighted_ms()) : "",
         timed ? share_text(cost.weighted_ms() / total_ms) : "", cost.loss ? share_text(*cost.loss) : ""});
  }
  return table;
}

std::string summary_of(const tuner::WorkloadTotal& total) {
  std::string text = fmt::format(
      "{}: {} ms over all calls, of which {} ms ({}) are expected to be lost to what a search of each shape "
      "would find.",
      count_text(total.known, "problem", "problems"), significant(total.ms), significant(total.lost_ms),
      share_text(total.loss()));
  if (total.unknown > 0)
    text += fmt::format(" {} of a kind that was never tuned: no time is known.",
                        count_text(total.unknown, "problem is", "problems are"));
  return text;
}

std::string heading(const tuner::Workload& workload) {
  return workload.source.empty() ? workload.file : fmt::format("{} ({})", workload.file, workload.source);
}

}  // namespace

std::vector<WorkloadCosts> workload_costs(const tuner::Workload& workload,
                                          const std::vector<DeviceResults>& devices) {
  std::vector<WorkloadCosts> list;
  for (const auto& results : devices) {
    std::vector<tuner::StoredTrial> trials;
    for (const auto* stored : results.trials) trials.push_back(*stored);
    try {
      const auto table = tuner::dispatch_table_for(trials, results.device);
      const auto costs = tuner::costs_of(workload, table, results.device);
      const auto total = tuner::total_of(costs);
      list.push_back({results.label, summary_of(total), table_of(costs, total.ms)});
    } catch (const std::invalid_argument& error) {
      list.push_back({results.label, fmt::format("{}.", error.what()), {}});
    }
  }
  return list;
}

std::string workload_html(const tuner::Workload& workload, const std::vector<WorkloadCosts>& costs) {
  std::string html = fmt::format("<section id=\"workload\"><h2>Workload: {}</h2>\n<p class=\"sub\">{}</p>\n",
                                 html_escape(workload.name), html_escape(heading(workload)));
  for (const auto& cost : costs) {
    html += fmt::format("<h3>{}</h3>\n<p>{}</p>\n", html_escape(cost.device), html_escape(cost.summary));
    if (!cost.table.rows.empty()) html += table_html(cost.table, "Workload on " + cost.device);
  }
  return html + "</section>\n";
}

std::string workload_markdown(const tuner::Workload& workload, const std::vector<WorkloadCosts>& costs) {
  std::string text = fmt::format("\n## Workload: {}\n\n{}\n", markdown_escape(workload.name),
                                 markdown_escape(heading(workload)));
  for (const auto& cost : costs) {
    text += fmt::format("\n### {}\n\n{}\n", markdown_escape(cost.device), markdown_escape(cost.summary));
    if (!cost.table.rows.empty()) text += "\n" + markdown_table(cost.table);
  }
  return text;
}

std::string workload_csv(const std::vector<WorkloadCosts>& costs) {
  std::string text;
  for (const auto& cost : costs) {
    const auto with_device = [&](std::string first, const std::vector<std::string>& rest) {
      std::vector<std::string> cells{std::move(first)};
      cells.insert(cells.end(), rest.begin(), rest.end());
      return csv_line(cells);
    };
    if (text.empty() && !cost.table.header.empty()) text += with_device("device", cost.table.header);
    for (const auto& row : cost.table.rows) text += with_device(cost.device, row);
  }
  return text;
}

}  // namespace fcsa::reports
