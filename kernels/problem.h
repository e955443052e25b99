// A problem: one attention operation of fixed shape, the unit that is tuned, verified and reported.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "kernels/common/backward.h"

namespace fcsa::kernels {

enum class Op { forward, backward };
enum class Layout { bhnd, bnhd };  // order of batch, heads, rows, channels in memory

struct Problem {
  Op op = Op::forward;
  DType dtype = DType::f32;
  int head_dim = 64;
  int batch = 1;
  int heads = 1;
  int kv_heads = 1;
  int nq = 1;
  int nk = 1;
  bool causal = false;
  bool key_mask = false;
  Layout layout = Layout::bhnd;
  float scale = 8.0f;
  bool l2norm_qk = true;
  int groups = 1;
  std::optional<float>
      logit_bound;  // promised by the caller; otherwise scale * groups when q and k are normalised
  Bias bias = Bias::none;
  int bias_batch = 0;  // batches of the bias: divides batch; 0: as many as batch
  int bias_heads = 0;  // heads of the bias: 1 or as many as heads; 0: as many as heads
  bool head_scale = false;
  bool bias_gradient = false;   // backward only: the gradient of the bias is wanted
  bool scale_gradient = false;  // backward only: the gradient of the scale, of each head, is wanted
  bool deterministic = false;   // backward only: the same bits from every run on the same device
  bool allow_tf32 = false;      // f32 only: products may be rounded to TF32 (10 bits of mantissa)

  bool operator==(const Problem&) const = default;
};

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

// The variant that the host can choose before the launch: fixed when a bound is known (stated as logit_bound;
// or q and k are normalised, the scale is a host number and there is no bias) and is at most 43 (f32, bf16)
// or 10 (f16), beyond which P would leave the range of the dtype.
Softmax softmax_variant(const Problem& problem);
// Largest magnitude of a logit under the fixed-bound variant.
float logit_bound(const Problem& problem);

Traits traits_of(const Problem& problem);
// Sizes, dense strides for the layout, scale, bound and which gradients are wanted; every pointer null.
BackwardArgs shape_args(const Problem& problem);

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
