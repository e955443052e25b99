#include "library/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <utility>

#include "library/failure.h"

namespace fcsa::library {
namespace {

using kernels::Bias;
using kernels::DType;
using kernels::Layout;
using kernels::Strides;

[[noreturn]] void refuse(const std::string& text) {
  throw Failure(FCSA_INVALID_ARGUMENT, text);
}

bool flag(const char* name, std::int32_t value) {
  if (value != 0 && value != 1) refuse(fmt::format("{} is {}: set it to 0 or 1", name, value));
  return value == 1;
}

DType dtype_of(std::int32_t dtype) {
  switch (dtype) {
    case FCSA_F32:
      return DType::f32;
    case FCSA_BF16:
      return DType::bf16;
    case FCSA_F16:
      return DType::f16;
    default:
      refuse(fmt::format("dtype is {}: set it to FCSA_F32, FCSA_BF16 or FCSA_F16", dtype));
  }
}

Bias bias_of(std::int32_t bias) {
  switch (bias) {
    case FCSA_NO_BIAS:
      return Bias::none;
    case FCSA_BIAS_F32:
      return Bias::f32;
    case FCSA_BIAS_DTYPE:
      return Bias::same;
    default:
      refuse(fmt::format("bias is {}: set it to FCSA_NO_BIAS, FCSA_BIAS_F32 or FCSA_BIAS_DTYPE", bias));
  }
}

Layout layout_of(std::int32_t layout) {
  if (layout != FCSA_BHND && layout != FCSA_BNHD)
    refuse(fmt::format("layout is {}: set it to FCSA_BHND or FCSA_BNHD", layout));
  return layout == FCSA_BHND ? Layout::bhnd : Layout::bnhd;
}

// One axis of a tensor.
struct Axis {
  const char* name;
  long long length;
  long long dense;  // its stride in a dense tensor
  std::int64_t given;
};

using Axes = std::array<Axis, 3>;

struct Lengths {
  int batch, heads, rows;
};

Axes axes_of(const fcsa_strides& given, const Strides& dense, const Lengths& lengths) {
  return {{{"batch", lengths.batch, dense.batch, given.batch},
           {"head", lengths.heads, dense.head, given.head},
           {"row", lengths.rows, dense.row, given.row}}};
}

// Dense where no stride is given. An axis of one has no neighbours: whatever it was given is replaced.
Strides resolved(Axes& axes) {
  const bool dense = std::all_of(axes.begin(), axes.end(), [](const Axis& axis) { return axis.given == 0; });
  for (Axis& axis : axes)
    if (dense || axis.length == 1) axis.given = axis.dense;
  return {axes[0].given, axes[1].given, axes[2].given};
}

// What the tensor memory accelerator of Hopper can address.
constexpr long long kMostStrideBytes = 1LL << 40;

// Of q, k, v and o.
Strides tensor_strides(const char* tensor, Axes axes, DType dtype) {
  const Strides strides = resolved(axes);
  const long long bytes = kernels::element_bytes(dtype);
  for (const Axis& axis : axes) {
    const auto wrong = [&](const std::string& why) {
      refuse(fmt::format("{}_strides.{} is {}: {}", tensor, axis.name, axis.given, why));
    };
    if (axis.given <= 0)
      wrong(fmt::format(
          "there are {} along that axis, so it must be positive (leave all three at 0 for a dense "
          "tensor; heads that share keys are what kv_heads is for)",
          axis.length));
    if (axis.given >= kMostStrideBytes / bytes) wrong("it must be below 2^40 bytes");
    if (axis.given * bytes % 16 != 0)
      wrong(fmt::format("it must be a multiple of {} elements, which are 16 bytes", 16 / bytes));
  }
  return strides;
}

void require_apart(Axes axes, const Strides& strides, int head_dim) {
  axes[0].given = strides.batch, axes[1].given = strides.head, axes[2].given = strides.row;
  std::sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) { return a.given < b.given; });
  double extent = head_dim;  // may be beyond any integer, and is exact where a stride can reach it
  for (const Axis& axis : axes) {
    if (axis.length == 1) continue;
    if (static_cast<double>(axis.given) < extent)
      refuse(fmt::format("o_strides.{} is {}: rows of o would overlap, since {} elements lie in between",
                         axis.name, axis.given, extent));
    extent += static_cast<double>(axis.given) * static_cast<double>(axis.length - 1);
  }
}

Strides bias_strides(const fcsa_problem& p, const kernels::Args& args) {
  Axes axes = axes_of(p.bias_strides, args.bias_strides, {args.bias_batch, args.bias_heads, args.nq});
  const Strides strides = resolved(axes);
  for (const Axis& axis : axes)
    if (axis.given < 0 || axis.given >= kMostStrideBytes)
      refuse(fmt::format("bias_strides.{} is {}: it must be from 0 to 2^40 - 1", axis.name, axis.given));
  return strides;
}

long long mask_stride(const fcsa_problem& p) {
  if (p.key_mask_batch != 0 && p.key_mask_batch != 1 && p.key_mask_batch != p.batch)
    refuse(fmt::format("key_mask_batch is {}: it must be 1, or as many as batch, which is {}",
                       p.key_mask_batch, p.batch));
  if (p.key_mask_stride < 0 || p.key_mask_stride >= kMostStrideBytes)
    refuse(fmt::format("key_mask_stride is {}: it must be from 0 to 2^40 - 1", p.key_mask_stride));
  if (p.key_mask_batch == 1) return 0;
  return p.key_mask_stride != 0 ? p.key_mask_stride : p.nk;
}

void check_choices(const fcsa_problem& p) {
  if (p.op == FCSA_BACKWARD)
    throw Failure(FCSA_UNSUPPORTED, "op is FCSA_BACKWARD: there is no backward pass yet");
  if (p.op != FCSA_FORWARD) refuse(fmt::format("op is {}: set it to FCSA_FORWARD", p.op));
  if (p.device != FCSA_CPU && p.device != FCSA_CUDA)
    refuse(fmt::format("device is {}: set it to FCSA_CPU or FCSA_CUDA", p.device));
  if (p.head_dim > 0 && (p.head_dim > 256 || p.head_dim % 16 != 0))
    throw Failure(FCSA_UNSUPPORTED,
                  fmt::format("head_dim is {}: kernels serve multiples of 16 from 16 to 256", p.head_dim));
  if (!(std::isfinite(p.logit_bound) && p.logit_bound >= 0))
    refuse(fmt::format("logit_bound is {}: it must be 0 (no promise) or positive", p.logit_bound));
  if (!(std::isfinite(p.eps) && p.eps >= 0))
    refuse(fmt::format("eps is {}: it must be finite and not negative", p.eps));
}

kernels::Problem problem_of(const fcsa_problem& p) {
  kernels::Problem problem;
  problem.dtype = dtype_of(p.dtype);
  problem.head_dim = p.head_dim;
  problem.batch = p.batch;
  problem.heads = p.heads;
  problem.kv_heads = p.kv_heads != 0 ? p.kv_heads : p.heads;
  problem.nq = p.nq;
  problem.nk = p.nk;
  problem.causal = flag("causal", p.causal);
  problem.key_mask = flag("key_mask", p.key_mask);
  problem.layout = layout_of(p.layout);
  problem.l2norm_qk = flag("l2norm_qk", p.l2norm_qk);
  problem.groups = p.groups;
  problem.bias = bias_of(p.bias);
  // As the tuner writes it where the bias is not broadcast.
  problem.bias_batch = p.bias_batch == p.batch && problem.bias != Bias::none ? 0 : p.bias_batch;
  problem.bias_heads = p.bias_heads == p.heads && problem.bias != Bias::none ? 0 : p.bias_heads;
  problem.head_scale = flag("head_scale", p.head_scale);
  problem.allow_tf32 = flag("allow_tf32", p.allow_tf32) && problem.dtype == DType::f32;
  if (!problem.head_scale) problem.scale = p.scale;
  if (p.logit_bound > 0) problem.logit_bound = p.logit_bound;
  return problem;
}

kernels::BackwardArgs args_of(const fcsa_problem& p, const kernels::Problem& problem) {
  kernels::BackwardArgs args = kernels::shape_args(problem);
  const Lengths queries{p.batch, p.heads, p.nq}, keys{p.batch, problem.kv_heads, p.nk};
  const Axes q = axes_of(p.q_strides, args.q_strides, queries),
             k = axes_of(p.k_strides, args.k_strides, keys), v = axes_of(p.v_strides, args.v_strides, keys),
             o = axes_of(p.o_strides, args.o_strides, queries);
  args.q_strides = tensor_strides("q", q, problem.dtype);
  args.k_strides = tensor_strides("k", k, problem.dtype);
  args.v_strides = tensor_strides("v", v, problem.dtype);
  args.o_strides = tensor_strides("o", o, problem.dtype);
  require_apart(o, args.o_strides, p.head_dim);
  args.bias_strides = bias_strides(p, args);
  args.key_mask_stride = mask_stride(p);
  args.eps = p.eps;
  return args;
}

// Of the tensor that is given by strides, for the nearest tuned problem.
Layout nearest_layout(const kernels::Problem& problem, const Strides& strides) {
  if (problem.heads == 1 || problem.nq == 1) return problem.layout;
  return strides.head < strides.row ? Layout::bnhd : Layout::bhnd;
}

void check_pointer(const char* name, const void* pointer, std::size_t alignment) {
  if (pointer == nullptr) refuse(fmt::format("{} is null", name));
  if (reinterpret_cast<std::uintptr_t>(pointer) % alignment != 0)
    refuse(fmt::format("{} is not aligned to {} bytes", name, alignment));
}

// A tensor that is there exactly when the problem says so.
void check_optional(const char* name, const void* pointer, bool wanted, std::size_t alignment) {
  if (wanted) return check_pointer(name, pointer, alignment);
  if (pointer != nullptr)
    refuse(
        fmt::format("{} is given, but the plan was made for a problem without it: set {} in fcsa_problem, or "
                    "leave the pointer null",
                    name, name));
}

}  // namespace

void check_size(const char* name, std::size_t stated, std::size_t known) {
  if (stated == known) return;
  if (stated == 0) refuse(fmt::format("{}.size is 0: start from its _INIT macro, which sets it", name));
  refuse(fmt::format(
      "{}.size is {}: fcsa {} knows {}; start from its _INIT macro, and compile with the fcsa.h of "
      "the library that is linked",
      name, stated, FCSA_VERSION, known));
}

Request request_of(const fcsa_problem& p) {
  check_size("fcsa_problem", p.size, sizeof(p));
  check_choices(p);
  Request request;
  request.problem = problem_of(p);
  try {
    kernels::validate(request.problem);
  } catch (const std::invalid_argument& error) {
    refuse(error.what());
  }
  request.args = args_of(p, request.problem);
  request.problem.layout = nearest_layout(request.problem, request.args.q_strides);
  request.writes_lse = flag("lse", p.lse);
  return request;
}

kernels::BackwardArgs place(const Request& request, const fcsa_tensors& t, std::size_t workspace_bytes) {
  check_size("fcsa_tensors", t.size, sizeof(t));
  const kernels::Problem& problem = request.problem;
  for (const auto& [name, pointer] :
       {std::pair<const char*, const void*>{"q", t.q}, {"k", t.k}, {"v", t.v}, {"o", t.o}})
    check_pointer(name, pointer, 16);
  const bool wide_bias = problem.bias == Bias::f32 || problem.dtype == DType::f32;
  check_optional("lse", t.lse, request.writes_lse, sizeof(float));
  check_optional("key_mask", t.key_mask, problem.key_mask, 1);
  check_optional("bias", t.bias, problem.bias != Bias::none, wide_bias ? 4 : 2);
  check_optional("head_scale", t.head_scale, problem.head_scale, sizeof(float));
  if (t.workspace_bytes < workspace_bytes)
    refuse(fmt::format("workspace_bytes is {}: this plan needs {}, as fcsa_workspace_bytes says",
                       t.workspace_bytes, workspace_bytes));
  if (workspace_bytes != 0) check_pointer("workspace", t.workspace, 256);

  kernels::BackwardArgs args = request.args;
  args.q = t.q;
  args.k = t.k;
  args.v = t.v;
  args.o = t.o;
  args.lse = t.lse;
  args.key_mask = t.key_mask;
  args.bias = t.bias;
  args.head_scale = t.head_scale;
  args.workspace = t.workspace;
  return args;
}

}  // namespace fcsa::library
