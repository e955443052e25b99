#include "library/request.h"

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "library/failure.h"
#include "library/strides.h"

namespace fcsa::library {
namespace {

using kernels::Bias;
using kernels::DType;
using kernels::Layout;
using kernels::Op;
using kernels::Strides;

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

// Of a struct that ends where it did before fields were added.
constexpr std::size_t kEarlierProblem = offsetof(fcsa_problem, key_lengths);
constexpr std::int32_t kAllGradients = FCSA_DQ | FCSA_DK | FCSA_DV;
// Rows of a mask that is written from lengths begin at multiples of this many bytes.
constexpr int kMaskAlignment = 16;

long long mask_stride(const fcsa_problem& p) {
  if (p.key_mask_batch != 0 && p.key_mask_batch != 1 && p.key_mask_batch != p.batch)
    refuse(fmt::format("key_mask_batch is {}: it must be 1, or as many as batch, which is {}",
                       p.key_mask_batch, p.batch));
  if (p.key_mask_stride < 0 || p.key_mask_stride >= kMostStride)
    refuse(fmt::format("key_mask_stride is {}: it must be from 0 to 2^40 - 1", p.key_mask_stride));
  if (p.key_lengths == 1) return kernels::ceil_div(p.nk, kMaskAlignment) * kMaskAlignment;
  if (p.key_mask_batch == 1) return 0;
  return p.key_mask_stride != 0 ? p.key_mask_stride : p.nk;
}

void check_choices(const fcsa_problem& p) {
  if (p.op != FCSA_FORWARD && p.op != FCSA_BACKWARD)
    refuse(fmt::format("op is {}: set it to FCSA_FORWARD or FCSA_BACKWARD", p.op));
  if (p.device != FCSA_CPU && p.device != FCSA_CUDA)
    refuse(fmt::format("device is {}: set it to FCSA_CPU or FCSA_CUDA", p.device));
  if (p.head_dim > 0 && (p.head_dim > 256 || p.head_dim % 16 != 0))
    throw Failure(FCSA_UNSUPPORTED,
                  fmt::format("head_dim is {}: kernels serve multiples of 16 from 16 to 256", p.head_dim));
  if (!(std::isfinite(p.logit_bound) && p.logit_bound >= 0))
    refuse(fmt::format("logit_bound is {}: it must be 0 (no promise) or positive", p.logit_bound));
  if (!(std::isfinite(p.eps) && p.eps >= 0))
    refuse(fmt::format("eps is {}: it must be finite and not negative", p.eps));
  if (p.reserved != 0) refuse(fmt::format("reserved is {}: leave it at 0", p.reserved));
  if (flag("key_lengths", p.key_lengths) && p.key_mask == 1)
    refuse("key_lengths and key_mask are both 1: one of the two says which keys are visible");
}

void check_gradients(const fcsa_problem& p) {
  const std::pair<const char*, bool> wanted[] = {{"bias_gradient", flag("bias_gradient", p.bias_gradient)},
                                                 {"scale_gradient", flag("scale_gradient", p.scale_gradient)},
                                                 {"deterministic", flag("deterministic", p.deterministic)}};
  const std::pair<const char*, const fcsa_strides*> strides[] = {{"dout_strides", &p.dout_strides},
                                                                 {"dq_strides", &p.dq_strides},
                                                                 {"dk_strides", &p.dk_strides},
                                                                 {"dv_strides", &p.dv_strides},
                                                                 {"dbias_strides", &p.dbias_strides}};
  if (p.omitted_gradients < 0 || p.omitted_gradients > kAllGradients)
    refuse(fmt::format("omitted_gradients is {}: add up FCSA_DQ, FCSA_DK and FCSA_DV, or leave it at 0",
                       p.omitted_gradients));
  if (p.op == FCSA_BACKWARD) {
    if (p.omitted_gradients == kAllGradients && p.bias_gradient == 0 && p.scale_gradient == 0)
      refuse("omitted_gradients leaves nothing to compute: set bias_gradient or scale_gradient, or want one");
    if (p.bias_gradient == 1 && p.bias == FCSA_NO_BIAS)
      refuse("bias_gradient is 1, and there is no bias: set bias, or leave it at 0");
    return;
  }
  const auto wrong = [](const char* field) {
    refuse(fmt::format("{} is set, and op is FCSA_FORWARD: it is for FCSA_BACKWARD", field));
  };
  if (p.omitted_gradients != 0) wrong("omitted_gradients");
  for (const auto& [field, is_set] : wanted)
    if (is_set) wrong(field);
  for (const auto& [field, given] : strides)
    if (given->batch != 0 || given->head != 0 || given->row != 0) wrong(field);
}

// Fields of fcsa_problem in the terms of the kernels.
struct Conversion {
  void operator()(const kernels::Field<Op>&, Op& to, std::int32_t from) const {
    to = from == FCSA_BACKWARD ? Op::backward : Op::forward;
  }
  void operator()(const kernels::Field<DType>&, DType& to, std::int32_t from) const { to = dtype_of(from); }
  void operator()(const kernels::Field<Layout>&, Layout& to, std::int32_t from) const {
    to = layout_of(from);
  }
  void operator()(const kernels::Field<Bias>&, Bias& to, std::int32_t from) const { to = bias_of(from); }
  void operator()(const kernels::Field<bool>& field, bool& to, std::int32_t from) const {
    to = flag(field.name, from);
  }
  void operator()(const kernels::Field<int>&, int& to, std::int32_t from) const { to = from; }
  void operator()(const kernels::Field<float>&, float& to, float from) const { to = from; }
  void operator()(const kernels::Field<kernels::OptionalFloat>&, kernels::OptionalFloat& to,
                  float from) const {
    if (from > 0) to = from;
  }
};

// As the tuner writes it: without what says nothing.
kernels::Problem problem_of(const fcsa_problem& p) {
  kernels::Problem problem;
  kernels::visit_problem(Conversion{}, problem, p);
  if (p.kv_heads == 0) problem.kv_heads = p.heads;
  if (problem.bias != Bias::none && p.bias_batch == p.batch) problem.bias_batch = 0;
  if (problem.bias != Bias::none && p.bias_heads == p.heads) problem.bias_heads = 0;
  if (problem.dtype != DType::f32) problem.allow_tf32 = false;
  if (problem.head_scale) problem.scale = kernels::Problem{}.scale;
  if (p.key_lengths == 1) problem.key_mask = true;
  return problem;
}

// Replaces dense strides by those that are given.
void set_strides(const fcsa_problem& p, DType dtype, kernels::BackwardArgs& args) {
  const auto queries = [&](const char* name, const fcsa_strides& given, const Strides& dense) {
    return StatedTensor{name, {args.batch, args.heads, args.nq, p.head_dim}, given, dense};
  };
  const auto keys = [&](const char* name, const fcsa_strides& given, const Strides& dense) {
    return StatedTensor{name, {args.batch, args.kv_heads, args.nk, p.head_dim}, given, dense};
  };
  const auto pairs = [&](const char* name, const fcsa_strides& given, const Strides& dense) {
    return StatedTensor{name, {args.bias_batch, args.bias_heads, args.nq, args.nk}, given, dense};
  };
  args.q_strides = input_strides(queries("q", p.q_strides, args.q_strides), dtype);
  args.k_strides = input_strides(keys("k", p.k_strides, args.k_strides), dtype);
  args.v_strides = input_strides(keys("v", p.v_strides, args.v_strides), dtype);
  args.o_strides = output_strides(queries("o", p.o_strides, args.o_strides), dtype);
  args.bias_strides = bias_strides(pairs("bias", p.bias_strides, args.bias_strides));
  if (p.op == FCSA_FORWARD) return;
  args.dout_strides = input_strides(queries("dout", p.dout_strides, args.dout_strides), dtype);
  // One that is omitted is dense, where it is written at all.
  const auto given = [&](std::int32_t gradient, const fcsa_strides& strides) {
    return (p.omitted_gradients & gradient) != 0 ? fcsa_strides{} : strides;
  };
  args.dq_strides = output_strides(queries("dq", given(FCSA_DQ, p.dq_strides), args.dq_strides), dtype);
  args.dk_strides = output_strides(keys("dk", given(FCSA_DK, p.dk_strides), args.dk_strides), dtype);
  args.dv_strides = output_strides(keys("dv", given(FCSA_DV, p.dv_strides), args.dv_strides), dtype);
  args.dbias_strides = bias_gradient_strides(pairs("dbias", p.dbias_strides, args.dbias_strides));
}

kernels::BackwardArgs args_of(const fcsa_problem& p, const kernels::Problem& problem) {
  kernels::BackwardArgs args = kernels::shape_args(problem);
  set_strides(p, problem.dtype, args);
  args.key_mask_stride = mask_stride(p);
  args.eps = p.eps;
  return args;
}

// Of the tensor that is given by strides, for the nearest tuned problem.
Layout nearest_layout(const kernels::Problem& problem, const Strides& strides) {
  if (problem.heads == 1 || problem.nq == 1) return problem.layout;
  return strides.head < strides.row ? Layout::bnhd : Layout::bhnd;
}

}  // namespace

void check_size(const char* name, std::size_t stated, std::size_t known, std::size_t earlier) {
  if (stated == known || stated == earlier) return;
  if (stated == 0) refuse(fmt::format("{}.size is 0: start from its _INIT macro, which sets it", name));
  refuse(fmt::format(
      "{}.size is {}: fcsa {} knows {}; start from its _INIT macro, and compile with the fcsa.h of "
      "the library that is linked",
      name, stated, FCSA_VERSION, known));
}

fcsa_problem whole(const fcsa_problem& problem) {
  check_size("fcsa_problem", problem.size, sizeof(problem), kEarlierProblem);
  if (problem.size == sizeof(problem)) return problem;
  fcsa_problem all = FCSA_PROBLEM_INIT;
  std::memcpy(&all, &problem, problem.size);
  all.size = sizeof(all);
  return all;
}

Request request_of(const fcsa_problem& p) {
  check_choices(p);
  check_gradients(p);
  Request request;
  request.problem = problem_of(p);
  try {
    kernels::validate(request.problem, 0);
  } catch (const std::invalid_argument& error) {
    refuse(error.what());
  }
  request.args = args_of(p, request.problem);
  request.problem.layout = nearest_layout(request.problem, request.args.q_strides);
  request.writes_lse = flag("lse", p.lse);
  request.reads_lengths = p.key_lengths == 1;
  request.omits_dq = (p.omitted_gradients & FCSA_DQ) != 0;
  request.omits_dk = (p.omitted_gradients & FCSA_DK) != 0;
  request.omits_dv = (p.omitted_gradients & FCSA_DV) != 0;
  return request;
}

}  // namespace fcsa::library
