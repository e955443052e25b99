#include "cli/bench_rows.h"

#include <fmt/format.h>

#include <algorithm>

namespace fcsa::cli {
namespace {

using kernels::Family;
using kernels::Problem;

BenchRow make_row(const Problem& problem, std::string_view row, const Family& family,
                  const kernels::Configuration& configuration) {
  return {benchmark_name(problem, row),
          {problem, &family, configuration},
          kernels::to_text(family, problem.op, configuration)};
}

kernels::Configuration parse(const Problem& problem, const Family& family, const std::string& text) {
  return kernels::configuration_from_text(text, kernels::kernel_name(family, problem.op),
                                          family.parameters(problem.op));
}

// Anything but a measured choice says what decided: it may be far away.
BenchRow tuned_row(const Problem& problem, const Family& family, const tuner::Choice& choice) {
  BenchRow row = make_row(problem, "tuned", family, parse(problem, family, choice.configuration));
  if (choice.match != tuner::Match::exact) row.label += fmt::format(" ({})", choice.reason);
  return row;
}

}  // namespace

std::string benchmark_name(const Problem& problem, std::string_view row) {
  std::string name = kernels::to_text(problem);
  std::replace(name.begin(), name.end(), ' ', '/');
  std::replace(name.begin(), name.end(), '=', ':');
  return fmt::format("{}/{}", name, row);
}

std::vector<BenchRow> bench_rows(const Problem& problem, const kernels::DeviceInfo& device,
                                 const tuner::DispatchTable* table,
                                 const std::vector<std::string>& configurations) {
  const kernels::Target& target = device.target;
  const tuner::Choice choice =
      table != nullptr ? tuner::choose(*table, problem, device) : tuner::default_choice(problem, device);
  const Family* family = &kernels::family_of_kernel(choice.configuration);
  std::vector<BenchRow> rows;
  for (const auto& text : configurations) {
    const Family& given = kernels::family_of_kernel(text);
    const auto configuration = parse(problem, given, text);
    rows.push_back(
        make_row(problem, kernels::to_text(given, problem.op, configuration), given, configuration));
    if (given.device_kind() == target.kind && given.unsupported(problem, target).empty()) family = &given;
  }
  if (configurations.empty() && choice.match != tuner::Match::default_choice)
    rows.push_back(tuned_row(problem, *family, choice));
  rows.push_back(make_row(problem, "baseline", *family, family->baseline(problem, target)));
  for (const auto& yardstick : kernels::families()) {
    if (yardstick->tunable() || yardstick->device_kind() != target.kind) continue;
    if (yardstick->unsupported(problem, target).empty())
      rows.push_back(make_row(problem, "unfused", *yardstick, yardstick->baseline(problem, target)));
  }
  return rows;
}

}  // namespace fcsa::cli
