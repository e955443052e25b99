// What the host knows of a problem (kernels/common/problem.h) beyond its fields: text, checks, figures.
#pragma once

#include <string>
#include <string_view>

#include "kernels/common/problem.h"

namespace fcsa::kernels {

// Throws std::invalid_argument naming the field, its value and what is allowed. `least`: of batch, nq and nk;
// 0 where a problem without anything to compute is one too.
void validate(const Problem& problem, int least = 1);

// Stable text form, the key in the store, defaults of the optional fields left out:
//   "forward f32 d64 b4 h32 kv32 nq1024 nk1024 bhnd causal mask scale=8"
std::string to_text(const Problem& problem);
Problem problem_from_text(std::string_view text);  // throws std::invalid_argument

// The problem without its run-time sizes (batch, heads, kv_heads, nq, nk, layout, sizes of the bias), as
// text: problems with the same class share kernels, and a dispatch table chooses within a class.  "forward
// f32 d64 causal mask scale=8"
std::string class_text(const Problem& problem);

// Of the operation, not of an implementation. Forward 4*B*H*Nq*Nk*D, counting visible pairs only when causal;
// backward 2.5 times that.
double flops(const Problem& problem);
// Compulsory traffic: every input read once, every output written once.
double bytes(const Problem& problem);

std::string_view to_text(Op op);
std::string_view to_text(DType dtype);
std::string_view to_text(Layout layout);
std::string_view to_text(Bias bias);  // none, f32, same
// Throw std::invalid_argument with the accepted values.
Op op_from_text(std::string_view text);        // fwd, forward, bwd, backward
DType dtype_from_text(std::string_view text);  // f32, fp32, float32, bf16, bfloat16, f16, fp16, float16, half
Layout layout_from_text(std::string_view text);  // bhnd, bnhd
Bias bias_from_text(std::string_view text);      // none, f32, same

}  // namespace fcsa::kernels
