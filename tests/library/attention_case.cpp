#include "tests/library/attention_case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "kernels/reference/reference.h"

namespace fcsa::library {
namespace {

using kernels::Args;
using kernels::DType;
using kernels::Strides;

constexpr unsigned char kPattern = 0xa5;
constexpr unsigned char kNan = 0xff;

DType dtype_of(std::int32_t dtype) {
  return dtype == FCSA_F32 ? DType::f32 : dtype == FCSA_BF16 ? DType::bf16 : DType::f16;
}

// Sizes and strides of a tensor.
struct Shape {
  int batch, heads, rows, channels;
  Strides strides;

  std::size_t elements() const {
    return static_cast<std::size_t>((batch - 1) * strides.batch + (heads - 1) * strides.head +
                                    (rows - 1) * strides.row + channels);
  }
  // Calls f with the index of every element.
  template <typename F>
  void for_each(const F& f) const {
    for (int b = 0; b < batch; ++b)
      for (int h = 0; h < heads; ++h)
        for (int i = 0; i < rows; ++i)
          for (int c = 0; c < channels; ++c) f(b * strides.batch + h * strides.head + i * strides.row + c);
  }
};

// Strides that are all zero are dense.
Shape laid_out(Shape shape, const fcsa_strides& given, std::int32_t layout) {
  const long long h = shape.heads, n = shape.rows, d = shape.channels;
  shape.strides = {given.batch, given.head, given.row};
  if (given.batch == 0 && given.head == 0 && given.row == 0)
    shape.strides = layout == FCSA_BNHD ? Strides{n * h * d, d, h * d} : Strides{h * n * d, n * d, d};
  return shape;
}

Shape shape_of_q(const fcsa_problem& p) {
  return laid_out({p.batch, p.heads, p.nq, p.head_dim, {}}, p.q_strides, p.layout);
}
Shape shape_of_keys(const fcsa_problem& p, const fcsa_strides& strides) {
  return laid_out({p.batch, p.kv_heads != 0 ? p.kv_heads : p.heads, p.nk, p.head_dim, {}}, strides, p.layout);
}
Shape shape_of_o(const fcsa_problem& p) {
  return laid_out({p.batch, p.heads, p.nq, p.head_dim, {}}, p.o_strides, p.layout);
}
Shape shape_of_bias(const fcsa_problem& p) {
  return laid_out({p.bias_batch != 0 ? p.bias_batch : p.batch,
                   p.bias_heads != 0 ? p.bias_heads : p.heads,
                   p.nq,
                   p.nk,
                   {}},
                  p.bias_strides, FCSA_BHND);
}

kernels::Traits traits_of(const fcsa_problem& p) {
  kernels::Traits traits;
  traits.dtype = dtype_of(p.dtype);
  traits.head_dim = p.head_dim;
  traits.causal = p.causal != 0;
  traits.key_mask = p.key_mask != 0;
  traits.bias = p.bias == FCSA_NO_BIAS    ? kernels::Bias::none
                : p.bias == FCSA_BIAS_F32 ? kernels::Bias::f32
                                          : kernels::Bias::same;
  traits.head_scale = p.head_scale != 0;
  traits.l2norm_qk = p.l2norm_qk != 0;
  traits.groups = p.groups;
  return traits;
}

Args args_of(const fcsa_problem& p) {
  Args args;
  args.batch = p.batch;
  args.heads = p.heads;
  args.kv_heads = p.kv_heads != 0 ? p.kv_heads : p.heads;
  args.nq = p.nq;
  args.nk = p.nk;
  args.scale = p.scale;
  args.eps = p.eps;
  const Shape bias = shape_of_bias(p);
  args.bias_batch = bias.batch;
  args.bias_heads = bias.heads;
  args.bias_strides = bias.strides;
  args.q_strides = shape_of_q(p).strides;
  args.k_strides = shape_of_keys(p, p.k_strides).strides;
  args.v_strides = shape_of_keys(p, p.v_strides).strides;
  args.o_strides = shape_of_o(p).strides;
  args.key_mask_stride = p.key_mask_batch == 1 ? 0 : p.key_mask_stride != 0 ? p.key_mask_stride : p.nk;
  return args;
}

Memory random_tensor(DType dtype, const Shape& shape, unsigned seed) {
  Memory memory(shape.elements() * kernels::element_bytes(dtype), kNan);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  shape.for_each(
      [&](long long index) { kernels::store_element(dtype, memory.data(), index, normal(random)); });
  return memory;
}

Memory random_bias(const fcsa_problem& p, unsigned seed) {
  if (p.bias == FCSA_NO_BIAS) return {0, 0};
  return random_tensor(p.bias == FCSA_BIAS_F32 ? DType::f32 : dtype_of(p.dtype), shape_of_bias(p), seed);
}

}  // namespace

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

Memory::Memory(std::size_t bytes, unsigned char value)
    : bytes_(bytes), data_(static_cast<unsigned char*>(std::aligned_alloc(256, (bytes + 255) / 256 * 256))) {
  std::memset(data_.get(), value, (bytes + 255) / 256 * 256);
}

AttentionCase::AttentionCase(const fcsa_problem& problem, unsigned seed)
    : problem_(problem),
      traits_(traits_of(problem)),
      args_(args_of(problem)),
      q_(random_tensor(traits_.dtype, shape_of_q(problem), seed)),
      k_(random_tensor(traits_.dtype, shape_of_keys(problem, problem.k_strides), seed + 1)),
      v_(random_tensor(traits_.dtype, shape_of_keys(problem, problem.v_strides), seed + 2)),
      o_(shape_of_o(problem).elements() * kernels::element_bytes(traits_.dtype), kPattern),
      lse_(sizeof(float) * args_.batch * args_.heads * args_.nq, kNan),
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
  args_.key_mask = problem.key_mask != 0 ? key_mask_.data() : nullptr;
  args_.bias = problem.bias != FCSA_NO_BIAS ? bias_.data() : nullptr;
  args_.head_scale = problem.head_scale != 0 ? reinterpret_cast<const float*>(head_scale_.data()) : nullptr;
}

fcsa_tensors AttentionCase::tensors() const {
  fcsa_tensors t = FCSA_TENSORS_INIT;
  t.q = args_.q;
  t.k = args_.k;
  t.v = args_.v;
  t.o = o_.data();
  t.lse = problem_.lse != 0 ? reinterpret_cast<float*>(lse_.data()) : nullptr;
  t.key_mask = args_.key_mask;
  t.bias = args_.bias;
  t.head_scale = args_.head_scale;
  return t;
}

double AttentionCase::worst_error() const {
  std::vector<kernels::RowIndex> rows;
  for (int b = 0; b < args_.batch; ++b)
    for (int h = 0; h < args_.heads; ++h)
      for (int i = 0; i < args_.nq; ++i) rows.push_back({b, h, i});
  const auto expected = kernels::reference_rows(traits_, args_, rows);
  const auto* lse = reinterpret_cast<const float*>(lse_.data());
  double worst = 0;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const long long start = rows[r].batch * args_.o_strides.batch + rows[r].head * args_.o_strides.head +
                            rows[r].row * args_.o_strides.row;
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
  const std::size_t element = kernels::element_bytes(traits_.dtype);
  std::vector<bool> written(o_.bytes() / element);
  shape_of_o(problem_).for_each([&](long long index) { written[static_cast<std::size_t>(index)] = true; });
  for (std::size_t i = 0; i < o_.bytes(); ++i)
    if (!written[i / element] && o_.data()[i] != kPattern) return false;
  return true;
}

double tolerance(std::int32_t dtype) {
  return dtype == FCSA_F32 ? 5e-5 : dtype == FCSA_BF16 ? 1e-2 : 2e-3;
}

}  // namespace fcsa::library
