#include "tests/library/attention_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace fcsa::library {
namespace {

using kernels::Args;

Args args_of(const fcsa_problem& p) {
  Args args;
  args.batch = p.batch;
  args.heads = p.heads;
  args.kv_heads = p.kv_heads != 0 ? p.kv_heads : p.heads;
  args.nq = p.nq;
  args.nk = p.nk;
  args.scale = p.scale;
  args.eps = p.eps;
  const Shape bias = shape_of_bias(p, p.bias_strides);
  args.bias_batch = bias.batch;
  args.bias_heads = bias.heads;
  args.bias_strides = bias.strides;
  args.q_strides = shape_of_queries(p, p.q_strides).strides;
  args.k_strides = shape_of_keys(p, p.k_strides).strides;
  args.v_strides = shape_of_keys(p, p.v_strides).strides;
  args.o_strides = shape_of_queries(p, p.o_strides).strides;
  args.key_mask_stride = p.key_mask_batch == 1 ? 0 : p.key_mask_stride != 0 ? p.key_mask_stride : p.nk;
  return args;
}

Memory random_bias(const fcsa_problem& p, unsigned seed) {
  if (p.bias == FCSA_NO_BIAS) return {0, 0};
  return random_tensor(bias_dtype_of(p), shape_of_bias(p, p.bias_strides), seed);
}

}  // namespace

kernels::Problem problem_of(const fcsa_problem& p) {
  kernels::Problem problem;
  problem.op = p.op == FCSA_BACKWARD ? kernels::Op::backward : kernels::Op::forward;
  problem.dtype = dtype_of(p);
  problem.head_dim = p.head_dim;
  problem.batch = p.batch;
  problem.heads = p.heads;
  problem.kv_heads = p.kv_heads != 0 ? p.kv_heads : p.heads;
  problem.nq = p.nq;
  problem.nk = p.nk;
  problem.causal = p.causal != 0;
  problem.key_mask = p.key_mask != 0 || p.key_lengths != 0;
  problem.layout = p.layout == FCSA_BNHD ? kernels::Layout::bnhd : kernels::Layout::bhnd;
  problem.scale = p.scale;
  problem.l2norm_qk = p.l2norm_qk != 0;
  problem.groups = p.groups;
  problem.bias = p.bias == FCSA_NO_BIAS    ? kernels::Bias::none
                 : p.bias == FCSA_BIAS_F32 ? kernels::Bias::f32
                                           : kernels::Bias::same;
  problem.bias_batch = p.bias_batch;
  problem.bias_heads = p.bias_heads;
  problem.head_scale = p.head_scale != 0;
  problem.bias_gradient = p.bias_gradient != 0;
  problem.scale_gradient = p.scale_gradient != 0;
  return problem;
}

fcsa_problem forward_problem(std::int32_t dtype, int heads, int rows, int head_dim) {
  fcsa_problem problem = FCSA_PROBLEM_INIT;
  problem.device = FCSA_CPU;
  problem.dtype = dtype;
  problem.heads = heads;
  problem.nq = problem.nk = rows;
  problem.head_dim = head_dim;
  problem.lse = 1;
  return problem;
}

AttentionCase::AttentionCase(const fcsa_problem& problem, unsigned seed)
    : problem_(problem),
      traits_(kernels::traits_of(problem_of(problem))),
      args_(args_of(problem)),
      q_(random_tensor(traits_.dtype, shape_of_queries(problem, problem.q_strides), seed)),
      k_(random_tensor(traits_.dtype, shape_of_keys(problem, problem.k_strides), seed + 1)),
      v_(random_tensor(traits_.dtype, shape_of_keys(problem, problem.v_strides), seed + 2)),
      o_(output_tensor(traits_.dtype, shape_of_queries(problem, problem.o_strides))),
      lse_(sizeof(float) * args_.batch * args_.heads * args_.nq, 0xff),
      key_mask_(static_cast<std::size_t>((args_.batch - 1) * args_.key_mask_stride + args_.nk), 1),
      bias_(random_bias(problem, seed + 3)),
      head_scale_(sizeof(float) * args_.heads, 0) {
  std::mt19937 random(seed + 4);
  for (std::size_t i = 0; i < key_mask_.bytes(); ++i) key_mask_.data()[i] = random() % 4 != 0;
  for (int h = 0; h < args_.heads; ++h) {
    const float scale = 2.0f + static_cast<float>(h);
    std::memcpy(head_scale_.data() + sizeof(float) * h, &scale, sizeof(float));
  }
  args_.q = q_.data();
  args_.k = k_.data();
  args_.v = v_.data();
  if (problem.key_lengths != 0) take_lengths(seed + 5);
  args_.key_mask = traits_.key_mask ? key_mask_.data() : nullptr;
  args_.bias = problem.bias != FCSA_NO_BIAS ? bias_.data() : nullptr;
  args_.head_scale = problem.head_scale != 0 ? reinterpret_cast<const float*>(head_scale_.data()) : nullptr;
}

void AttentionCase::take_lengths(unsigned seed) {
  std::mt19937 random(seed);
  const auto nk = static_cast<unsigned>(args_.nk);
  for (int b = 0; b < args_.batch; ++b) {
    const int length = b == 0 ? -7 : b == 1 ? args_.nk + 100 : static_cast<int>(random() % (nk + 1));
    key_lengths_.push_back(length);
    for (int j = 0; j < args_.nk; ++j) key_mask_.data()[b * args_.key_mask_stride + j] = j < length ? 1 : 0;
  }
}

void AttentionCase::put_nan_into_hidden_keys() const {
  const Shape shape = shape_of_keys(problem_, problem_.k_strides);
  for (const auto& row : shape.all_rows()) {
    if (row.row < key_lengths_[static_cast<std::size_t>(row.batch)]) continue;
    for (const Memory* tensor : {&k_, &v_})
      for (int c = 0; c < shape.channels; ++c)
        kernels::store_element(traits_.dtype, tensor->data(), shape.start(row) + c,
                               std::numeric_limits<float>::quiet_NaN());
  }
}

fcsa_tensors AttentionCase::tensors() const {
  fcsa_tensors t = FCSA_TENSORS_INIT;
  t.q = args_.q;
  t.k = args_.k;
  t.v = args_.v;
  t.o = o_.data();
  t.lse = problem_.lse != 0 ? reinterpret_cast<float*>(lse_.data()) : nullptr;
  t.key_mask = problem_.key_lengths != 0 ? nullptr : args_.key_mask;
  t.key_lengths = problem_.key_lengths != 0 ? key_lengths_.data() : nullptr;
  t.bias = args_.bias;
  t.head_scale = args_.head_scale;
  return t;
}

double AttentionCase::worst_error() const {
  const Shape shape = shape_of_queries(problem_, problem_.o_strides);
  const std::vector<kernels::RowIndex> rows = shape.all_rows();
  const auto expected = kernels::reference_rows(traits_, args_, rows);
  const auto* lse = reinterpret_cast<const float*>(lse_.data());
  double worst = 0;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const long long start = shape.start(rows[r]);
    double norm = 0, difference = 0;
    for (int c = 0; c < traits_.head_dim; ++c) {
      const double wanted = expected.o[r * traits_.head_dim + c];
      const double got = kernels::load_element(traits_.dtype, o_.data(), start + c);
      norm += wanted * wanted;
      difference += (got - wanted) * (got - wanted);
    }
    double error = std::sqrt(difference) / (norm > 0 ? std::sqrt(norm) : 1);
    if (problem_.lse != 0 && lse[r] != expected.lse[r])
      error =
          std::max(error, std::fabs(lse[r] - expected.lse[r]) / std::max(1.0, std::fabs(expected.lse[r])));
    if (!(error <= worst)) worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
  }
  return worst;
}

bool AttentionCase::gaps_are_intact() const {
  return library::gaps_are_intact(o_, traits_.dtype, shape_of_queries(problem_, problem_.o_strides));
}

double tolerance(std::int32_t dtype) {
  return dtype == FCSA_F32 ? 5e-5 : dtype == FCSA_BF16 ? 1e-2 : 2e-3;
}

}  // namespace fcsa::library
