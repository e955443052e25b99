#include "kernels/cpu/forward.h"

#include "cpu_cases.h"

namespace fcsa::kernels {
namespace {

using cpu::ForwardConfig;

Problem problem_of(int head_dim, int nq, int nk) {
  Problem problem;
  problem.head_dim = head_dim, problem.nq = nq, problem.nk = nk;
  return problem;
}

// Features that every configuration must serve; compiled for the compiler's default instruction set.
template <Traits T, ForwardConfig C>
void check(Problem problem) {
  problem.dtype = T.dtype, problem.head_dim = T.head_dim;
  problem.causal = T.causal, problem.key_mask = T.key_mask;
  problem.l2norm_qk = T.l2norm_qk;
  if (!T.l2norm_qk) problem.scale = 0.3f;
  if (T.l2norm_qk && T.softmax == Softmax::running_maximum) problem.scale = 100.0f;
  ASSERT_TRUE(traits_of(problem) == T);
  cpu_cases::check_all(problem, {cpu::native::prepare<T, C>, cpu::native::forward<T, C>},
                       [](const Args& args) { return C.plan(T, args); });
}

constexpr ForwardConfig kSmall{.vector_floats = 4,
                               .qk_rows = 6,
                               .qk_vectors = 2,
                               .pv_rows = 4,
                               .pv_vectors = 2,
                               .row_groups = 4,
                               .key_steps = 4,
                               .unroll = 1,
                               .pack_v = 1};
constexpr ForwardConfig kInPlace{.vector_floats = 4,
                                 .qk_rows = 5,
                                 .qk_vectors = 3,
                                 .pv_rows = 10,
                                 .pv_vectors = 1,
                                 .row_groups = 6,
                                 .key_steps = 2,
                                 .unroll = 8,
                                 .pack_v = 0};

TEST(CpuForward, IsRightWithTheFixedBound) {
  check<Traits{.head_dim = 64}, kSmall>({});
}

TEST(CpuForward, IsRightWhenCausal) {
  check<Traits{.head_dim = 16, .causal = true}, kSmall>({});
}

TEST(CpuForward, IsRightWithAKeyMask) {
  check<Traits{.head_dim = 32, .key_mask = true}, kSmall>({});
}

TEST(CpuForward, IsRightWhenCausalWithAKeyMask) {
  check<Traits{.head_dim = 80, .causal = true, .key_mask = true}, kSmall>({});
}

TEST(CpuForward, IsRightWithTheRunningMaximum) {
  check<Traits{.head_dim = 32, .softmax = Softmax::running_maximum}, kSmall>({});
}

TEST(CpuForward, IsRightWithoutNormalisation) {
  check<Traits{.head_dim = 48, .causal = true, .l2norm_qk = false, .softmax = Softmax::running_maximum},
        kSmall>({});
}

TEST(CpuForward, IsRightWithTheRunningMaximumAndAKeyMask) {
  check<Traits{.head_dim = 16, .causal = true, .key_mask = true, .softmax = Softmax::running_maximum},
        kSmall>({});
}

TEST(CpuForward, IsRightInBfloat16) {
  check<Traits{.dtype = DType::bf16, .head_dim = 96, .causal = true}, kSmall>({});
}

TEST(CpuForward, IsRightInFloat16) {
  check<Traits{.dtype = DType::f16, .head_dim = 64, .causal = true}, kSmall>({});
}

TEST(CpuForward, IsRightWhenVIsReadInPlace) {
  check<Traits{.head_dim = 64, .causal = true}, kInPlace>({});
}

TEST(CpuForward, IsRightForTheLargestHeadDimension) {
  check<Traits{.head_dim = 256}, kInPlace>({});
}

TEST(CpuForward, TakesANullMaskAsAllVisible) {
  constexpr Traits kTraits{.head_dim = 16, .causal = true, .key_mask = true};
  Problem unmasked = problem_of(16, 70, 90);
  unmasked.causal = true;
  cpu_cases::Case(unmasked).check(
      kSmall.plan(kTraits, shape_args(unmasked)),
      {cpu::native::prepare<kTraits, kSmall>, cpu::native::forward<kTraits, kSmall>});
}

TEST(CpuForward, KeepsTheScaleOfRowsWhoseSquaresLeaveTheRangeOfFloats) {
  constexpr Traits kTraits{.head_dim = 16};
  const Problem problem = problem_of(16, 20, 30);
  for (const float magnitude : {1e-11f, 1e25f})
    cpu_cases::Case(problem, {.magnitude = magnitude})
        .check(kSmall.plan(kTraits, shape_args(problem)),
               {cpu::native::prepare<kTraits, kSmall>, cpu::native::forward<kTraits, kSmall>});
}

TEST(CpuForward, StaysFiniteAtTheLargestBound) {
  constexpr Traits kTraits{.head_dim = 16};
  Problem problem = problem_of(16, 64, 200);
  problem.scale = 43.0f;
  cpu_cases::Case(problem, {.dominant_key = true})
      .check(kSmall.plan(kTraits, shape_args(problem)),
             {cpu::native::prepare<kTraits, kSmall>, cpu::native::forward<kTraits, kSmall>});
}

TEST(CpuForward, RaisesTheMaximumWhenLogitsGrowWithTheKeys) {
  constexpr Traits kTraits{.head_dim = 16, .l2norm_qk = false, .softmax = Softmax::running_maximum};
  const int n = 300;
  std::vector<float> q(16, 1.0f), k(n * 16), v(n * 16), o(16), lse(1);
  for (int j = 0; j < n; ++j)
    for (int d = 0; d < 16; ++d)
      k[j * 16 + d] = static_cast<float>(j) / 10, v[j * 16 + d] = static_cast<float>(j);
  Problem problem = problem_of(16, 1, n);
  problem.scale = 1.0f, problem.l2norm_qk = false;
  Args args = shape_args(problem);
  args.q = q.data(), args.k = k.data(), args.v = v.data(), args.o = o.data(), args.lse = lse.data();
  const LaunchPlan plan = kSmall.plan(kTraits, args);
  cpu_cases::Storage workspace(static_cast<std::size_t>(plan.workspace_bytes));
  args.workspace = workspace.data();
  const cpu::TaskFunction functions[] = {cpu::native::prepare<kTraits, kSmall>,
                                         cpu::native::forward<kTraits, kSmall>};
  cpu::run_plan(plan, args, functions);
  double total = 0, weighted = 0;
  for (int j = 0; j < n; ++j) {
    const double p = std::exp(1.6 * (j - (n - 1)));
    total += p, weighted += p * j;
  }
  EXPECT_NEAR(o[5], weighted / total, 1e-3);
  EXPECT_NEAR(lse[0], 1.6 * (n - 1) + std::log(total), 1e-3);
}

}  // namespace
}  // namespace fcsa::kernels
