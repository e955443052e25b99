// Nothing that is made from a problem forgets one of its fields.
#include "kernels/common/problem.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/kernels/changed_problems.h"

namespace fcsa::kernels {
namespace {

bool operator==(const Strides& a, const Strides& b) {
  return a.batch == b.batch && a.head == b.head && a.row == b.row;
}

TEST(ProblemFields, TheTextTellsProblemsApartThatDifferInAnyField) {
  const Problem base = problem_with_everything();
  std::set<std::string> texts{to_text(base)};
  for (const auto& [field, scope, problem] : changed_problems(base)) {
    EXPECT_TRUE(texts.insert(to_text(problem)).second) << field;
    EXPECT_EQ(problem_from_text(to_text(problem)), problem) << field;
  }
}

TEST(ProblemFields, TheClassIsAnotherExactlyWhereKernelsMayDiffer) {
  const Problem base = problem_with_everything();
  for (const auto& [field, scope, problem] : changed_problems(base))
    EXPECT_EQ(class_text(problem) != class_text(base), scope == Scope::kind) << field;
}

TEST(ProblemFields, TraitsAndArgumentsHaveWhatTheirFieldsSay) {
  Problem p = problem_with_everything();
  p.dtype = DType::f16, p.head_dim = 96, p.causal = p.key_mask = p.head_scale = true;
  p.l2norm_qk = false, p.groups = 3, p.bias_gradient = true, p.scale = 0.5f, p.logit_bound = 4.0f;
  const Traits expected{.dtype = DType::f16,
                        .head_dim = 96,
                        .causal = true,
                        .key_mask = true,
                        .bias = Bias::same,
                        .head_scale = true,
                        .l2norm_qk = false,
                        .groups = 3,
                        .tf32 = false,
                        .softmax = Softmax::fixed_bound};
  EXPECT_EQ(traits_of(p), expected);
  p.dtype = DType::f32, p.allow_tf32 = true;
  EXPECT_TRUE(traits_of(p).tf32);

  const BackwardArgs args = shape_args(p);
  EXPECT_EQ(args.batch, 4);
  EXPECT_EQ(args.heads, 4);
  EXPECT_EQ(args.kv_heads, 2);
  EXPECT_EQ(args.nq, 100);
  EXPECT_EQ(args.nk, 200);
  EXPECT_EQ(args.scale, 0.5f);
  EXPECT_EQ(args.bound, 4.0f);
  EXPECT_TRUE(args.wants_dbias);
  EXPECT_FALSE(args.wants_dscale);
  EXPECT_TRUE(args.dk_strides == dense_strides(Layout::bhnd, 2, 200, 96));
  EXPECT_TRUE(args.dbias_strides == dense_strides(Layout::bhnd, 1, 100, 200));
}

TEST(ProblemFields, AreListedOnceEach) {
  std::set<std::string> names, words;
  int fields = 0;
  const Problem problem;
  visit_problem(
      [&](const auto& field, const auto&) {
        ++fields;
        names.insert(field.name);
        if (field.form != Form::bare) words.insert(field.word);
      },
      problem);
  EXPECT_EQ(names.size(), fields);
  EXPECT_EQ(words.size(), fields - 3);  // operation, dtype and layout stand alone
}

// A structured binding names every member: one more in Problem doesn't compile, until it is listed too.
TEST(ProblemFields, AreAllMembersOfAProblem) {
  const auto& [op, dtype, head_dim, batch, heads, kv_heads, nq, nk, causal, key_mask, layout, scale,
               l2norm_qk, groups, logit_bound, bias, bias_batch, bias_heads, head_scale, bias_gradient,
               scale_gradient, deterministic, allow_tf32] = problem_with_everything();
  const std::set<const void*> members{&op,
                                      &dtype,
                                      &head_dim,
                                      &batch,
                                      &heads,
                                      &kv_heads,
                                      &nq,
                                      &nk,
                                      &causal,
                                      &key_mask,
                                      &layout,
                                      &scale,
                                      &l2norm_qk,
                                      &groups,
                                      &logit_bound,
                                      &bias,
                                      &bias_batch,
                                      &bias_heads,
                                      &head_scale,
                                      &bias_gradient,
                                      &scale_gradient,
                                      &deterministic,
                                      &allow_tf32};
  int fields = 0;
  const Problem problem;
  visit_problem([&](const auto&, const auto&) { ++fields; }, problem);
  EXPECT_EQ(members.size(), fields);
}

}  // namespace
}  // namespace fcsa::kernels
