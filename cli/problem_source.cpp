#include "cli/problem_source.h"

#include <fmt/format.h>

#include "cli/say.h"
#include "tuner/workloads/served.h"

namespace fcsa::cli {

void ProblemSource::add_to(CLI::App& app) {
  add_op_to(app);
  add_grid_to(app);
}

void ProblemSource::add_op_to(CLI::App& app) {
  grid.add_op_to(app);
  grid_options_.push_back(app.get_option("--op"));
}

void ProblemSource::add_grid_to(CLI::App& app) {
  app.add_option("--problems", file,
                 "The problems of this file instead of a grid: a workload, as in "
                 "data/workloads or recorded with FCSA_RECORD");
  const std::size_t first = app.get_options().size();
  grid.add_grid_to(app);
  const auto options = app.get_options();
  grid_options_.insert(grid_options_.end(), options.begin() + static_cast<std::ptrdiff_t>(first),
                       options.end());
}

void ProblemSource::require_one_source() const {
  for (const auto* option : grid_options_)
    if (option->count() > 0)
      throw UsageError(
          fmt::format("--problems: {} has the problems, leave {} out", file, option->get_name()));
}

std::vector<kernels::Problem> ProblemSource::problems(kernels::DeviceKind kind) const {
  if (file.empty()) return grid.problems(kind);
  require_one_source();
  std::vector<kernels::Problem> list;
  for (const auto& entry : tuner::read_workload(file).entries)
    if (tuner::runs_on(entry, kind)) list.push_back(entry.problem);
  return list;
}

std::vector<kernels::Problem> ProblemSource::problems(
    const kernels::Target& target, const std::vector<const kernels::Family*>& families) const {
  if (file.empty()) return grid.problems(target.kind);
  require_one_source();
  auto all = families;
  if (families.empty())
    for (const auto& family : kernels::families()) all.push_back(family.get());
  const auto workload = tuner::read_workload(file);
  auto served = tuner::served_problems(workload, target, all);
  for (const auto& notes : {workload.notes, served.notes})
    for (const auto& note : notes) say("note: {}\n", note);
  return std::move(served.problems);
}

}  // namespace fcsa::cli
