#include "tests/library/gradient_case.h"

#include <algorithm>
#include <utility>

#include "runner/verification/gradient_comparison.h"

namespace fcsa::library {
namespace {

using kernels::DType;
using runner::Output;

constexpr DType kF32 = DType::f32;

void fill_forward_results(const AttentionCase& attention) {
  const Shape shape = shape_of_queries(attention.problem(), attention.problem().o_strides);
  const auto rows = shape.all_rows();
  const auto results = kernels::reference_rows(attention.traits(), attention.args(), rows);
  auto* lse = reinterpret_cast<float*>(attention.lse().data());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    lse[r] = static_cast<float>(results.lse[r]);
    for (int c = 0; c < shape.channels; ++c)
      kernels::store_element(attention.traits().dtype, attention.o().data(), shape.start(rows[r]) + c,
                             static_cast<float>(results.o[r * shape.channels + c]));
  }
}

std::vector<GradientCase::Gradient> gradients_of(const fcsa_problem& p) {
  std::vector<GradientCase::Gradient> list;
  const auto add = [&](const char* name, DType dtype, const Shape& shape, bool wanted) {
    list.push_back({name, dtype, shape, wanted ? output_tensor(dtype, shape) : Memory(0, 0)});
  };
  add("dq", dtype_of(p), shape_of_queries(p, p.dq_strides), (p.omitted_gradients & FCSA_DQ) == 0);
  add("dk", dtype_of(p), shape_of_keys(p, p.dk_strides), (p.omitted_gradients & FCSA_DK) == 0);
  add("dv", dtype_of(p), shape_of_keys(p, p.dv_strides), (p.omitted_gradients & FCSA_DV) == 0);
  add("dbias", bias_dtype_of(p), shape_of_bias(p, p.dbias_strides), p.bias_gradient != 0);
  add("dscale", kF32, {1, 1, 1, p.heads, {p.heads, p.heads, p.heads}}, p.scale_gradient != 0);
  return list;
}

std::vector<double> values_of(const GradientCase::Gradient& gradient) {
  std::vector<double> values;
  for (const auto& row : gradient.shape.all_rows())
    for (int c = 0; c < gradient.shape.channels; ++c)
      values.push_back(
          kernels::load_element(gradient.dtype, gradient.memory.data(), gradient.shape.start(row) + c));
  return values;
}

}  // namespace

fcsa_problem backward_problem(std::int32_t dtype, int heads, int rows, int head_dim) {
  fcsa_problem problem = forward_problem(dtype, heads, rows, head_dim);
  problem.op = FCSA_BACKWARD;
  return problem;
}

GradientCase::GradientCase(const fcsa_problem& problem, unsigned seed)
    : attention_(problem, seed),
      dout_shape_(shape_of_queries(problem, problem.dout_strides)),
      dout_(random_tensor(dtype_of(problem), dout_shape_, seed + 10)),
      gradients_(gradients_of(problem)) {
  fill_forward_results(attention_);
}

fcsa_tensors GradientCase::tensors() const {
  fcsa_tensors t = attention_.tensors();
  t.lse = reinterpret_cast<float*>(attention_.lse().data());
  t.dout = dout_.data();
  std::vector<void*> addresses;
  for (const auto& gradient : gradients_)
    addresses.push_back(gradient.memory.bytes() != 0 ? gradient.memory.data() : nullptr);
  set_gradients(t, addresses);
  return t;
}

void GradientCase::set_gradients(fcsa_tensors& tensors, const std::vector<void*>& addresses) {
  tensors.dq = addresses.at(0);
  tensors.dk = addresses.at(1);
  tensors.dv = addresses.at(2);
  tensors.dbias = addresses.at(3);
  tensors.dscale = static_cast<float*>(addresses.at(4));
}

kernels::BackwardArgs GradientCase::args() const {
  kernels::BackwardArgs args;
  static_cast<kernels::Args&>(args) = attention_.args();
  args.o = attention_.o().data();
  args.lse = reinterpret_cast<float*>(attention_.lse().data());
  args.dout = dout_.data();
  args.dout_strides = dout_shape_.strides;
  return args;
}

std::string GradientCase::mistake() const {
  kernels::GradientRows rows{.queries = of(Output::dq).shape.all_rows(),
                             .keys = of(Output::dk).shape.all_rows()};
  const kernels::Problem problem = problem_of(attention_.problem());
  if (problem.bias_gradient) rows.bias = of(Output::dbias).shape.all_rows();
  rows.scale = problem.scale_gradient;
  for (const auto& expected : runner::expect_gradients(problem, args(), rows)) {
    if (of(expected.output).memory.bytes() == 0) continue;  // omitted
    const std::vector<double> actual = values_of(of(expected.output));
    const runner::Worst off = runner::worst_gradient(actual, expected);
    if (!off.ok())
      return runner::describe(runner::output_shape(problem, expected.output), expected, actual, off);
  }
  return {};
}

const GradientCase::Gradient& GradientCase::of(Output output) const {
  return *std::find_if(gradients_.begin(), gradients_.end(),
                       [&](const Gradient& gradient) { return runner::to_text(output) == gradient.name; });
}

bool GradientCase::gaps_are_intact() const {
  return std::all_of(gradients_.begin(), gradients_.end(), [](const Gradient& gradient) {
    return gradient.memory.bytes() == 0 ||
           library::gaps_are_intact(gradient.memory, gradient.dtype, gradient.shape);
  });
}

}  // namespace fcsa::library
