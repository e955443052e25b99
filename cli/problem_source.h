// Where the problems of a command come from: options for a grid, or a workload file.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"
#include "kernels/family.h"

namespace fcsa::cli {

// The file, or what a name without folder and extension stands for, if no file has it: a workload that ships.
// Throws UsageError listing those.
std::filesystem::path workload_path(const std::string& named);

struct ProblemSource {
  ProblemOptions grid;
  std::string file;             // of --problems: see workload_path(); empty: the grid
  std::string default_on_cuda;  // a workload in place of the grid where nothing is stated, if it ships

  void add_to(CLI::App& app);  // all options
  void add_op_to(CLI::App& app);
  void add_grid_to(CLI::App& app);  // all but --op

  // Those for a kind of device. Throws UsageError or tuner::WorkloadError.
  std::vector<kernels::Problem> problems(kernels::DeviceKind kind) const;
  // Of a workload those that these families serve (none given: all families): recorded ones that none serves
  // are named on standard error, for others WorkloadError is thrown. Of a grid all.
  std::vector<kernels::Problem> problems(const kernels::Target& target,
                                         const std::vector<const kernels::Family*>& families = {}) const;

  bool takes_default(kernels::DeviceKind kind) const;

 private:
  // None: the grid has the problems.
  std::optional<std::filesystem::path> workload(kernels::DeviceKind kind) const;
  const CLI::Option* stated() const;  // of the grid, one that is given; or null

  std::vector<CLI::Option*> grid_options_;
};

}  // namespace fcsa::cli
