// Where the problems of a command come from: options for a grid, or a workload file.
#pragma once

#include <string>
#include <vector>

#include "cli/options.h"
#include "kernels/family.h"

namespace fcsa::cli {

struct ProblemSource {
  ProblemOptions grid;
  std::string file;  // of --problems; empty: the grid

  void add_to(CLI::App& app);  // all options
  void add_op_to(CLI::App& app);
  void add_grid_to(CLI::App& app);  // all but --op

  // Those for a kind of device. Throws UsageError or tuner::WorkloadError.
  std::vector<kernels::Problem> problems(kernels::DeviceKind kind) const;
  // Of a workload those that these families serve (none given: all families): recorded ones that none serves
  // are named on standard error, for others WorkloadError is thrown. Of a grid all.
  std::vector<kernels::Problem> problems(const kernels::Target& target,
                                         const std::vector<const kernels::Family*>& families = {}) const;

 private:
  void require_one_source() const;

  std::vector<CLI::Option*> grid_options_;
};

}  // namespace fcsa::cli
