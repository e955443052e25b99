// A problem: one attention operation of fixed shape, the unit that is tuned, verified and reported. Its
// fields are listed here and nowhere else: text, store, JSON, traits, arguments of kernels and the
// conversions from fcsa_problem and Attention follow from visit_problem(). Includes only what kernels
// include, so that emitted headers contain the same text.
#pragma once

#include "kernels/common/backward.h"
#include "kernels/common/visibility.h"

namespace fcsa::kernels {

enum class Op : int { forward, backward };
enum class Layout : int { bhnd, bnhd };  // order of batch, heads, rows, channels in memory

// A number that may be missing.
class OptionalFloat {
 public:
  constexpr OptionalFloat() = default;
  constexpr OptionalFloat(float value) : value_(value), stated_(true) {}  // NOLINT(*-explicit-*)

  constexpr explicit operator bool() const { return stated_; }
  constexpr bool has_value() const { return stated_; }
  constexpr float operator*() const { return value_; }
  constexpr float value_or(float other) const { return stated_ ? value_ : other; }
  constexpr void reset() { *this = OptionalFloat(); }
  constexpr bool operator==(const OptionalFloat&) const = default;

 private:
  float value_ = 0;
  bool stated_ = false;
};

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
  OptionalFloat logit_bound = {};  // promised by the caller
  Bias bias = Bias::none;
  int bias_batch = 0;  // batches of the bias: divides batch; 0: as many as batch
  int bias_heads = 0;  // heads of the bias: 1 or as many as heads; 0: as many as heads
  bool head_scale = false;
  bool bias_gradient = false;   // backward only: the gradient of the bias is wanted
  bool scale_gradient = false;  // backward only: the gradient of the scale, of each head, is wanted
  bool deterministic = false;   // backward only: the same bits from every run on the same device
  bool allow_tf32 = false;      // f32 only: products may be rounded to TF32 (10 bits of mantissa)

  constexpr bool operator==(const Problem&) const = default;
};

// How a field stands in the text of a problem. bare: "bf16". joined: "d64". named: "groups=4", a flag
// "causal"; left out at its default. stated: named, and always there.
enum class Form : int { bare, joined, named, stated };
// kind: problems that differ in it are of different classes. size: kernels take it at run time.
enum class Scope : int { kind, size };

// An alias, because nvcc writes a pointer to member in parentheses, of which g++ then warns.
template <typename Class, typename T>
using MemberOf = T Class::*;

template <typename T>
struct Field {
  const char* name;  // of the column, the member of JSON and of fcsa_problem
  const char* word;  // in the text; of a flag that is not at its default
  Form form;
  Scope scope = Scope::kind;
  MemberOf<Traits, T> trait = nullptr;           // where kernels have it at compile time
  MemberOf<BackwardArgs, T> argument = nullptr;  // and at run time
};

// visit(Field<T>, fields...) for every field, in the order of the text. The records are Problems, or any
// other structs with members of these names.
template <typename Visit, typename... Records>
constexpr void visit_problem(Visit&& visit, Records&... records) {
  constexpr Scope kSize = Scope::size, kKind = Scope::kind;
  using A = BackwardArgs;
  visit(Field<Op>{"op", "", Form::bare}, records.op...);
  visit(Field<DType>{"dtype", "", Form::bare, kKind, &Traits::dtype}, records.dtype...);
  visit(Field<int>{"head_dim", "d", Form::joined, kKind, &Traits::head_dim}, records.head_dim...);
  visit(Field<int>{"batch", "b", Form::joined, kSize, nullptr, &A::batch}, records.batch...);
  visit(Field<int>{"heads", "h", Form::joined, kSize, nullptr, &A::heads}, records.heads...);
  visit(Field<int>{"kv_heads", "kv", Form::joined, kSize, nullptr, &A::kv_heads}, records.kv_heads...);
  visit(Field<int>{"nq", "nq", Form::joined, kSize, nullptr, &A::nq}, records.nq...);
  visit(Field<int>{"nk", "nk", Form::joined, kSize, nullptr, &A::nk}, records.nk...);
  visit(Field<Layout>{"layout", "", Form::bare, kSize}, records.layout...);
  visit(Field<int>{"bias_batch", "bias_batch", Form::named, kSize}, records.bias_batch...);
  visit(Field<int>{"bias_heads", "bias_heads", Form::named, kSize}, records.bias_heads...);
  visit(Field<bool>{"causal", "causal", Form::named, kKind, &Traits::causal}, records.causal...);
  visit(Field<bool>{"key_mask", "mask", Form::named, kKind, &Traits::key_mask}, records.key_mask...);
  visit(Field<bool>{"l2norm_qk", "raw", Form::named, kKind, &Traits::l2norm_qk}, records.l2norm_qk...);
  visit(Field<int>{"groups", "groups", Form::named, kKind, &Traits::groups}, records.groups...);
  visit(Field<Bias>{"bias", "bias", Form::named, kKind, &Traits::bias}, records.bias...);
  visit(Field<bool>{"head_scale", "head_scale", Form::named, kKind, &Traits::head_scale},
        records.head_scale...);
  visit(Field<bool>{"bias_gradient", "dbias", Form::named, kKind, nullptr, &A::wants_dbias},
        records.bias_gradient...);
  visit(Field<bool>{"scale_gradient", "dscale", Form::named, kKind, nullptr, &A::wants_dscale},
        records.scale_gradient...);
  visit(Field<bool>{"deterministic", "deterministic", Form::named}, records.deterministic...);
  visit(Field<bool>{"allow_tf32", "tf32", Form::named, kKind, &Traits::tf32}, records.allow_tf32...);
  visit(Field<OptionalFloat>{"logit_bound", "bound", Form::named}, records.logit_bound...);
  visit(Field<float>{"scale", "scale", Form::stated, kKind, nullptr, &A::scale}, records.scale...);
}

// Largest magnitude of a logit under the fixed-bound variant.
constexpr float logit_bound(const Problem& p) {
  return p.logit_bound.value_or((p.scale < 0 ? -p.scale : p.scale) * static_cast<float>(p.groups));
}

// Limits of the fixed bound: beyond them P would leave the range of the dtype (bound_offset_log2).
constexpr float largest_bound(DType dtype) {
  return dtype == DType::f16 ? 10.0f : 43.0f;
}

// The variant that the host can choose before the launch: fixed when a bound is known (stated; or q and k are
// normalised, the scale is a host number and there is no bias) and small enough.
constexpr Softmax softmax_variant(const Problem& p) {
  const bool known = p.logit_bound.has_value() || (p.l2norm_qk && !p.head_scale && p.bias == Bias::none);
  return known && logit_bound(p) <= largest_bound(p.dtype) ? Softmax::fixed_bound : Softmax::running_maximum;
}

constexpr Traits traits_of(const Problem& problem) {
  Traits traits;
  visit_problem(
      [&](const auto& field, const auto& value) {
        if (field.trait != nullptr) traits.*field.trait = value;
      },
      problem);
  traits.softmax = softmax_variant(problem);
  return traits;
}

constexpr Visibility visibility_of(const Problem& problem) {
  return {problem.nq, problem.nk, problem.causal};
}

constexpr Strides dense_strides(Layout layout, int heads, int rows, int channels) {
  const long long h = heads, n = rows, d = channels;
  if (layout == Layout::bhnd) return {h * n * d, n * d, d};
  return {n * h * d, d, h * d};
}

// Sizes, dense strides for the layout, scale, bound and which gradients are wanted; every pointer null.
constexpr BackwardArgs shape_args(const Problem& p) {
  BackwardArgs args;
  visit_problem(
      [&](const auto& field, const auto& value) {
        if (field.argument != nullptr) args.*field.argument = value;
      },
      p);
  args.bound = logit_bound(p);
  args.bias_batch = p.bias_batch != 0 ? p.bias_batch : p.batch;
  args.bias_heads = p.bias_heads != 0 ? p.bias_heads : p.heads;
  args.key_mask_stride = p.nk;
  args.q_strides = args.o_strides = dense_strides(p.layout, p.heads, p.nq, p.head_dim);
  args.k_strides = args.v_strides = dense_strides(p.layout, p.kv_heads, p.nk, p.head_dim);
  args.bias_strides = dense_strides(Layout::bhnd, args.bias_heads, p.nq, p.nk);
  args.dout_strides = args.dq_strides = args.q_strides;
  args.dk_strides = args.dv_strides = args.k_strides;
  args.dbias_strides = args.bias_strides;
  return args;
}

}  // namespace fcsa::kernels
