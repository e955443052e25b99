// What the answer is: the formula in fp64, and a plain implementation with a dtype's roundings that sets the
// tolerance.
#pragma once

#include <span>
#include <vector>

#include "kernels/problem.h"

namespace fcsa::kernels {

struct RowIndex {
  int batch = 0, head = 0, row = 0;
};

// Output rows, in the order asked for: o is [rows, head_dim], lse is [rows].
struct RowResults {
  std::vector<double> o;
  std::vector<double> lse;
  // [rows]: the mean, weighted by P, of |scale| |q^| |k^| and |bias|, the size of what a logit is the sum of,
  // however much of it cancels: roundoff in logits is in relation to it.
  std::vector<double> logit_size = {}, product_size = {};  // with the bias, and without it
  // [rows]: how far o moves when chance changes each product scale q^ k^ by as much as it is the size of; the
  // same where that of one key alone is changed, the most of any; and when it changes each P.
  std::vector<double> product_effect = {}, one_product_effect = {}, weight_effect = {};
};

// Rows of O = softmax(scale * l2norm(q) l2norm(k)^T + bias) V over the visible keys, in fp64, and lse. A row
// that sees no key gives 0 and -inf. `args` holds host pointers; memory O(nk) per thread; runs on all cores,
// or on at most `threads` threads where that is not 0.
RowResults reference_rows(const Traits& traits, const Args& args, std::span<const RowIndex> rows,
                          std::size_t threads = 0);

// The same rows as an unfused implementation in the tensors' dtype would give them: normalised q and k, P and
// O rounded to the dtype, products accumulated in f32. What it gets wrong is what a kernel may get wrong,
// twice over.
RowResults plain_rows(const Traits& traits, const Args& args, std::span<const RowIndex> rows);

// Stored element to float and back (round to nearest even).
float load_element(DType dtype, const void* data, long long index);
void store_element(DType dtype, void* data, long long index, float value);

}  // namespace fcsa::kernels
