#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>

namespace detail {

using fcsa::kernels::Args;
using fcsa::kernels::BackwardArgs;
using fcsa::kernels::Bias;
using fcsa::kernels::LaunchPlan;
using fcsa::kernels::Problem;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
inline Status
failure(Code code, const char* format, ...) {
  Status status;
  status.code = code;
  va_list values;
  va_start(values, format);
  std::vsnprintf(status.text, sizeof(status.text), format, values);
  va_end(values);
  return status;
}

inline const char* name_of(DType dtype) {
  return dtype == DType::f32 ? "f32" : dtype == DType::bf16 ? "bf16" : "f16";
}

// What the pointers of an Attention say, as fields.
inline Problem problem_of(const Attention& a, Op op) {
  const bool backward = op == Op::backward;
  Problem p;
  p.op = op;
  p.dtype = a.dtype;
  p.head_dim = a.head_dim;
  p.batch = a.batch;
  p.heads = a.heads;
  p.kv_heads = a.kv_heads;
  p.nq = a.nq;
  p.nk = a.nk;
  p.layout = a.layout;
  p.causal = a.causal;
  p.key_mask = a.key_mask != nullptr;
  p.l2norm_qk = a.l2norm_qk;
  p.groups = a.groups;
  if (a.bias != nullptr) {
    p.bias = a.bias_dtype == a.dtype ? Bias::same : Bias::f32;
    p.bias_batch = a.bias_batch;
    p.bias_heads = a.bias_heads;
  }
  p.head_scale = a.head_scale != nullptr;
  p.bias_gradient = backward && a.dbias != nullptr;
  p.scale_gradient = backward && a.dscale != nullptr;
  p.deterministic = backward && a.deterministic;
  p.allow_tf32 = a.allow_tf32 && a.dtype == DType::f32;
  if (a.logit_bound > 0) p.logit_bound = a.logit_bound;
  p.scale = a.scale;
  return p;
}

inline void take_stated(Strides& dense, const Strides& stated) {
  if (stated.batch != 0 || stated.head != 0 || stated.row != 0) dense = stated;
}

inline BackwardArgs args_of(const Attention& a, Op op) {
  BackwardArgs args = fcsa::kernels::shape_args(problem_of(a, op));
  args.q = a.q;
  args.k = a.k;
  args.v = a.v;
  args.o = a.o;
  args.lse = a.lse;
  args.key_mask = a.key_mask;
  args.bias = a.bias;
  args.head_scale = a.head_scale;
  args.dout = a.dout;
  args.dq = a.dq;
  args.dk = a.dk;
  args.dv = a.dv;
  args.dbias = a.dbias;
  args.dscale = a.dscale;
  args.eps = a.eps;
  if (a.key_mask_stride >= 0) args.key_mask_stride = a.key_mask_stride;
  take_stated(args.q_strides, a.q_strides);
  take_stated(args.k_strides, a.k_strides);
  take_stated(args.v_strides, a.v_strides);
  take_stated(args.o_strides, a.o_strides);
  take_stated(args.bias_strides, a.bias_strides);
  take_stated(args.dout_strides, a.dout_strides);
  take_stated(args.dq_strides, a.dq_strides);
  take_stated(args.dk_strides, a.dk_strides);
  take_stated(args.dv_strides, a.dv_strides);
  take_stated(args.dbias_strides, a.dbias_strides);
  return args;
}

inline Status check_bias(const Attention& a, Op op) {
  if (a.bias == nullptr && a.dbias != nullptr && op == Op::backward)
    return failure(Code::invalid_argument, "dbias is the gradient of a bias, and bias is null");
  if (a.bias == nullptr) return {};
  if (a.bias_dtype != DType::f32 && a.bias_dtype != a.dtype)
    return failure(Code::invalid_argument, "bias_dtype is %s: it must be f32 or dtype, which is %s",
                   name_of(a.bias_dtype), name_of(a.dtype));
  if (a.bias_batch < 0 || (a.bias_batch > 0 && a.batch % a.bias_batch != 0))
    return failure(Code::invalid_argument, "bias_batch is %d: it must divide batch, which is %d",
                   a.bias_batch, a.batch);
  if (a.bias_heads != 0 && a.bias_heads != 1 && a.bias_heads != a.heads)
    return failure(Code::invalid_argument, "bias_heads is %d: it must be 1 or heads, which is %d",
                   a.bias_heads, a.heads);
  return {};
}

inline Status check_sizes(const Attention& a, Op op) {
  const struct {
    const char* name;
    int value, least;
  } sizes[] = {{"batch", a.batch, 0},  {"heads", a.heads, 1}, {"kv_heads", a.kv_heads, 1},
               {"nq", a.nq, 0},        {"nk", a.nk, 0},       {"head_dim", a.head_dim, 1},
               {"groups", a.groups, 1}};
  for (const auto& size : sizes) {
    if (size.value < size.least)
      return failure(Code::invalid_argument, "%s is %d: it must be at least %d", size.name, size.value,
                     size.least);
  }
  if (a.heads % a.kv_heads != 0)
    return failure(Code::invalid_argument,
                   "heads is %d and kv_heads %d: heads must be a multiple of kv_heads", a.heads, a.kv_heads);
  const long long heads = 1LL * a.batch * a.heads;
  if (heads > fcsa::kernels::kMostHeads)
    return failure(Code::invalid_argument, "batch x heads is %lld: at most %lld fit a launch", heads,
                   fcsa::kernels::kMostHeads);
  for (const int length : {a.nq, a.nk})
    if (heads * length > fcsa::kernels::kMostRows)
      return failure(Code::invalid_argument, "batch x heads x %s is %lld: at most %lld rows fit a launch",
                     length == a.nq ? "nq" : "nk", heads * length, fcsa::kernels::kMostRows);
  if (!std::isfinite(a.scale))
    return failure(Code::invalid_argument, "scale is %g: it must be finite", static_cast<double>(a.scale));
  if (!std::isfinite(a.logit_bound))
    return failure(Code::invalid_argument, "logit_bound is %g: it must be finite",
                   static_cast<double>(a.logit_bound));
  return check_bias(a, op);
}

// What a kernel is chosen for: where there is nothing to compute, that for one row and key.
inline Attention at_least_one(Attention a) {
  a.batch = a.batch < 1 ? 1 : a.batch;
  a.nq = a.nq < 1 ? 1 : a.nq;
  a.nk = a.nk < 1 ? 1 : a.nk;
  return a;
}

inline Status check_tensor(const char* name, const void* data, const Strides& strides, DType dtype) {
  if (data == nullptr) return failure(Code::invalid_argument, "%s is null", name);
  if (reinterpret_cast<std::uintptr_t>(data) % 16 != 0)
    return failure(Code::invalid_argument, "%s is not aligned to 16 bytes", name);
  const long long unit = 16 / fcsa::kernels::element_bytes(dtype);
  if (strides.batch % unit != 0 || strides.head % unit != 0 || strides.row % unit != 0)
    return failure(
        Code::invalid_argument,
        "%s has strides %lld, %lld, %lld elements (batch, head, row): each must be a multiple of %lld, "
        "which is 16 bytes",
        name, strides.batch, strides.head, strides.row, unit);
  return {};
}

inline Status check_aligned(const char* name, const void* data, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(data) % bytes == 0) return {};
  return failure(Code::invalid_argument, "%s is not aligned to its elements", name);
}

inline Status check_tensors(const Attention& a, Op op, const BackwardArgs& args) {
  const bool backward = op == Op::backward;
  const struct {
    const char* name;
    const void* data;
    const Strides& strides;
    int rows;
  } tensors[] = {{"q", args.q, args.q_strides, a.nq},          {"k", args.k, args.k_strides, a.nk},
                 {"v", args.v, args.v_strides, a.nk},          {"o", args.o, args.o_strides, a.nq},
                 {"dout", args.dout, args.dout_strides, a.nq}, {"dq", args.dq, args.dq_strides, a.nq},
                 {"dk", args.dk, args.dk_strides, a.nk},       {"dv", args.dv, args.dv_strides, a.nk}};
  Status status;
  // One without elements may be null.
  for (int i = 0; i < (backward ? 8 : 4) && status.ok(); ++i)
    if (a.batch > 0 && tensors[i].rows > 0)
      status = check_tensor(tensors[i].name, tensors[i].data, tensors[i].strides, a.dtype);
  const auto check = [&](const char* name, const void* data, std::size_t bytes) {
    if (status.ok()) status = check_aligned(name, data, bytes);
  };
  const std::size_t bias_bytes = static_cast<std::size_t>(fcsa::kernels::element_bytes(a.bias_dtype));
  check("bias", a.bias, bias_bytes);
  check("head_scale", a.head_scale, sizeof(float));
  if (!status.ok() || !backward) return status;
  check("dbias", a.dbias, bias_bytes);
  check("dscale", a.dscale, sizeof(float));
  if (status.ok() && a.lse == nullptr && a.batch > 0 && a.nq > 0)
    return failure(Code::invalid_argument, "lse is null: backward reads what forward wrote there");
  return status;
}

inline std::size_t round_up_256(long long bytes) {
  return (static_cast<std::size_t>(bytes) + 255) / 256 * 256;
}

// The kernels' own workspace, then lse when the caller of forward() has no use for it.
inline std::size_t workspace_of(const Attention& a, Op op, const LaunchPlan& plan) {
  if (a.lse != nullptr || op == Op::backward) return static_cast<std::size_t>(plan.workspace_bytes);
  return round_up_256(plan.workspace_bytes) + sizeof(float) * a.batch * a.heads * a.nq;
}

inline Status place_workspace(const Attention& a, Op op, const LaunchPlan& plan, void* workspace,
                              BackwardArgs& args) {
  const std::size_t bytes = workspace_of(a, op, plan);
  if (bytes == 0) return {};
  if (workspace == nullptr)
    return failure(Code::invalid_argument, "workspace is null: this problem needs %zu bytes%s", bytes,
                   a.lse == nullptr ? " (less when lse is given)" : "");
  if (reinterpret_cast<std::uintptr_t>(workspace) % 256 != 0)
    return failure(Code::invalid_argument, "workspace is not aligned to 256 bytes");
  args.workspace = workspace;
  if (a.lse == nullptr && op == Op::forward)
    args.lse =
        reinterpret_cast<float*>(static_cast<unsigned char*>(workspace) + round_up_256(plan.workspace_bytes));
  return {};
}

}  // namespace detail
