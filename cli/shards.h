// Dividing a grid among processes that know nothing of each other.
#pragma once

#include <string>
#include <vector>

#include "cli/options.h"
#include "kernels/problem.h"

namespace fcsa::cli {

// The problems of this part, in their order in the grid: each problem is in exactly one part, and the parts
// cost about the same. The most expensive goes first, always to the part that has least so far; every process
// comes to the same division. Empty when there are fewer problems than parts.
std::vector<kernels::Problem> part_of(const std::vector<kernels::Problem>& problems, const Shard& shard);

// "{rank}" in the path of a database is the number of the part: one command line serves all processes.
std::string with_rank(std::string path, const Shard& shard);

}  // namespace fcsa::cli
