// A problem of fcsa.h with tensors in host memory, and its answer in double precision.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/problem.h"
#include "tests/library/tensors.h"

namespace fcsa::library {

// As the families know it. The scale is that of fcsa.h also where each head has its own.
kernels::Problem problem_of(const fcsa_problem& problem);

fcsa_problem forward_problem(std::int32_t dtype, int heads, int rows, int head_dim);

// Tensors of a problem: random values with NaN in between where there are gaps, and outputs filled with a
// pattern.
class AttentionCase {
 public:
  explicit AttentionCase(const fcsa_problem& problem, unsigned seed = 1);

  const fcsa_problem& problem() const { return problem_; }
  const kernels::Traits& traits() const { return traits_; }
  const kernels::Args& args() const { return args_; }  // o and lse are null
  // Pointers to the tensors that the problem has; no workspace.
  fcsa_tensors tensors() const;
  const Memory& q() const { return q_; }
  const Memory& k() const { return k_; }
  const Memory& v() const { return v_; }
  const Memory& o() const { return o_; }
  const Memory& lse() const { return lse_; }
  const Memory& key_mask() const { return key_mask_; }
  // Of a problem with key_lengths: below 0 in the first batch, above nk in the second.
  const std::vector<std::int32_t>& key_lengths() const { return key_lengths_; }
  // What padded batches may hold behind them.
  void put_nan_into_hidden_keys() const;
  const Memory& bias() const { return bias_; }
  const Memory& head_scale() const { return head_scale_; }

  // Largest error of the rows of o, relative to their norm, and of lse; infinite when a number is missing.
  double worst_error() const;
  // Whether everything in o that belongs to no row is as it was.
  bool gaps_are_intact() const;

 private:
  void take_lengths(unsigned seed);

  fcsa_problem problem_;
  kernels::Traits traits_;
  kernels::Args args_;
  Memory q_, k_, v_, o_, lse_, key_mask_, bias_, head_scale_;
  std::vector<std::int32_t> key_lengths_;
};

// What the roundings of the dtype may cost in the forward pass.
double tolerance(std::int32_t dtype);

}  // namespace fcsa::library
