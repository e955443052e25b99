#include "cli/bench_rows.h"

#include <fmt/format.h>

#include <algorithm>

#include "tuner/trials/recording.h"

namespace fcsa::cli {
namespace {

using kernels::Family;
using kernels::Problem;

BenchRow make_row(std::string_view row, const tuner::Candidate& candidate) {
  return {benchmark_name(candidate.problem, row), candidate, tuner::configuration_text(candidate)};
}

BenchRow make_baseline_row(std::string_view row, const Problem& problem, const Family& family,
                           const kernels::Target& target) {
  return make_row(row, {problem, &family, family.baseline(problem, target)});
}

// Anything but a measured choice says what decided: it may be far away.
BenchRow tuned_row(const tuner::Candidate& chosen, const tuner::Choice& choice) {
  BenchRow row = make_row("tuned", chosen);
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
  const tuner::Candidate chosen = tuner::candidate_of(problem, choice.configuration);
  const Family* family = chosen.family;
  std::vector<BenchRow> rows;
  for (const auto& text : configurations) {
    const tuner::Candidate given = tuner::candidate_of(problem, text);
    rows.push_back(make_row(tuner::configuration_text(given), given));
    if (given.family->device_kind() == target.kind && given.family->unsupported(problem, target).empty())
      family = given.family;
  }
  if (configurations.empty() && choice.match != tuner::Match::default_choice)
    rows.push_back(tuned_row(chosen, choice));
  rows.push_back(make_baseline_row("baseline", problem, *family, target));
  for (const auto& yardstick : kernels::families()) {
    if (yardstick->tunable() || yardstick->device_kind() != target.kind) continue;
    if (yardstick->unsupported(problem, target).empty())
      rows.push_back(make_baseline_row("unfused", problem, *yardstick, target));
  }
  return rows;
}

}  // namespace fcsa::cli
