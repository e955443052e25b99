#include "kernels/problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <type_traits>

#include "kernels/common/sizes.h"

namespace fcsa::kernels {
namespace {

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

// The digits that stand after `prefix`, none where the token is something else.
std::optional<std::string_view> after(std::string_view token, std::string_view prefix) {
  if (!token.starts_with(prefix)) return std::nullopt;
  return token.substr(prefix.size());
}

// Sets the field where the token is about it; false where it isn't. Operation and dtype have a place of their
// own.
struct TokenReader {
  std::string_view token;
  bool understood = false;

  // `unset`: what it is where the text doesn't name it.
  template <typename T>
  void operator()(const Field<T>& field, T& value, const T& unset) {
    if (!understood) understood = read(field, value, unset);
  }

 private:
  template <typename T>
  std::optional<std::string_view> given(const Field<T>& field) const {
    return after(token, std::string(field.word) + "=");
  }

  bool read(const Field<Op>&, Op&, Op) const { return false; }
  bool read(const Field<DType>&, DType&, DType) const { return false; }

  bool read(const Field<Layout>&, Layout& value, Layout) const {
    for (const Layout layout : {Layout::bhnd, Layout::bnhd})
      if (token == to_text(layout)) return value = layout, true;
    return false;
  }

  bool read(const Field<Bias>& field, Bias& value, Bias) const {
    if (token == field.word) return value = Bias::same, true;
    const auto text = given(field);
    if (text) value = bias_from_text(*text);
    return text.has_value();
  }

  bool read(const Field<bool>& field, bool& value, bool unset) const {
    if (token != field.word) return false;
    value = !unset;
    return true;
  }

  bool read(const Field<int>& field, int& value, int) const {
    const auto digits = field.form == Form::joined ? after(token, field.word) : given(field);
    if (!digits || (field.form == Form::joined && (digits->empty() || !std::isdigit(digits->front()))))
      return false;
    value = number<int>(*digits, token);
    return true;
  }

  template <typename Real>  // float, OptionalFloat
  bool read(const Field<Real>& field, Real& value, const Real&) const {
    const auto digits = given(field);
    if (digits) value = number<float>(*digits, token);
    return digits.has_value();
  }
};

std::string value_text(Op value) {
  return std::string(to_text(value));
}
std::string value_text(DType value) {
  return std::string(to_text(value));
}
std::string value_text(Layout value) {
  return std::string(to_text(value));
}
std::string value_text(int value) {
  return fmt::format("{}", value);
}
std::string value_text(float value) {
  return fmt::format("{}", value);
}
std::string value_text(OptionalFloat value) {
  return fmt::format("{}", *value);
}

// "=value", or nothing where the word alone says it.
template <typename T>
std::string assigned_text(const T& value) {
  if constexpr (std::is_same_v<T, bool>)
    return {};
  else if constexpr (std::is_same_v<T, Bias>)
    return value == Bias::same ? "" : fmt::format("={}", to_text(value));
  else
    return "=" + value_text(value);
}

template <typename T>
std::string field_text(const Field<T>& field, const T& value) {
  if constexpr (!std::is_same_v<T, bool> && !std::is_same_v<T, Bias>)
    if (field.form == Form::bare || field.form == Form::joined) return field.word + value_text(value);
  return field.word + assigned_text(value);
}

// The fields for which `wanted(field)`.
template <typename Wanted>
std::string text_of(const Problem& problem, const Wanted& wanted) {
  std::string text;
  const Problem defaults;
  visit_problem(
      [&](const auto& field, const auto& value, const auto& unset) {
        if (!wanted(field) || (field.form == Form::named && value == unset)) return;
        text += (text.empty() ? "" : " ") + field_text(field, value);
      },
      problem, defaults);
  return text;
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

std::string to_text(const Problem& problem) {
  return text_of(problem, [](const auto&) { return true; });
}

Problem problem_from_text(std::string_view text) {
  std::istringstream words{std::string(text)};
  std::string op, dtype, token;
  if (!(words >> op >> dtype))
    refuse(fmt::format("'{}' is not a problem: it starts with operation and dtype", text));
  const Problem defaults;
  Problem problem;
  problem.op = op_from_text(op);
  problem.dtype = dtype_from_text(dtype);
  while (words >> token) {
    TokenReader reader{token};
    visit_problem(reader, problem, defaults);
    if (!reader.understood) refuse(fmt::format("'{}' is not part of a problem", token));
  }
  validate(problem);
  return problem;
}

std::string class_text(const Problem& problem) {
  return text_of(problem, [](const auto& field) { return field.scope == Scope::kind; });
}

double flops(const Problem& p) {
  const double forward = 4.0 * p.batch * p.heads * p.head_dim * visibility_of(p).pairs();
  return p.op == Op::forward ? forward : 2.5 * forward;
}

double bytes(const Problem& p) {
  const double element = element_bytes(p.dtype), rows_q = double(p.batch) * p.heads * p.nq,
               rows_k = double(p.batch) * p.kv_heads * p.nk;
  const double tensors = (2 * rows_q + 2 * rows_k) * p.head_dim * element;
  const BackwardArgs args = shape_args(p);
  const double bias_rows = double(args.bias_batch) * args.bias_heads * p.nq;
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
