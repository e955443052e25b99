#include "kernels/problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "kernels/common/sizes.h"

namespace fcsa::kernels {
namespace {

// Limits of the fixed bound, from the range of P: KERNELS notes, and Args::bound.
constexpr float kLargestBound = 43.0f;
constexpr float kLargestBoundF16 = 10.0f;

[[noreturn]] void refuse(const std::string& message) {
  throw std::invalid_argument(message);
}

void require(const char* field, int value, int least) {
  if (value < least) refuse(fmt::format("{} is {}: it must be at least {}", field, value, least));
}

void require_positive(const char* field, int value) {
  require(field, value, 1);
}

// Launches count rows and blocks in 32 bits.
void require_few_rows(const Problem& p) {
  const long long heads = 1LL * p.batch * p.heads, kv_heads = 1LL * p.batch * p.kv_heads;
  if (heads > kMostHeads)
    refuse(fmt::format("batch x heads is {}: at most {} fit a launch", heads, kMostHeads));
  const auto check = [](const char* name, long long rows) {
    if (rows > kMostRows)
      refuse(fmt::format("{} is {}: at most {} rows fit a launch", name, rows, kMostRows));
  };
  check("batch x heads x nq", heads * p.nq);
  check("batch x kv_heads x nk", kv_heads * p.nk);
}

template <typename T>
T number(std::string_view text, std::string_view token) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    refuse(fmt::format("'{}' in a problem is not a number", token));
  return value;
}

std::string_view after(std::string_view token, std::string_view prefix) {
  return token.substr(prefix.size());
}

// "d64", "nq1024", ...: sets the field whose prefix fits and is followed by a digit. False when none does.
bool read_size(Problem& problem, std::string_view token) {
  const std::pair<std::string_view, int Problem::*> fields[] = {
      {"d", &Problem::head_dim},  {"b", &Problem::batch}, {"h", &Problem::heads},
      {"kv", &Problem::kv_heads}, {"nq", &Problem::nq},   {"nk", &Problem::nk}};
  for (const auto& [prefix, field] : fields) {
    if (!token.starts_with(prefix) || token.size() == prefix.size()) continue;
    if (token[prefix.size()] < '0' || token[prefix.size()] > '9') continue;
    problem.*field = number<int>(after(token, prefix), token);
    return true;
  }
  return false;
}

void read_option(Problem& problem, std::string_view token) {
  if (token == "causal") {
    problem.causal = true;
  } else if (token == "mask") {
    problem.key_mask = true;
  } else if (token == "raw") {
    problem.l2norm_qk = false;
  } else if (token == "head_scale") {
    problem.head_scale = true;
  } else if (token == "bias") {
    problem.bias = Bias::same;
  } else if (token == "bias=f32") {
    problem.bias = Bias::f32;
  } else if (token == "dbias") {
    problem.bias_gradient = true;
  } else if (token == "dscale") {
    problem.scale_gradient = true;
  } else if (token == "deterministic") {
    problem.deterministic = true;
  } else if (token == "tf32") {
    problem.allow_tf32 = true;
  } else if (token.starts_with("bias_batch=")) {
    problem.bias_batch = number<int>(after(token, "bias_batch="), token);
  } else if (token.starts_with("bias_heads=")) {
    problem.bias_heads = number<int>(after(token, "bias_heads="), token);
  } else if (token.starts_with("scale=")) {
    problem.scale = number<float>(after(token, "scale="), token);
  } else if (token.starts_with("groups=")) {
    problem.groups = number<int>(after(token, "groups="), token);
  } else if (token.starts_with("bound=")) {
    problem.logit_bound = number<float>(after(token, "bound="), token);
  } else if (token == "bhnd" || token == "bnhd") {
    problem.layout = layout_from_text(token);
  } else {
    refuse(fmt::format("'{}' is not part of a problem", token));
  }
}

std::string options_text(const Problem& p) {
  std::string text;
  if (p.causal) text += " causal";
  if (p.key_mask) text += " mask";
  if (!p.l2norm_qk) text += " raw";
  if (p.groups != 1) text += fmt::format(" groups={}", p.groups);
  if (p.bias != Bias::none) text += p.bias == Bias::f32 ? " bias=f32" : " bias";
  if (p.head_scale) text += " head_scale";
  if (p.bias_gradient) text += " dbias";
  if (p.scale_gradient) text += " dscale";
  if (p.deterministic) text += " deterministic";
  if (p.allow_tf32) text += " tf32";
  if (p.logit_bound) text += fmt::format(" bound={}", *p.logit_bound);
  return text + fmt::format(" scale={}", p.scale);
}

Strides dense_strides(Layout layout, int heads, int rows, int channels) {
  const long long h = heads, n = rows, d = channels;
  if (layout == Layout::bhnd) return {h * n * d, n * d, d};
  return {n * h * d, d, h * d};
}

// Visible (query, key) pairs of one head.
double visible_pairs(const Problem& p) {
  const double nq = p.nq, nk = p.nk;
  if (!p.causal) return nq * nk;
  // Query i sees keys up to i + nk - nq: an arithmetic series over the rows that see any.
  const double first = std::max(0.0, nk - nq + 1), rows = std::min(nq, nk);
  return rows * ((nk < nq ? 1.0 : first) + nk) / 2;
}

}  // namespace

void validate(const Problem& p, int least) {
  require("batch", p.batch, least);
  require_positive("heads", p.heads);
  require_positive("kv_heads", p.kv_heads);
  require("nq", p.nq, least);
  require("nk", p.nk, least);
  require_positive("groups", p.groups);
  if (p.head_dim < 16 || p.head_dim > 256 || p.head_dim % 16 != 0)
    refuse(fmt::format("head_dim is {}: it must be a multiple of 16 from 16 to 256", p.head_dim));
  if (p.heads % p.kv_heads != 0)
    refuse(fmt::format("heads is {} and kv_heads {}: heads must be a multiple of kv_heads", p.heads,
                       p.kv_heads));
  require_few_rows(p);
  if (p.head_dim % p.groups != 0)
    refuse(fmt::format("groups is {}: it must divide head_dim, which is {}", p.groups, p.head_dim));
  if (p.bias_batch < 0 || (p.bias_batch > 0 && p.batch % p.bias_batch != 0))
    refuse(fmt::format("bias_batch is {}: it must divide batch, which is {}", p.bias_batch, p.batch));
  if (p.bias_heads != 0 && p.bias_heads != 1 && p.bias_heads != p.heads)
    refuse(fmt::format("bias_heads is {}: it must be 1 or heads, which is {}", p.bias_heads, p.heads));
  if (p.bias == Bias::none && (p.bias_batch != 0 || p.bias_heads != 0))
    refuse("bias_batch and bias_heads are sizes of a bias, and there is none");
  if (p.op == Op::forward && (p.bias_gradient || p.scale_gradient))
    refuse("dbias and dscale are gradients: they are for the backward pass");
  if (p.op == Op::forward && p.deterministic) refuse("deterministic: the forward pass always is");
  if (p.bias_gradient && p.bias == Bias::none) refuse("dbias is the gradient of a bias, and there is none");
  if (p.allow_tf32 && p.dtype != DType::f32) refuse("tf32 is about products of f32 tensors");
  if (!std::isfinite(p.scale)) refuse(fmt::format("scale is {}: it must be finite", p.scale));
  if (p.logit_bound && !(std::isfinite(*p.logit_bound) && *p.logit_bound >= 0))
    refuse(fmt::format("logit_bound is {}: it must be finite and not negative", *p.logit_bound));
}

std::string to_text(const Problem& p) {
  std::string bias_sizes;
  if (p.bias_batch != 0) bias_sizes += fmt::format(" bias_batch={}", p.bias_batch);
  if (p.bias_heads != 0) bias_sizes += fmt::format(" bias_heads={}", p.bias_heads);
  return fmt::format("{} {} d{} b{} h{} kv{} nq{} nk{} {}{}{}", to_text(p.op), to_text(p.dtype), p.head_dim,
                     p.batch, p.heads, p.kv_heads, p.nq, p.nk, to_text(p.layout), bias_sizes,
                     options_text(p));
}

Problem problem_from_text(std::string_view text) {
  std::istringstream words{std::string(text)};
  std::string op, dtype, token;
  if (!(words >> op >> dtype))
    refuse(fmt::format("'{}' is not a problem: it starts with operation and dtype", text));
  Problem problem;
  problem.op = op_from_text(op);
  problem.dtype = dtype_from_text(dtype);
  while (words >> token)
    if (!read_size(problem, token)) read_option(problem, token);
  validate(problem);
  return problem;
}

std::string class_text(const Problem& p) {
  return fmt::format("{} {} d{}{}", to_text(p.op), to_text(p.dtype), p.head_dim, options_text(p));
}

Softmax softmax_variant(const Problem& p) {
  const float limit = p.dtype == DType::f16 ? kLargestBoundF16 : kLargestBound;
  const bool known = p.logit_bound || (p.l2norm_qk && !p.head_scale && p.bias == Bias::none);
  return known && logit_bound(p) <= limit ? Softmax::fixed_bound : Softmax::running_maximum;
}

float logit_bound(const Problem& p) {
  return p.logit_bound ? *p.logit_bound : std::fabs(p.scale) * static_cast<float>(p.groups);
}

Traits traits_of(const Problem& p) {
  return {.dtype = p.dtype,
          .head_dim = p.head_dim,
          .causal = p.causal,
          .key_mask = p.key_mask,
          .bias = p.bias,
          .head_scale = p.head_scale,
          .l2norm_qk = p.l2norm_qk,
          .groups = p.groups,
          .tf32 = p.allow_tf32,
          .softmax = softmax_variant(p)};
}

BackwardArgs shape_args(const Problem& p) {
  BackwardArgs args;
  args.q_strides = args.o_strides = dense_strides(p.layout, p.heads, p.nq, p.head_dim);
  args.k_strides = args.v_strides = dense_strides(p.layout, p.kv_heads, p.nk, p.head_dim);
  args.key_mask_stride = p.nk;
  args.batch = p.batch;
  args.heads = p.heads;
  args.bias_batch = p.bias_batch != 0 ? p.bias_batch : p.batch;
  args.bias_heads = p.bias_heads != 0 ? p.bias_heads : p.heads;
  args.bias_strides = dense_strides(Layout::bhnd, args.bias_heads, p.nq, p.nk);
  args.kv_heads = p.kv_heads;
  args.nq = p.nq;
  args.nk = p.nk;
  args.scale = p.scale;
  args.bound = logit_bound(p);
  args.dout_strides = args.dq_strides = args.q_strides;
  args.dk_strides = args.dv_strides = args.k_strides;
  args.dbias_strides = args.bias_strides;
  args.wants_dbias = p.bias_gradient;
  args.wants_dscale = p.scale_gradient;
  return args;
}

double flops(const Problem& p) {
  const double forward = 4.0 * p.batch * p.heads * p.head_dim * visible_pairs(p);
  return p.op == Op::forward ? forward : 2.5 * forward;
}

double bytes(const Problem& p) {
  const double element = element_bytes(p.dtype), rows_q = double(p.batch) * p.heads * p.nq,
               rows_k = double(p.batch) * p.kv_heads * p.nk;
  const double tensors = (2 * rows_q + 2 * rows_k) * p.head_dim * element;
  const double bias_rows = double(p.bias_batch != 0 ? p.bias_batch : p.batch) *
                           (p.bias_heads != 0 ? p.bias_heads : p.heads) * p.nq;
  const double bias = p.bias == Bias::none ? 0.0 : bias_rows * p.nk * (p.bias == Bias::f32 ? 4.0 : element);
  const double forward = tensors + bias + rows_q * 4 + (p.key_mask ? double(p.batch) * p.nk : 0.0);
  if (p.op == Op::forward) return forward;
  // Reads q, k, v, o, dout, lse, mask and bias, and writes dq, dk, dv, dbias and dscale.
  return forward + (2 * rows_q + 2 * rows_k) * p.head_dim * element + (p.bias_gradient ? bias : 0.0) +
         (p.scale_gradient ? 4.0 * p.heads : 0.0);
}

std::string_view to_text(Op op) {
  return op == Op::forward ? "forward" : "backward";
}

std::string_view to_text(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::f16:
      return "f16";
  }
  return "?";
}

std::string_view to_text(Layout layout) {
  return layout == Layout::bhnd ? "bhnd" : "bnhd";
}

std::string_view to_text(Bias bias) {
  switch (bias) {
    case Bias::none:
      return "none";
    case Bias::f32:
      return "f32";
    case Bias::same:
      return "same";
  }
  return "?";
}

Op op_from_text(std::string_view text) {
  if (text == "fwd" || text == "forward") return Op::forward;
  if (text == "bwd" || text == "backward") return Op::backward;
  refuse(fmt::format("'{}' is not an operation: use fwd or bwd", text));
}

DType dtype_from_text(std::string_view text) {
  if (text == "f32" || text == "fp32" || text == "float32") return DType::f32;
  if (text == "bf16" || text == "bfloat16") return DType::bf16;
  if (text == "f16" || text == "fp16" || text == "float16" || text == "half") return DType::f16;
  refuse(fmt::format("'{}' is not a dtype: use f32, bf16 or f16", text));
}

Layout layout_from_text(std::string_view text) {
  if (text == "bhnd") return Layout::bhnd;
  if (text == "bnhd") return Layout::bnhd;
  refuse(fmt::format("'{}' is not a layout: use bhnd or bnhd", text));
}

Bias bias_from_text(std::string_view text) {
  for (const Bias bias : {Bias::none, Bias::f32, Bias::same})
    if (to_text(bias) == text) return bias;
  refuse(fmt::format("'{}' is not a bias: use none, f32 or same", text));
}

}  // namespace fcsa::kernels
