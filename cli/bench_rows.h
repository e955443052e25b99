// What `fcsa bench` runs on each problem, and what it is called.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tuner/dispatch/dispatch.h"

namespace fcsa::cli {

struct BenchRow {
  std::string name;
  tuner::Candidate candidate;
  std::string label;  // the configuration, and why it was chosen
};

// "forward/bf16/d64/b4/h32/kv32/nq4096/nk4096/bhnd/causal/scale:8/tuned": the same on every device and in
// every run, so that runs can be compared. `row` is tuned, baseline, unfused, or a configuration.
std::string benchmark_name(const kernels::Problem& problem, std::string_view row);

// The configurations, or where there are none what `table` chooses for the problem; then the baseline of the
// family that was chosen, and the unfused yardsticks. A problem that `table` knows nothing of, or a null
// table, has no tuned row. Throws std::invalid_argument for a problem that no kernel serves and for a text
// that is no configuration.
std::vector<BenchRow> bench_rows(const kernels::Problem& problem, const kernels::DeviceInfo& device,
                                 const tuner::DispatchTable* table,
                                 const std::vector<std::string>& configurations);

}  // namespace fcsa::cli
