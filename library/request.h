// A problem and its tensors as the caller states them, checked, in the terms of the kernels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/common/sizes.h"
#include "kernels/problem.h"
#include "library/fcsa.h"

namespace fcsa::library {

struct Request {
  kernels::Problem problem;
  kernels::BackwardArgs args;  // every pointer null
  bool writes_lse = false;     // forward: for the caller
  bool omits_dq = false, omits_dk = false, omits_dv = false;
  bool reads_lengths = false;  // key_lengths: the mask of the problem is to be written from them

  // Nothing to compute, and little to write.
  bool is_empty() const { return kernels::is_empty(args); }
  // What a kernel is chosen and compiled for: where that is so, one for a row and a key.
  kernels::Problem kernel_problem() const {
    kernels::Problem one = problem;
    for (int* size : {&one.batch, &one.nq, &one.nk}) *size = std::max(*size, 1);
    return one;
  }
};

// The caller's struct, its missing last fields as the _INIT macro has them. Throws Failure unless its size is
// one that this library knows.
fcsa_problem whole(const fcsa_problem& problem);

// Throws Failure that names the field, its value, and what is allowed.
Request request_of(const fcsa_problem& problem);

// The request's arguments with the caller's pointers, those of gradients where it is about them; a forward
// pass that writes no lse has none, nor one that reads lengths a mask, nor has what is omitted a gradient.
// Throws Failure that names the pointer.
kernels::BackwardArgs place(const Request& request, const fcsa_tensors& tensors, std::size_t workspace_bytes);
// Null: there are none.
const std::int32_t* key_lengths_of(const fcsa_tensors& tensors);

// Throws Failure unless the size that a struct states is the one that this library knows, or the earlier one.
void check_size(const char* name, std::size_t stated, std::size_t known, std::size_t earlier);

}  // namespace fcsa::library
