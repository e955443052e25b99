// Strides as the caller states them, checked.
#pragma once

#include "kernels/problem.h"
#include "library/fcsa.h"

namespace fcsa::library {

// Batch, heads and rows have strides; the elements of a row are contiguous.
struct Lengths {
  int batch, heads, rows, row_elements;
};

struct StatedTensor {
  const char* name;  // "q", of the field q_strides
  Lengths lengths;
  fcsa_strides given;
  kernels::Strides dense;  // what it has where all that is given is zero
};

// No stride may be so long: what the tensor memory accelerator of Hopper can address, in bytes.
constexpr long long kMostStride = 1LL << 40;

// The strides of a tensor; an axis of one has no neighbours, and whatever was given for it is replaced. All
// throw Failure that names the field, its value, and what is allowed.
//   of q, k, v and dout: positive multiples of 16 bytes; between batches also 0, all of which read the same
kernels::Strides input_strides(const StatedTensor& tensor, kernels::DType dtype);
//   of o, dq, dk and dv: the same, and rows lie apart
kernels::Strides output_strides(const StatedTensor& tensor, kernels::DType dtype);
//   of the bias: any
kernels::Strides bias_strides(const StatedTensor& tensor);
//   of its gradient: positive, and rows lie apart
kernels::Strides bias_gradient_strides(const StatedTensor& tensor);

}  // namespace fcsa::library
