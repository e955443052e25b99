// What rows of a problem should be, and how far an output is from that.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/reference/reference.h"
#include "runner/inputs.h"

namespace fcsa::runner {

// The worst row of an output, and where it is in the list of rows. Infinite when a row that sees no key isn't
// exactly 0 and -inf, or anything is NaN.
struct Worst {
  double error = 0;
  std::size_t row = 0;
};

// o: ||actual - reference|| / max(||reference||, rms row norm of the reference).
Worst worst_o(const kernels::RowResults& actual, const kernels::RowResults& reference);
// lse: |actual - reference| / max(1, |reference|).
Worst worst_lse(const kernels::RowResults& actual, const kernels::RowResults& reference);

// Rows with their fp64 results and what an implementation may be off by.
struct Expectation {
  std::vector<kernels::RowIndex> rows;
  kernels::RowResults reference;
  double o_tolerance = 0;
  double lse_tolerance = 0;
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

// The reference, and a tolerance of twice the error of the plain implementation on the same rows, but no less
// than what approximate instructions and another order of summation cost (comparison.cpp says how much).
Expectation expect_rows(const HostInputs& inputs, std::vector<kernels::RowIndex> rows);

// Half the spacing of numbers in [1, 2): of what products take as operands, for f32 that is TF32.
double unit_roundoff(kernels::DType dtype);

// Index into [batch, heads, nq] of an output row's place in lse.
inline std::size_t lse_index(const kernels::Problem& p, const kernels::RowIndex& row) {
  return (static_cast<std::size_t>(row.batch) * p.heads + row.head) * p.nq + row.row;
}

}  // namespace fcsa::runner
