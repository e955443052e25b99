// What rows of gradients should be, and how far outputs are from that.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/reference/gradients.h"
#include "runner/comparison.h"
#include "runner/output_shape.h"

namespace fcsa::runner {

// Rows of one gradient and what an implementation may be off by. dscale is one row of one number per head.
struct ExpectedGradient {
  Output output = Output::dq;
  std::vector<kernels::RowIndex> rows;
  std::vector<double> values;  // [rows, channels or keys]
  std::vector<double> sizes;   // [rows]: kernels::Gradients says of what
  std::vector<double> norms;   // [rows, groups], of q for dq and of k for dk; else empty
  double tolerance = 0;

  std::size_t width() const { return rows.empty() ? 1 : values.size() / rows.size(); }
};

// The worst row: ||actual - expected|| / max(||expected||, its size). Rows of dq and dk are multiplied by |q|
// and |k| first, so that rows of any length compare. Infinite where anything is NaN, or is not exactly zero
// though it has to be: the gradient of a group without a norm, or of what has no part in any output.
Worst worst_gradient(std::span<const double> actual, const ExpectedGradient& expected);

// What a row is off by, and its element that is furthest off.
std::string describe(const OutputShape& shape, const ExpectedGradient& expected,
                     std::span<const double> actual, const Worst& off);

// All rows of every gradient that the problem wants when that costs at most `flops` in the reference;
// otherwise rows of each as rows_to_check() chooses them, for about that cost together, and dscale only where
// that is all rows of dq.
kernels::GradientRows gradient_rows_to_check(const kernels::Problem& problem, double flops,
                                             std::uint64_t seed);

// The reference, which follows from the same o and lse that a kernel is given in host memory, and tolerances
// of twice the error of the plain implementation on the same rows, but no less than what approximate
// instructions and another order of summation cost (gradient_comparison.cpp says how much).
std::vector<ExpectedGradient> expect_gradients(const kernels::Problem& problem,
                                               const kernels::BackwardArgs& args, kernels::GradientRows rows);

}  // namespace fcsa::runner
