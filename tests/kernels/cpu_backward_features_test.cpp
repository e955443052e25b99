#include "kernels/cpu/backward.h"

#include "cpu_backward_instances.h"
#include "fenced.h"

namespace fcsa::kernels {
namespace {

using namespace cpu_cases;

TEST(CpuBackwardFeatures, IsRightWithABias) {
  check_gradients<Traits{.head_dim = 32, .bias = Bias::f32, .softmax = kRunning}, kOneTask>();
  check_gradients<Traits{.head_dim = 32, .causal = true, .bias = Bias::f32, .softmax = kRunning},
                  kTwoWalks>();
}

TEST(CpuBackwardFeatures, IsRightWithABiasOfTheTensorsType) {
  check_gradients<Traits{.dtype = DType::bf16, .head_dim = 48, .bias = Bias::same, .softmax = kRunning},
                  kOneTask>();
  check_gradients<Traits{.dtype = DType::f16, .head_dim = 32, .bias = Bias::same, .softmax = kRunning},
                  kSplit>();
  check_gradients<Traits{.head_dim = 16, .bias = Bias::same, .softmax = kRunning}, kTwoWalks>();
}

TEST(CpuBackwardFeatures, IsRightWithABiasInFloatsOfSixteenBitTensors) {
  check_gradients<
      Traits{.dtype = DType::bf16, .head_dim = 16, .causal = true, .bias = Bias::f32, .softmax = kRunning},
      kSplit>();
}

TEST(CpuBackwardFeatures, IgnoresTheBiasOfHiddenPairs) {
  check_gradients<
      Traits{.head_dim = 16, .causal = true, .key_mask = true, .bias = Bias::f32, .softmax = kRunning},
      kOneTask>();
}

TEST(CpuBackwardFeatures, IsRightWithAScalePerHead) {
  check_gradients<Traits{.head_dim = 32, .causal = true, .head_scale = true, .softmax = kRunning}, kSplit>();
  check_gradients<Traits{.dtype = DType::bf16, .head_dim = 16, .key_mask = true, .head_scale = true},
                  kTwoWalks>();
}

TEST(CpuBackwardFeatures, NormalisesGroups) {
  check_gradients<Traits{.head_dim = 64, .causal = true, .groups = 4}, kOneTask>();
  check_gradients<Traits{.dtype = DType::bf16, .head_dim = 32, .groups = 8, .softmax = kRunning}, kSplit>();
  check_gradients<Traits{.head_dim = 80, .key_mask = true, .groups = 16, .softmax = kRunning}, kTwoWalks>();
  check_gradients<Traits{.head_dim = 16, .groups = 16, .softmax = kRunning}, kOneTask>();
}

TEST(CpuBackwardFeatures, IsRightWithABiasScalesAndGroupsTogether) {
  check_gradients<kEverything, kSplit>();
}

TEST(CpuBackwardFeatures, GivesNothingToPairsWhoseBiasIsMinusInfinity) {
  constexpr Traits kTraits{.head_dim = 16, .bias = Bias::f32, .softmax = kRunning};
  GradientCase c(with_lengths(backward_problem_with(kTraits), 37, 90), {.infinite_bias = true});
  const auto written = c.run(kOneTask.plan(kTraits, c.args()), backward_functions<kTraits, kOneTask>());
  const auto* dq = static_cast<const float*>(written.args.dq);
  const auto* dk = static_cast<const float*>(written.args.dk);
  const auto* dbias = static_cast<const float*>(written.args.dbias);
  for (int i = 0; i < 37; ++i) {
    EXPECT_EQ(dq[i * 16] == 0.0f, i % 4 == 0) << i;
    for (int j = 0; j < 90; ++j) EXPECT_EQ(dbias[i * 90 + j] == 0.0f, i % 4 == 0 || j % 3 == 0) << i << j;
  }
  for (int j = 0; j < 90; ++j) EXPECT_EQ(dk[j * 16] == 0.0f, j % 3 == 0) << j;
}

TEST(CpuBackwardFeatures, LeavesOutTheGradientsThatAreNotWanted) {
  constexpr Traits kTraits{.head_dim = 16, .bias = Bias::f32, .softmax = kRunning};
  Problem problem = with_lengths(backward_problem_with(kTraits), 40, 50);
  problem.bias_gradient = problem.scale_gradient = false;
  GradientCase c(problem);
  const LaunchPlan plan = kOneTask.plan(kTraits, c.args());
  EXPECT_EQ(plan.count, 3);
  c.compare(c.run(plan, backward_functions<kTraits, kOneTask>()));
}

TEST(CpuBackwardFeatures, NeverReadsPastTheBiasNorWritesPastItsGradient) {
  constexpr Traits kTraits{.dtype = DType::bf16, .head_dim = 16, .bias = Bias::same, .softmax = kRunning};
  for (const int nq : {1, 5, 24, 70})
    for (const int nk : {1, 8, 31, 65}) {
      GradientCase c(with_lengths(backward_problem_with(kTraits), nq, nk));
      BackwardArgs args = c.args();
      const Fenced bias(args.bias, static_cast<std::size_t>(nq * nk * 2));
      c.use_bias(bias.data());
      c.compare(c.run(kSplit.plan(kTraits, args), backward_functions<kTraits, kSplit>()));
    }
}

}  // namespace
}  // namespace fcsa::kernels
