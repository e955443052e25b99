#include "kernels/cpu/forward.h"

#include "cpu_instances.h"
#include "fenced.h"

namespace fcsa::kernels {
namespace {

using namespace cpu_cases;

TEST(CpuForwardFeatures, IsRightWithABias) {
  check<Traits{.head_dim = 32, .bias = Bias::f32, .softmax = kRunning}, kSmall>();
}

TEST(CpuForwardFeatures, IsRightWithABiasOfTheTensorsType) {
  check<Traits{.dtype = DType::bf16, .head_dim = 48, .bias = Bias::same, .softmax = kRunning}, kSmall>();
  check<Traits{.dtype = DType::f16, .head_dim = 32, .bias = Bias::same, .softmax = kRunning}, kSmall>();
  check<Traits{.head_dim = 16, .bias = Bias::same, .softmax = kRunning}, kInPlace>();
}

TEST(CpuForwardFeatures, IsRightWithABiasInFloatsOfSixteenBitTensors) {
  check<Traits{.dtype = DType::bf16, .head_dim = 16, .causal = true, .bias = Bias::f32, .softmax = kRunning},
        kSmall>();
  check<Traits{.dtype = DType::f16, .head_dim = 16, .key_mask = true, .bias = Bias::f32, .softmax = kRunning},
        kSmall>();
}

TEST(CpuForwardFeatures, IgnoresTheBiasOfHiddenPairs) {
  check<Traits{.head_dim = 16, .causal = true, .key_mask = true, .bias = Bias::f32, .softmax = kRunning},
        kSmall>();
  check<Traits{.head_dim = 16, .causal = true, .key_mask = true, .bias = Bias::f32}, kSmall>();
}

TEST(CpuForwardFeatures, IsRightWithABiasWithinAStatedBound) {
  check<Traits{.head_dim = 64, .causal = true, .bias = Bias::f32}, kSmall>();
  check<Traits{.dtype = DType::f16, .head_dim = 32, .bias = Bias::same}, kSmall>();
}

TEST(CpuForwardFeatures, IsRightWithABiasWithoutNormalisation) {
  check<Traits{.head_dim = 32, .bias = Bias::f32, .l2norm_qk = false, .softmax = kRunning}, kSmall>();
}

TEST(CpuForwardFeatures, IsRightWithAScalePerHead) {
  check<Traits{.head_dim = 32, .causal = true, .head_scale = true, .softmax = kRunning}, kSmall>();
  check<Traits{.dtype = DType::bf16, .head_dim = 16, .key_mask = true, .head_scale = true}, kSmall>();
  check<Traits{.dtype = DType::f16, .head_dim = 16, .head_scale = true, .softmax = kRunning}, kSmall>();
}

TEST(CpuForwardFeatures, NormalisesGroupsWiderThanAVector) {
  check<Traits{.head_dim = 64, .causal = true, .groups = 4}, kSmall>();
  check<Traits{.dtype = DType::bf16, .head_dim = 32, .groups = 8, .softmax = kRunning}, kSmall>();
}

TEST(CpuForwardFeatures, NormalisesGroupsThatAreNotMultiplesOfAVector) {
  check<Traits{.head_dim = 80, .key_mask = true, .groups = 16, .softmax = kRunning}, kSmall>();
  check<Traits{.dtype = DType::f16, .head_dim = 48, .groups = 24, .softmax = kRunning}, kSmall>();
  check<Traits{.head_dim = 16, .groups = 16, .softmax = kRunning}, kSmall>();
}

TEST(CpuForwardFeatures, IsRightWithABiasScalesAndGroupsTogether) {
  check<kEverything, kSmall>();
}

TEST(CpuForwardFeatures, TakesNullScalesAsTheOneScale) {
  constexpr Traits kTraits{.head_dim = 16, .head_scale = true};
  check_case<kTraits>(problem_of(16, 70, 90));
}

TEST(CpuForwardFeatures, HidesPairsWhoseBiasIsMinusInfinity) {
  constexpr Traits kBounded{.head_dim = 16, .bias = Bias::f32};
  constexpr Traits kOnline{.head_dim = 16, .bias = Bias::f32, .softmax = kRunning};
  const Values values{.infinite_bias = true};
  check_case<kBounded>(with_lengths(problem_with(kBounded), 37, 90), values);
  check_case<kOnline>(with_lengths(problem_with(kOnline), 37, 90), values);
}

TEST(CpuForwardFeatures, IsRightWithALargeBias) {
  constexpr Traits kTraits{.head_dim = 16, .causal = true, .bias = Bias::f32, .softmax = kRunning};
  check_case<kTraits>(with_lengths(problem_with(kTraits), 130, 300), {.bias_magnitude = 500.0f});
}

template <Traits T>
void run_with_fenced_bias(int nq, int nk) {
  Problem problem = with_lengths(problem_with(T), nq, nk);
  const auto n = static_cast<std::size_t>(nq), m = static_cast<std::size_t>(nk);
  std::vector<float> q(n * 16, 1.0f), k(m * 16, 1.0f), v(m * 16), o(n * 16), lse(n);
  const Fenced bias(n * m * (T.bias == Bias::same ? element_bytes(T.dtype) : 4));
  BackwardArgs args = shape_args(problem);
  args.q = q.data(), args.k = k.data(), args.v = v.data(), args.o = o.data(), args.lse = lse.data();
  args.bias = bias.data();
  run<T>(args);
  EXPECT_GT(lse.back(), 0.0f);
}

TEST(CpuForwardFeatures, NeverReadsPastTheBias) {
  for (const int nq : {1, 5, 24, 70})
    for (const int nk : {1, 8, 31, 65}) {
      run_with_fenced_bias<Traits{.head_dim = 16, .bias = Bias::f32, .softmax = kRunning}>(nq, nk);
      run_with_fenced_bias<Traits{
          .dtype = DType::bf16, .head_dim = 16, .bias = Bias::same, .softmax = kRunning}>(nq, nk);
    }
}

}  // namespace
}  // namespace fcsa::kernels
