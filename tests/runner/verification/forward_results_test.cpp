#include "runner/verification/forward_results.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/runner/verification/input_cases.h"

namespace fcsa::runner {
namespace {

using kernels::Problem;

kernels::RowResults forward_results_of(const HostInputs& inputs) {
  const Problem& p = inputs.problem;
  const kernels::Strides s = kernels::shape_args(p).o_strides;
  kernels::RowResults results;
  results.lse.assign(inputs.lse.begin(), inputs.lse.end());
  for (int batch = 0; batch < p.batch; ++batch)
    for (int head = 0; head < p.heads; ++head)
      for (int row = 0; row < p.nq; ++row)
        for (int d = 0; d < p.head_dim; ++d)
          results.o.push_back(kernels::load_element(p.dtype, inputs.o.data(),
                                                    batch * s.batch + head * s.head + row * s.row + d));
  return results;
}

TEST(Inputs, OfTheBackwardPassHaveWhatTheForwardPassGives) {
  for (const auto layout : {kernels::Layout::bhnd, kernels::Layout::bnhd}) {
    Problem p = backward_problem();
    p.layout = layout;
    p.causal = true;
    p.key_mask = true;
    const HostInputs inputs = make_inputs(p, Values::dominant_key, 5);
    const kernels::RowResults exact = attend_to(inputs), given = forward_results_of(inputs);
    ASSERT_EQ(exact.o.size(), given.o.size());
    for (std::size_t i = 0; i < exact.o.size(); ++i) EXPECT_EQ(static_cast<float>(exact.o[i]), given.o[i]);
    for (std::size_t i = 0; i < exact.lse.size(); ++i)
      EXPECT_EQ(static_cast<float>(exact.lse[i]), given.lse[i]);
  }
}

TEST(Inputs, OfTheBackwardPassAreThoseOfTheForwardPassAndAGradientOfTheOutput) {
  const HostInputs forward = make_inputs(small_problem(), Values::normal, 5),
                   backward = make_inputs(backward_problem(), Values::normal, 5);
  EXPECT_EQ(forward.q, backward.q);
  EXPECT_EQ(forward.k, backward.k);
  EXPECT_EQ(forward.v, backward.v);
  EXPECT_TRUE(forward.dout.empty() && forward.o.empty() && forward.lse.empty());
  double squares = 0;
  const auto* dout = reinterpret_cast<const float*>(backward.dout.data());
  for (std::size_t i = 0; i < backward.dout.size() / sizeof(float); ++i) squares += double{dout[i]} * dout[i];
  EXPECT_NEAR(squares / (static_cast<double>(backward.dout.size()) / sizeof(float)), 1, 0.05);
  EXPECT_NE(backward.dout, backward.q);
  EXPECT_EQ(backward.o, make_inputs(backward_problem(), Values::normal, 5).o);
}

// Of rows from one number to another: how far apart outputs are, relative to the larger of both.
double off(const Problem& p, const kernels::RowResults& a, const kernels::RowResults& b, int first,
           int last) {
  double squares = 0, difference = 0;
  for (int row = 0; row < p.batch * p.heads * p.nq; ++row) {
    if (row % p.nq < first || row % p.nq >= last) continue;
    for (int d = 0; d < p.head_dim; ++d) {
      const auto i = static_cast<std::size_t>(row * p.head_dim + d);
      squares += std::pow(a.o[i], 2) + std::pow(b.o[i], 2);
      difference += std::pow(a.o[i] - b.o[i], 2);
    }
  }
  return std::sqrt(2 * difference / squares);
}

TEST(Inputs, OfLongBackwardProblemsAreEstimatedFromASampleOfTheKeys) {
  Problem p = backward_problem();
  p.nq = 100;
  p.nk = 400;
  p.causal = p.key_mask = p.head_scale = true;
  p.bias = kernels::Bias::f32;
  p.bias_heads = 1;
  HostInputs inputs = make_inputs(p, Values::normal, 5);
  const kernels::RowResults exact = forward_results_of(inputs);
  add_forward_results(inputs, ForwardPrecision::estimated);
  const kernels::RowResults estimate = forward_results_of(inputs);
  // Most of the visible keys are in the sample: outputs are alike, but not equal.
  for (std::size_t i = 0; i < exact.lse.size(); ++i) EXPECT_NEAR(estimate.lse[i], exact.lse[i], 0.35);
  EXPECT_LT(off(p, exact, estimate, 0, 100), 0.5);
  EXPECT_GT(off(p, exact, estimate, 0, 100), 0.1);
}

TEST(Inputs, AreExactInRowsThatSeeFewKeysThoughTheOthersAreEstimated) {
  Problem p = backward_problem();
  p.nq = p.nk = 700;
  p.causal = true;
  HostInputs inputs = make_inputs(p, Values::normal, 5);
  const kernels::RowResults exact = forward_results_of(inputs);
  add_forward_results(inputs, ForwardPrecision::estimated);
  const kernels::RowResults estimate = forward_results_of(inputs);
  EXPECT_EQ(off(p, exact, estimate, 0, 256), 0);
  EXPECT_GT(off(p, exact, estimate, 256, 700), 0);
}

TEST(Inputs, AreEstimatesWhereNormalValuesAreManyAndTheirLogitsAlike) {
  Problem large = backward_problem();
  large.head_dim = 64;
  large.nq = large.nk = 8192;
  EXPECT_EQ(precision_for(large, Values::normal), ForwardPrecision::estimated);
  EXPECT_EQ(precision_for(large, Values::dominant_key), ForwardPrecision::exact);
  EXPECT_EQ(precision_for(backward_problem(), Values::normal), ForwardPrecision::exact);
  Problem wide = large;
  wide.scale = 100;
  EXPECT_EQ(precision_for(wide, Values::normal), ForwardPrecision::exact);
  Problem raw = large;
  raw.l2norm_qk = false;
  EXPECT_EQ(precision_for(raw, Values::normal), ForwardPrecision::estimated);
  raw.bias = kernels::Bias::f32;
  EXPECT_EQ(precision_for(raw, Values::normal), ForwardPrecision::estimated);
}

TEST(Inputs, OfLargeRawProblemsAreSmallEnoughForLogitsThatAreAlike) {
  Problem raw = backward_problem();
  raw.l2norm_qk = false;
  raw.head_dim = 64;
  raw.scale = 8;
  EXPECT_EQ(moderating_factor(raw, Values::normal), 1.0f);
  raw.nq = raw.nk = 8192;
  EXPECT_FLOAT_EQ(moderating_factor(raw, Values::normal), 0.125f);  // of q and of k: 1/64 of logits
  EXPECT_EQ(moderating_factor(raw, Values::dominant_key), 1.0f);
  raw.scale = 0.125f;
  EXPECT_EQ(moderating_factor(raw, Values::normal), 1.0f);
  raw.op = kernels::Op::forward;
  raw.scale = 8;
  EXPECT_EQ(moderating_factor(raw, Values::normal), 1.0f);
}

}  // namespace
}  // namespace fcsa::runner
