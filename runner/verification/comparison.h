// What rows of a problem should be, and how far an output is from that.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kernels/reference/reference.h"
#include "runner/verification/inputs.h"

namespace fcsa::runner {

// The row of an output that takes up the largest part of what it may be off by, and where it is in the list
// of rows. Infinite when a row that sees no key isn't exactly 0 and -inf, or anything is NaN.
struct Worst {
  double error = 0;
  std::size_t row = 0;
  double tolerance = 1;

  double share() const { return error / tolerance; }
  bool ok() const { return error <= tolerance; }
};

// The largest error(row) / tolerances[row]; without tolerances the largest error.
template <typename Error>
Worst worst_of(std::size_t rows, std::span<const double> tolerances, const Error& error);

// What rows of an output may be off by, and all of them together.
struct Tolerance {
  std::vector<double> rows;
  double mean = 0;  // of the mean error, relative to the output: 0 when that has no bound
};

// o: ||actual - reference|| / max(||reference||, rms row norm of the reference).
Worst worst_o(const kernels::RowResults& actual, const kernels::RowResults& reference,
              std::span<const double> tolerances = {});
// lse: |actual - reference| / max(1, |reference|).
Worst worst_lse(const kernels::RowResults& actual, const kernels::RowResults& reference,
                std::span<const double> tolerances = {});

// How much too large numbers are that should be `expected`, on average: the sum of (actual - expected) times
// expected over that of the squares of what is expected. Rounding to nearest errs on both sides; what is cut
// off instead is missing everywhere.
double mean_error(std::span<const double> actual, std::span<const double> expected);
// What mean_error() may be for numbers that were rounded to 16 bits, when those of the plain implementation
// are `plain`: a quarter of the unit of roundoff (truncation takes two thirds of it), and what chance makes
// of the errors of so many rows. 0, no bound, where they are few, or few of them are nearly all there is.
double mean_tolerance(const kernels::Problem& problem, std::size_t rows, std::span<const double> plain,
                      std::span<const double> expected);

// Rows with their fp64 results and what an implementation may be off by.
struct Expectation {
  std::vector<kernels::RowIndex> rows;
  kernels::RowResults reference;
  Tolerance o, lse;
};

// Rows of a tensor, and what one costs in the reference.
struct RowSpace {
  int batch = 1, heads = 1, rows = 1;
  double flops_per_row = 1;

  double flops() const { return flops_per_row * rows * heads * batch; }
};

// All rows when that costs at most `flops`; otherwise the first and last row of every head, rows on both
// sides of tile boundaries, and random ones, for about that cost.
std::vector<kernels::RowIndex> rows_to_check(const RowSpace& space, double flops, std::uint64_t seed);
// Of o.
std::vector<kernels::RowIndex> rows_to_check(const kernels::Problem& problem, double flops,
                                             std::uint64_t seed);

// The reference, and for every row what approximate instructions, another order of summation and the
// roundings of the dtype cost (comparison.cpp says how much), which grows with the size of what its logits
// are sums of. Where the plain implementation needs more than half of that (o of 16 bits: five sevenths), all
// rows get as many times more.
Expectation expect_rows(const HostInputs& inputs, std::vector<kernels::RowIndex> rows);
// `allowed` times what the plain implementation needs of `floors`, or those.
inline constexpr double kTwice = 2;
std::vector<double> raised(std::vector<double> floors, const Worst& plain, double allowed = kTwice);

// Half the spacing of numbers in [1, 2): of what products take as operands, for f32 that is TF32.
double unit_roundoff(kernels::DType dtype);

template <typename Error>
Worst worst_of(std::size_t rows, std::span<const double> tolerances, const Error& error) {
  Worst worst;
  if (!tolerances.empty()) worst.tolerance = tolerances.front();
  for (std::size_t i = 0; i < rows; ++i) {
    const Worst found{error(i), i, tolerances.empty() ? 1.0 : tolerances[i]};
    if (found.share() <= worst.share()) continue;
    worst = found;
    if (std::isfinite(found.error)) continue;
    worst.error = std::numeric_limits<double>::infinity();  // NaN too
    break;
  }
  return worst;
}

// Index into [batch, heads, nq] of an output row's place in lse.
inline std::size_t lse_index(const kernels::Problem& p, const kernels::RowIndex& row) {
  return (static_cast<std::size_t>(row.batch) * p.heads + row.head) * p.nq + row.row;
}

}  // namespace fcsa::runner
