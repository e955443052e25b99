// What backward kernels and their callers agree on: the arguments of the forward pass, and the gradients.
// Apart from interface.h, so that forward kernels don't depend on it.
#pragma once

#include "kernels/common/interface.h"

namespace fcsa::kernels {

// Run-time arguments of every backward kernel; a forward kernel takes the part that is Args. o and lse are
// those that the forward pass wrote, in any of its variants. Gradients have the shapes and dtypes of what
// they are the gradients of, and are written, not added to. Alignment as in Args.
//   dout, dq  [batch, heads, nq, head_dim]      dk, dv  [batch, kv_heads, nk, head_dim]      through strides
struct BackwardArgs : Args {
  const void* dout = nullptr;
  void* dq = nullptr;
  void* dk = nullptr;
  void* dv = nullptr;
  void* dbias = nullptr;    // as the bias, summed over the batches and heads that share it
  float* dscale = nullptr;  // [heads], summed over batches and rows; of one scale for all heads: add them up
  Strides dout_strides, dq_strides, dk_strides, dv_strides, dbias_strides;
  bool wants_dbias = false, wants_dscale = false;  // known when launches are planned, before the pointers are
};

}  // namespace fcsa::kernels
