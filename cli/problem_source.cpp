#include "cli/problem_source.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "cli/say.h"
#include "runner/shipped_data.h"
#include "tuner/workloads/served.h"

namespace fcsa::cli {

std::filesystem::path workload_path(const std::string& named) {
  if (std::filesystem::exists(named) || named.find_first_of("/.") != std::string::npos) return named;
  if (auto shipped = runner::shipped_workload(named)) return *shipped;
  throw UsageError(
      fmt::format("--problems: there is no file {0}, and no workload {0} that ships: those are {1}", named,
                  fmt::join(runner::shipped_workloads(), ", ")));
}

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
                 "The problems of this file instead of a grid: a workload, recorded with FCSA_RECORD or "
                 "written, or the name of one that ships, such as llama_3_8b");
  const std::size_t first = app.get_options().size();
  grid.add_grid_to(app);
  const auto options = app.get_options();
  grid_options_.insert(grid_options_.end(), options.begin() + static_cast<std::ptrdiff_t>(first),
                       options.end());
}

const CLI::Option* ProblemSource::stated() const {
  const auto found = std::find_if(grid_options_.begin(), grid_options_.end(),
                                  [](const auto* option) { return option->count() > 0; });
  return found == grid_options_.end() ? nullptr : *found;
}

bool ProblemSource::takes_default(kernels::DeviceKind kind) const {
  return file.empty() && kind == kernels::DeviceKind::cuda && stated() == nullptr &&
         !default_on_cuda.empty() && runner::shipped_workload(default_on_cuda);
}

std::optional<std::filesystem::path> ProblemSource::workload(kernels::DeviceKind kind) const {
  if (takes_default(kind)) return workload_path(default_on_cuda);
  if (file.empty()) return std::nullopt;
  if (const auto* option = stated())
    throw UsageError(fmt::format("--problems: {} has the problems, leave {} out", file, option->get_name()));
  return workload_path(file);
}

std::vector<kernels::Problem> ProblemSource::problems(kernels::DeviceKind kind) const {
  const auto from = workload(kind);
  if (!from) return grid.problems(kind);
  std::vector<kernels::Problem> list;
  for (const auto& entry : tuner::read_workload(*from).entries)
    if (tuner::runs_on(entry, kind)) list.push_back(entry.problem);
  return list;
}

std::vector<kernels::Problem> ProblemSource::problems(
    const kernels::Target& target, const std::vector<const kernels::Family*>& families) const {
  const auto from = workload(target.kind);
  if (!from) return grid.problems(target.kind);
  auto all = families;
  if (families.empty())
    for (const auto& family : kernels::families()) all.push_back(family.get());
  const auto read = tuner::read_workload(*from);
  auto served = tuner::served_problems(read, target, all);
  for (const auto& notes : {read.notes, served.notes})
    for (const auto& note : notes) say("note: {}\n", note);
  return std::move(served.problems);
}

}  // namespace fcsa::cli
