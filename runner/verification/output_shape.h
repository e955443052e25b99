// Outputs as they lie in memory, and the names of places in them.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kernels/reference/reference.h"
#include "runner/verification/inputs.h"

namespace fcsa::runner {

// Rows of one output, dense. dscale and lse have rows of one number, dscale one row per head.
struct OutputShape {
  Output output = Output::o;
  kernels::DType dtype = kernels::DType::f32;
  kernels::Layout layout = kernels::Layout::bhnd;
  int heads = 1, rows = 1, width = 1;

  std::size_t first_element(const kernels::RowIndex& row) const;
  kernels::RowIndex row_of(std::size_t element) const;
  std::string describe(const kernels::RowIndex& row) const;  // "batch 0 head 1 row 7"
  std::string describe(std::size_t element) const;           // "batch 0 head 1 row 7 channel 3"
  std::string column(std::size_t index) const;               // "channel 3"
};

OutputShape output_shape(const kernels::Problem& problem, Output output);

// Where the first element is that is infinite, NaN or still poisoned, and which of these; empty when all are
// numbers: "o was not written at batch 1 head 3 row 32 channel 0".
std::string not_finite(const OutputShape& shape, const std::vector<unsigned char>& data);

// Rows of an output as numbers, one after the other.
std::vector<double> gather_rows(const OutputShape& shape, const std::vector<unsigned char>& data,
                                const std::vector<kernels::RowIndex>& rows);

}  // namespace fcsa::runner
