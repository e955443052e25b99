// What the gradients are: the formula in fp64, and a plain implementation with a dtype's roundings that sets
// the tolerance. Both as they are usually written, not in the form that the kernels compute:
//   q^ = q / |q|   S = scale q^ k^ + bias   P = exp(S - lse)   dP = dout v   dS = P (dP - delta)   dv = P^T
//   dout dq^ = scale dS k^   dq = (dq^ - q^ (q^ . dq^)) / |q|   dk alike   dbias = dS   dscale = sum of dS
//   (q^ . k^)
#pragma once

#include <span>
#include <vector>

#include "kernels/reference/reference.h"

namespace fcsa::kernels {

// What the backward pass takes from the forward pass, per query row: [batch, heads, nq]. delta = dout . o.
struct RowSums {
  std::vector<double> lse, delta;
};

// Of the forward pass in fp64. `args` holds host pointers, here and below; all functions run on all cores.
RowSums exact_sums(const Traits& traits, const BackwardArgs& args);
// Of args.o and args.lse as they are, whatever they are: the backward pass is defined by them.
RowSums given_sums(const Traits& traits, const BackwardArgs& args);

// Rows of the gradients to compute. A row index has the head of the tensor: of the key/value head for dk and
// dv; the batch and the head of the bias for dbias.
struct GradientRows {
  std::vector<RowIndex> queries = {};  // of dq
  std::vector<RowIndex> keys = {};     // of dk and dv
  std::vector<RowIndex> bias = {};     // of dbias
  bool scale = false;  // dscale of every head: all query rows have to be in `queries`, in any order
};

// In the order of the rows asked for: dq, dk and dv are [rows, head_dim], dbias is [rows, nk], dscale
// [heads]. Rows that see no key, or that no query sees, are zero; so are dq and dk in groups whose norm is
// under eps.
struct Gradients {
  std::vector<double> dq, dk, dv, dbias, dscale;
  // Norms of the groups of q and k, [rows, groups]: 1 where they are not normalised, 0 where under eps.
  std::vector<double> query_norms, key_norms;
  // What the norm of a row of |q| dq, |k| dk, dv and dbias, and what |dscale|, would be were all terms of
  // their sums of typical size and at right angles to each other: the scale of what roundoff in the terms
  // does to the sum, however much of it cancels. 0 only for sums without terms.
  std::vector<double> dq_size, dk_size, dv_size, dbias_size, dscale_size;
  // Of what the exponents of those terms are sums (|scale| |q^| |k^|, |bias| and |lse|), the size, however
  // much of it cancels: its root mean square, weighted by the terms. Roundoff in P is in relation to it.
  std::vector<double> dq_exponent, dk_exponent, dv_exponent, dbias_exponent, dscale_exponent;
};

Gradients reference_gradients(const Traits& traits, const BackwardArgs& args, const RowSums& sums,
                              const GradientRows& rows);

// The same as an unfused implementation in the tensors' dtype gives them from args.o and args.lse: products
// accumulated in f32, with q^ and k^, P before its product with dout, dS before its products, dq^ and dk^
// before they are projected, and what is stored rounded to the dtype. (With TF32, the operands of products
// to that.) What it gets wrong is what a kernel may get wrong, twice over.
Gradients plain_gradients(const Traits& traits, const BackwardArgs& args, const GradientRows& rows);

}  // namespace fcsa::kernels
