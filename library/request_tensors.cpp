// The caller's pointers: checked, and put into the arguments of kernels.
#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <utility>

#include "library/failure.h"
#include "library/request.h"

namespace fcsa::library {
namespace {

using kernels::Bias;
using kernels::DType;
using kernels::Op;

// Of a struct that ends where it did before fields were added.
constexpr std::size_t kEarlierTensors = offsetof(fcsa_tensors, key_lengths);

void check_pointer(const char* name, const void* pointer, std::size_t alignment) {
  if (pointer == nullptr) refuse(fmt::format("{} is null", name));
  if (reinterpret_cast<std::uintptr_t>(pointer) % alignment != 0)
    refuse(fmt::format("{} is not aligned to {} bytes", name, alignment));
}

// A tensor that is there exactly when a field of the problem says so.
struct Optional {
  const char* name;
  const void* pointer;
  bool wanted;
  const char* field;
};

void check_optional(const Optional& tensor, std::size_t alignment) {
  if (tensor.wanted) return check_pointer(tensor.name, tensor.pointer, alignment);
  if (tensor.pointer != nullptr)
    refuse(
        fmt::format("{} is given, but the plan was made for a problem without it: set {} in fcsa_problem, or "
                    "leave the pointer null",
                    tensor.name, tensor.field));
}

// A tensor of `rows` rows in each batch: without any it may be null.
struct Rows {
  const char* name;
  const void* pointer;
  int rows;
};

void check_rows(const Request& request, std::initializer_list<Rows> tensors) {
  for (const auto& [name, pointer, rows] : tensors)
    if (request.args.batch > 0 && rows > 0) check_pointer(name, pointer, 16);
}

void check_gradient(const Request& request, const Rows& gradient, bool omitted) {
  if (!omitted) return check_rows(request, {gradient});
  if (gradient.pointer != nullptr)
    refuse(
        fmt::format("{} is given, but the plan was made for a problem that omits it: change "
                    "omitted_gradients in fcsa_problem, or leave the pointer null",
                    gradient.name));
}

void check_forward_tensors(const Request& request, const fcsa_tensors& t, std::size_t bias_alignment) {
  const kernels::Problem& problem = request.problem;
  const auto& [nq, nk] = std::pair(request.args.nq, request.args.nk);
  check_rows(request, {{"q", t.q, nq}, {"k", t.k, nk}, {"v", t.v, nk}, {"o", t.o, nq}});
  if (!request.is_empty()) {
    check_optional({"key_mask", t.key_mask, problem.key_mask && !request.reads_lengths, "key_mask"}, 1);
    check_optional({"key_lengths", key_lengths_of(t), request.reads_lengths, "key_lengths"},
                   sizeof(std::int32_t));
    check_optional({"bias", t.bias, problem.bias != Bias::none, "bias"}, bias_alignment);
    check_optional({"head_scale", t.head_scale, problem.head_scale, "head_scale"}, sizeof(float));
  }
  if (request.args.batch == 0 || nq == 0) return;
  if (problem.op == Op::forward)
    check_optional({"lse", t.lse, request.writes_lse, "lse"}, sizeof(float));
  else if (t.lse == nullptr)
    refuse("lse is null: the backward pass reads what a forward pass with lse = 1 in fcsa_problem wrote");
  else
    check_pointer("lse", t.lse, sizeof(float));
}

void check_gradient_tensors(const Request& request, const fcsa_tensors& t, std::size_t bias_alignment) {
  const kernels::Problem& problem = request.problem;
  const auto& [nq, nk] = std::pair(request.args.nq, request.args.nk);
  check_rows(request, {{"dout", t.dout, nq}});
  check_gradient(request, {"dq", t.dq, nq}, request.omits_dq);
  check_gradient(request, {"dk", t.dk, nk}, request.omits_dk);
  check_gradient(request, {"dv", t.dv, nk}, request.omits_dv);
  if (nq > 0 && nk > 0)
    check_optional({"dbias", t.dbias, problem.bias_gradient, "bias_gradient"}, bias_alignment);
  check_optional({"dscale", t.dscale, problem.scale_gradient, "scale_gradient"}, sizeof(float));
}

}  // namespace

const std::int32_t* key_lengths_of(const fcsa_tensors& tensors) {
  return tensors.size > kEarlierTensors ? tensors.key_lengths : nullptr;
}

kernels::BackwardArgs place(const Request& request, const fcsa_tensors& t, std::size_t workspace_bytes) {
  check_size("fcsa_tensors", t.size, sizeof(t), kEarlierTensors);
  const kernels::Problem& problem = request.problem;
  const std::size_t bias_alignment =
      problem.bias == Bias::f32 || problem.dtype == DType::f32 ? sizeof(float) : 2;
  check_forward_tensors(request, t, bias_alignment);
  if (problem.op == Op::backward) check_gradient_tensors(request, t, bias_alignment);
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
  if (problem.op == Op::forward) return args;
  args.dout = t.dout;
  args.dq = t.dq;
  args.dk = t.dk;
  args.dv = t.dv;
  args.dbias = t.dbias;
  args.dscale = t.dscale;
  return args;
}

}  // namespace fcsa::library
