// What rows of gradients should be, and how far outputs are from that.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/reference/gradients.h"
#include "runner/verification/comparison.h"
#include "runner/verification/output_shape.h"

namespace fcsa::runner {

// Rows of one gradient and what an implementation may be off by. dscale is one row of one number per head.
struct ExpectedGradient {
  Output output = Output::dq;
  std::vector<kernels::RowIndex> rows;
  std::vector<double> values;     // [rows, channels or keys]
  std::vector<double> sizes;      // [rows]: kernels::Gradients says of what
  std::vector<double> norms;      // [rows, groups], of q for dq and of k for dk; else empty
  std::vector<double> exponents;  // [rows]: kernels::Gradients says of what
  Tolerance tolerance = {};

  std::size_t width() const { return rows.empty() ? 1 : values.size() / rows.size(); }
};

// The worst row: ||actual - expected|| / max(||expected||, its size). Rows of dq and dk are multiplied by |q|
// and |k| first, so that rows of any length compare; the worst is the one that takes up the largest part of
// its tolerance, where those are known. Infinite where anything is NaN, or is not exactly zero though it has
// to be: the gradient of a group without a norm, or of what has no part in any output.
Worst worst_gradient(std::span<const double> actual, const ExpectedGradient& expected);

// What a row is off by, and its element that is furthest off.
std::string describe(const OutputShape& shape, const ExpectedGradient& expected,
                     std::span<const double> actual, const Worst& off);

// All rows of every gradient that the problem wants when that costs at most `flops` in the reference;
// otherwise rows of each as rows_to_check() chooses them, for about that cost together, and dscale only where
// that is all rows of dq.
kernels::GradientRows gradient_rows_to_check(const kernels::Problem& problem, double flops,
                                             std::uint64_t seed);

// By how much all rows together are too large: mean_error() of them, multiplied by |q| and |k| as above.
double mean_gradient_error(std::span<const double> actual, const ExpectedGradient& expected);

// The reference, which follows from the same o and lse that a kernel is given in host memory, and for every
// row what approximate instructions, another order of summation and the roundings of the dtype cost
// (gradient_comparison.cpp says how much), which grows with the size of what its exponents are sums of. Where
// the plain implementation needs more than half of that, all rows get as many times more.
std::vector<ExpectedGradient> expect_gradients(const kernels::Problem& problem,
                                               const kernels::BackwardArgs& args, kernels::GradientRows rows);

}  // namespace fcsa::runner
