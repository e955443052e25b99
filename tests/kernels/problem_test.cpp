#include "kernels/problem.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace fcsa::kernels {
namespace {

Problem everything() {
  Problem p;
  p.dtype = DType::bf16, p.head_dim = 96, p.batch = 2, p.heads = 8, p.kv_heads = 2, p.nq = 77, p.nk = 1000;
  p.causal = p.key_mask = true;
  p.layout = Layout::bnhd;
  p.scale = 0.1f;
  p.l2norm_qk = false;
  p.groups = 4;
  p.logit_bound = 12.5f;
  p.bias = Bias::f32;
  p.head_scale = true;
  return p;
}

std::string refusal(Problem problem) {
  try {
    validate(problem);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return {};
}

TEST(Problem, TextRoundTripKeepsEveryField) {
  EXPECT_EQ(problem_from_text(to_text(everything())), everything());
  EXPECT_EQ(problem_from_text(to_text(Problem{})), Problem{});
}

TEST(Problem, TextIsStableBecauseItIsTheKeyInTheStore) {
  EXPECT_EQ(to_text(Problem{}), "forward f32 d64 b1 h1 kv1 nq1 nk1 bhnd scale=8");
  EXPECT_EQ(
      to_text(everything()),
      "forward bf16 d96 b2 h8 kv2 nq77 nk1000 bnhd causal mask raw groups=4 bias=f32 head_scale bound=12.5 "
      "scale=0.1");
}

TEST(Problem, TextNamesTheSizesOfABroadcastBiasAndTf32) {
  Problem p;
  p.batch = 4, p.heads = 2, p.bias = Bias::same, p.bias_batch = 2, p.bias_heads = 1, p.allow_tf32 = true;
  const std::string text =
      "forward f32 d64 b4 h2 kv1 nq1 nk1 bhnd bias_batch=2 bias_heads=1 bias tf32 scale=8";
  EXPECT_EQ(to_text(p), text);
  EXPECT_EQ(problem_from_text(text), p);
  Problem full = p;
  full.bias_batch = full.bias_heads = 0;
  EXPECT_EQ(class_text(p), class_text(full));
  EXPECT_EQ(shape_args(p).bias_batch, 2);
  EXPECT_EQ(shape_args(p).bias_heads, 1);
  EXPECT_EQ(shape_args(full).bias_batch, 4);
  EXPECT_EQ(shape_args(full).bias_heads, 2);
}

TEST(Problem, SizesOfABiasAndTf32AreRefusedWhereTheyMeanNothing) {
  Problem p;
  p.batch = 4, p.heads = p.kv_heads = 4, p.bias = Bias::f32, p.bias_batch = 3;
  EXPECT_EQ(refusal(p), "bias_batch is 3: it must divide batch, which is 4");
  p.bias_batch = 2, p.bias_heads = 2;
  EXPECT_EQ(refusal(p), "bias_heads is 2: it must be 1 or heads, which is 4");
  p.bias_heads = 1, p.bias = Bias::none;
  EXPECT_EQ(refusal(p), "bias_batch and bias_heads are sizes of a bias, and there is none");
  p = {};
  p.dtype = DType::bf16, p.allow_tf32 = true;
  EXPECT_EQ(refusal(p), "tf32 is about products of f32 tensors");
}

TEST(Problem, ClassLeavesOutRunTimeSizes) {
  Problem longer = everything();
  longer.nq = longer.nk = 5, longer.batch = 9, longer.layout = Layout::bhnd;
  EXPECT_EQ(class_text(longer), class_text(everything()));
  longer.causal = false;
  EXPECT_NE(class_text(longer), class_text(everything()));
}

TEST(Problem, MalformedTextIsRefusedWithTheToken) {
  for (const char* text :
       {"", "forward", "forward f32 d64x", "forward f32 frob", "forward f32 nq", "sideways f32"})
    EXPECT_THROW(problem_from_text(text), std::invalid_argument) << text;
}

TEST(Problem, ValidationNamesTheFieldAndWhatIsAllowed) {
  Problem p;
  p.head_dim = 72;
  EXPECT_EQ(refusal(p), "head_dim is 72: it must be a multiple of 16 from 16 to 256");
  p = {};
  p.heads = 6, p.kv_heads = 4;
  EXPECT_NE(refusal(p).find("heads must be a multiple of kv_heads"), std::string::npos);
  p = {};
  p.nk = 0;
  EXPECT_EQ(refusal(p), "nk is 0: it must be at least 1");
  p = {};
  p.scale = 1.0f / 0.0f;
  EXPECT_NE(refusal(p).find("scale"), std::string::npos);
}

TEST(SoftmaxVariant, IsFixedOnlyWhenTheHostKnowsABoundWithinTheRangeOfTheDtype) {
  Problem p;
  EXPECT_EQ(softmax_variant(p), Softmax::fixed_bound);
  p.scale = 43.0f;
  EXPECT_EQ(softmax_variant(p), Softmax::fixed_bound);
  p.scale = 43.5f;
  EXPECT_EQ(softmax_variant(p), Softmax::running_maximum);
  p.scale = -8.0f;
  EXPECT_EQ(softmax_variant(p), Softmax::fixed_bound);
  p.scale = 8.0f, p.dtype = DType::f16;
  EXPECT_EQ(softmax_variant(p), Softmax::fixed_bound);
  p.scale = 11.0f;
  EXPECT_EQ(softmax_variant(p), Softmax::running_maximum);
}

TEST(SoftmaxVariant, IsRunningMaximumForAnythingUnboundedUnlessTheCallerPromisesABound) {
  for (auto change : {+[](Problem& p) { p.l2norm_qk = false; }, +[](Problem& p) { p.bias = Bias::same; },
                      +[](Problem& p) { p.head_scale = true; }}) {
    Problem p;
    change(p);
    EXPECT_EQ(softmax_variant(p), Softmax::running_maximum);
    p.logit_bound = 20.0f;
    EXPECT_EQ(softmax_variant(p), Softmax::fixed_bound);
    EXPECT_EQ(logit_bound(p), 20.0f);
    p.logit_bound = 50.0f;  // P would overflow
    EXPECT_EQ(softmax_variant(p), Softmax::running_maximum);
  }
}

TEST(Flops, CountOnlyVisiblePairsWhenCausal) {
  Problem p;
  p.head_dim = 16, p.nq = 3, p.nk = 3;
  EXPECT_EQ(flops(p), 4.0 * 16 * 9);
  p.causal = true;
  EXPECT_EQ(flops(p), 4.0 * 16 * (1 + 2 + 3));
  p.nk = 5;  // rows see 3, 4 and 5 keys
  EXPECT_EQ(flops(p), 4.0 * 16 * (3 + 4 + 5));
  p.nq = 5, p.nk = 2;  // rows see 0, 0, 0, 1 and 2 keys
  EXPECT_EQ(flops(p), 4.0 * 16 * (1 + 2));
}

TEST(ShapeArgs, StridesFollowTheLayout) {
  Problem p;
  p.batch = 2, p.heads = 4, p.kv_heads = 2, p.nq = 10, p.nk = 20;
  const BackwardArgs bhnd = shape_args(p);
  EXPECT_EQ(bhnd.q_strides.batch, 4 * 10 * 64);
  EXPECT_EQ(bhnd.q_strides.head, 10 * 64);
  EXPECT_EQ(bhnd.q_strides.row, 64);
  EXPECT_EQ(bhnd.k_strides.batch, 2 * 20 * 64);
  p.layout = Layout::bnhd;
  const BackwardArgs bnhd = shape_args(p);
  EXPECT_EQ(bnhd.v_strides.row, 2 * 64);
  EXPECT_EQ(bnhd.v_strides.head, 64);
  EXPECT_EQ(bnhd.o_strides.row, 4 * 64);
}

TEST(BoundOffset, KeepsProbabilitiesInTheRangeOfTheDtype) {
  EXPECT_EQ(bound_offset_log2(DType::f32, 8.0f), 0.0f);
  // Largest exponent 40 above the threshold; smallest still normal (above -126) at the largest bound of all.
  const float log2e = 1.4426950408889634f;
  EXPECT_NEAR(43.0f * log2e - bound_offset_log2(DType::bf16, 43.0f), 40.0f, 1e-4f);
  EXPECT_GT(-43.0f * log2e - bound_offset_log2(DType::bf16, 43.0f), -126.0f);
  EXPECT_NEAR(8.0f * log2e - bound_offset_log2(DType::f16, 8.0f), 15.0f, 1e-5f);
}

}  // namespace
}  // namespace fcsa::kernels
