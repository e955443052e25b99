// Problems whose inputs tests look at, and what they see there.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "kernels/reference/reference.h"
#include "runner/verification/inputs.h"

namespace fcsa::runner {

inline kernels::Problem small_problem() {
  return {.dtype = kernels::DType::f32,
          .head_dim = 32,
          .batch = 2,
          .heads = 4,
          .kv_heads = 2,
          .nq = 70,
          .nk = 90,
          .logit_bound = {}};
}

inline kernels::Problem backward_problem() {
  kernels::Problem p = small_problem();
  p.op = kernels::Op::backward;
  return p;
}

inline double row_norm(const kernels::Problem& p, const std::vector<unsigned char>& data, long long row) {
  double squares = 0;
  for (int d = 0; d < p.head_dim; ++d)
    squares += std::pow(kernels::load_element(p.dtype, data.data(), row * p.head_dim + d), 2);
  return std::sqrt(squares);
}

// Results of every row with these inputs.
inline kernels::RowResults attend_to(const HostInputs& inputs) {
  const kernels::Problem& p = inputs.problem;
  std::vector<kernels::RowIndex> rows;
  for (int batch = 0; batch < p.batch; ++batch)
    for (int head = 0; head < p.heads; ++head)
      for (int row = 0; row < p.nq; ++row) rows.push_back({batch, head, row});
  return kernels::reference_rows(kernels::traits_of(p), inputs.args(), rows);
}

inline int visible_keys(std::span<const unsigned char> mask) {
  return static_cast<int>(std::count_if(mask.begin(), mask.end(), [](auto m) { return m != 0; }));
}

}  // namespace fcsa::runner
