// A kernel that computes in fp64, and what the verifier says of it: tests make it wrong.
#pragma once

#include <vector>

#include "kernels/reference/reference.h"
#include "runner/verification/verification.h"
#include "tests/runner/fake_device.h"

namespace fcsa::runner {

inline std::vector<kernels::RowIndex> all_rows(const kernels::Args& args) {
  std::vector<kernels::RowIndex> rows;
  for (kernels::RowIndex row; row.batch < args.batch; ++row.batch)
    for (row.head = 0; row.head < args.heads; ++row.head)
      for (row.row = 0; row.row < args.nq; ++row.row) rows.push_back(row);
  return rows;
}

inline void store_rows(const kernels::Traits& traits, const kernels::Args& args,
                       const std::vector<kernels::RowIndex>& rows, const kernels::RowResults& results) {
  const auto dim = static_cast<std::size_t>(traits.head_dim);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const kernels::RowIndex& r = rows[i];
    const long long first =
        r.batch * args.o_strides.batch + r.head * args.o_strides.head + r.row * args.o_strides.row;
    for (std::size_t d = 0; d < dim; ++d)
      kernels::store_element(traits.dtype, args.o, first + static_cast<long long>(d),
                             static_cast<float>(results.o[i * dim + d]));
    args.lse[(static_cast<long long>(r.batch) * args.heads + r.head) * args.nq + r.row] =
        static_cast<float>(results.lse[i]);
  }
}

// The right answer for `read` (which a test may have changed), written where `args` says.
inline void attend(const kernels::Traits& traits, const kernels::Args& read, const kernels::Args& args) {
  const std::vector<kernels::RowIndex> rows = all_rows(args);
  store_rows(traits, args, rows, kernels::reference_rows(traits, read, rows));
}

inline kernels::Problem base_problem() {
  return {.dtype = kernels::DType::f32,
          .head_dim = 32,
          .batch = 2,
          .heads = 4,
          .kv_heads = 2,
          .nq = 33,
          .nk = 65,
          .logit_bound = {}};
}

// What the verifier says of a kernel on one problem.
inline CheckResult verdict(const kernels::Problem& problem, const FakeDevice::Kernel& kernel,
                           Values values = Values::normal, const kernels::LaunchPlan& plan = {}) {
  FakeDevice device;
  device.kernel = kernel;
  Verifier verifier(device);
  return verifier.run(Module{}, {.problem = problem, .plan = plan, .values = values, .seed = 11});
}

}  // namespace fcsa::runner
