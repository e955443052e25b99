#include "kernels/cpu/forward.h"

#include "cpu_instances.h"

namespace fcsa::kernels {
namespace {

using namespace cpu_cases;

TEST(CpuForward, IsRightWithTheFixedBound) {
  check<Traits{.head_dim = 64}, kSmall>();
}

TEST(CpuForward, IsRightWhenCausal) {
  check<Traits{.head_dim = 16, .causal = true}, kSmall>();
}

TEST(CpuForward, IsRightWithAKeyMask) {
  check<Traits{.head_dim = 32, .key_mask = true}, kSmall>();
}

TEST(CpuForward, IsRightWhenCausalWithAKeyMask) {
  check<Traits{.head_dim = 80, .causal = true, .key_mask = true}, kSmall>();
}

TEST(CpuForward, IsRightWithTheRunningMaximum) {
  check<Traits{.head_dim = 32, .softmax = Softmax::running_maximum}, kSmall>();
}

TEST(CpuForward, IsRightWithoutNormalisation) {
  check<Traits{.head_dim = 48, .causal = true, .l2norm_qk = false, .softmax = Softmax::running_maximum},
        kSmall>();
}

TEST(CpuForward, IsRightWithTheRunningMaximumAndAKeyMask) {
  check<Traits{.head_dim = 16, .causal = true, .key_mask = true, .softmax = Softmax::running_maximum},
        kSmall>();
}

TEST(CpuForward, IsRightInBfloat16) {
  check<Traits{.dtype = DType::bf16, .head_dim = 96, .causal = true}, kSmall>();
}

TEST(CpuForward, IsRightInFloat16) {
  check<Traits{.dtype = DType::f16, .head_dim = 64, .causal = true}, kSmall>();
}

TEST(CpuForward, IsRightWhenVIsReadInPlace) {
  check<Traits{.head_dim = 64, .causal = true}, kInPlace>();
}

TEST(CpuForward, IsRightForTheLargestHeadDimension) {
  check<Traits{.head_dim = 256}, kInPlace>();
}

TEST(CpuForward, TakesANullMaskAsAllVisible) {
  constexpr Traits kTraits{.head_dim = 16, .causal = true, .key_mask = true};
  Problem unmasked = problem_of(16, 70, 90);
  unmasked.causal = true;
  check_case<kTraits>(unmasked);
}

TEST(CpuForward, KeepsTheScaleOfRowsWhoseSquaresLeaveTheRangeOfFloats) {
  constexpr Traits kTraits{.head_dim = 16};
  const Problem problem = problem_of(16, 20, 30);
  for (const float magnitude : {1e-11f, 1e25f}) check_case<kTraits>(problem, {.magnitude = magnitude});
}

TEST(CpuForward, StaysFiniteAtTheLargestBound) {
  constexpr Traits kTraits{.head_dim = 16};
  Problem problem = problem_of(16, 64, 200);
  problem.scale = 43.0f;
  check_case<kTraits>(problem, {.dominant_key = true});
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
  BackwardArgs args = shape_args(problem);
  args.q = q.data(), args.k = k.data(), args.v = v.data(), args.o = o.data(), args.lse = lse.data();
  run<kTraits>(args);
  double total = 0, weighted = 0;
  for (int j = 0; j < n; ++j) {
    const double p = std::exp(1.6 * (j - (n - 1)));
    total += p, weighted += p * j;
  }
  EXPECT_NEAR(o[5], weighted / total, 1e-3);
  EXPECT_NEAR(lse[0], 1.6 * (n - 1) + std::log(total), 1e-3);
}

TEST(CpuForward, HoldsAStatedBoundOnRawQueriesAndKeys) {
  constexpr Traits kTraits{.head_dim = 64, .causal = true, .l2norm_qk = false};
  Problem problem = with_lengths(problem_with(kTraits), 97, 140);
  problem.scale = 0.3f, problem.logit_bound = 6.0f;
  check_case<kTraits>(problem, {.magnitude = 0.5f});
}

TEST(CpuForward, IsRightWithEveryLogitAtEitherEndOfTheBound) {
  constexpr Traits kRaw{.head_dim = 16, .l2norm_qk = false};
  for (const float end : {-1.0f, 1.0f}) {
    Problem problem = with_lengths(problem_with(kRaw), 64, 200);
    problem.scale = 43.0f / 16, problem.logit_bound = 43.0f;
    check_case<kRaw>(problem, {.alignment = end});
    Problem normalised = problem_of(16, 64, 200);
    normalised.scale = 43.0f;
    check_case<Traits{.head_dim = 16}>(normalised, {.alignment = end});
  }
}

TEST(CpuForward, ClampsNormsToEps) {
  constexpr Traits kTraits{.head_dim = 16};
  std::vector<float> q(16, 1e-4f), k(2 * 16, 1e-4f), v(2 * 16), o(16), lse(1);
  std::fill(k.begin() + 16, k.end(), -1e-4f);
  Problem problem = problem_of(16, 1, 2);
  BackwardArgs args = shape_args(problem);
  args.eps = 1e-3f;
  args.q = q.data(), args.k = k.data(), args.v = v.data(), args.o = o.data(), args.lse = lse.data();
  run<kTraits>(args);
  const double logit = 8.0 * 0.4 * 0.4;
  EXPECT_NEAR(lse[0], std::log(std::exp(logit) + std::exp(-logit)), 1e-5);
}

}  // namespace
}  // namespace fcsa::kernels
