#include "cli/workload_costs.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/table.h"

namespace fcsa::cli {
namespace {

Table table_of(const std::vector<tuner::WorkloadCost>& costs, double total_ms) {
  Table table{
      {"problem", "name", "calls", "choice", "match", "ms", "all calls ms", "share %", "expected loss %"},
      {}};
  const auto known = [](bool is_known, double value, const char* format) {
    return is_known ? fmt::format(fmt::runtime(format), value) : std::string("-");
  };
  for (const auto& cost : costs) {
    const bool timed = cost.ms > 0;
    table.rows.push_back({kernels::to_text(cost.entry->problem),
                          cost.entry->name.empty() ? "-" : cost.entry->name,
                          std::to_string(cost.entry->count), cost.choice.configuration,
                          std::string(tuner::to_text(cost.choice.match)), known(timed, cost.ms, "{:.4g}"),
                          known(timed, cost.weighted_ms(), "{:.4g}"),
                          known(timed, 100 * cost.weighted_ms() / total_ms, "{:.1f}"),
                          known(cost.loss.has_value(), 100 * cost.loss.value_or(0), "{:.1f}")});
  }
  return table;
}

}  // namespace

std::string costs_text(const tuner::Workload& workload, const tuner::DispatchTable& table,
                       const kernels::DeviceInfo& device) {
  const auto costs = costs_of(workload, table, device);
  const auto total = total_of(costs);
  std::string text = fmt::format("{} on {}\n", workload.name, device.name);
  if (!workload.source.empty()) text += fmt::format("source: {}\n", workload.source);
  text += "\n" + to_text(table_of(costs, total.ms));
  text += fmt::format("\n{} problems, {:.4g} ms, of which {:.4g} ms ({:.1f}%) are expected to be lost\n",
                      total.known, total.ms, total.lost_ms, 100 * total.loss());
  if (total.unknown > 0)
    text += fmt::format("{} more, of a kind that was never tuned here: no time is known\n", total.unknown);
  if (total.unknown > 0 || total.lost_ms > 0)
    text += fmt::format("`fcsa tune --problems {}` measures them\n", workload.file);
  return text;
}

nlohmann::ordered_json costs_json(const tuner::Workload& workload, const tuner::DispatchTable& table,
                                  const kernels::DeviceInfo& device) {
  const auto costs = costs_of(workload, table, device);
  const auto total = total_of(costs);
  return {{"workload", workload.name},
          {"source", workload.source},
          {"device", device.name},
          {"ms", total.ms},
          {"expected_loss_ms", total.lost_ms},
          {"known", total.known},
          {"unknown", total.unknown},
          {"problems", nlohmann::ordered_json::parse(to_json(table_of(costs, total.ms)))}};
}

}  // namespace fcsa::cli
