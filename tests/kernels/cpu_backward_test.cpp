#include "kernels/cpu/backward.h"

#include "cpu_backward_instances.h"

namespace fcsa::kernels {
namespace {

using namespace cpu_cases;

TEST(CpuBackward, IsRightInEveryStructure) {
  check_gradients<Traits{.head_dim = 64}, kOneTask>();
  check_gradients<Traits{.head_dim = 64}, kSplit>();
  check_gradients<Traits{.head_dim = 64}, kTwoWalks>();
}

TEST(CpuBackward, IsRightWhenCausal) {
  check_gradients<Traits{.head_dim = 16, .causal = true}, kOneTask>();
  check_gradients<Traits{.head_dim = 16, .causal = true}, kSplit>();
  check_gradients<Traits{.head_dim = 16, .causal = true}, kTwoWalks>();
}

TEST(CpuBackward, IsRightWithAKeyMask) {
  check_gradients<Traits{.head_dim = 32, .key_mask = true}, kOneTask>();
  check_gradients<Traits{.head_dim = 80, .causal = true, .key_mask = true}, kSplit>();
  check_gradients<Traits{.head_dim = 32, .key_mask = true}, kTwoWalks>();
}

TEST(CpuBackward, IsRightInBfloat16) {
  check_gradients<Traits{.dtype = DType::bf16, .head_dim = 96, .causal = true}, kOneTask>();
  check_gradients<Traits{.dtype = DType::bf16, .head_dim = 32}, kTwoWalks>();
}

TEST(CpuBackward, IsRightInFloat16) {
  check_gradients<Traits{.dtype = DType::f16, .head_dim = 64, .causal = true}, kOneTask>();
  check_gradients<Traits{.dtype = DType::f16, .head_dim = 48}, kSplit>();
}

TEST(CpuBackward, IsRightWithoutNormalisation) {
  check_gradients<Traits{.head_dim = 48, .causal = true, .l2norm_qk = false, .softmax = kRunning},
                  kOneTask>();
}

TEST(CpuBackward, IsRightForTheLargestHeadDimension) {
  check_gradients<Traits{.head_dim = 256}, kSplit>();
}

TEST(CpuBackward, IsRightForWideVectors) {
  constexpr cpu::BackwardConfig kWide{.vector_floats = 16, .row_groups = 2, .key_steps = 1};
  check_gradients<Traits{.head_dim = 64, .causal = true, .key_mask = true}, kWide>();
}

TEST(CpuBackward, TakesNullScalesAndMasksAsNone) {
  constexpr Traits kTraits{.head_dim = 16, .causal = true, .key_mask = true, .head_scale = true};
  Problem problem = with_lengths(backward_problem_with(Traits{.head_dim = 16, .causal = true}), 70, 90);
  GradientCase c(problem);
  c.compare(c.run(kOneTask.plan(kTraits, c.args()), backward_functions<kTraits, kOneTask>()));
}

TEST(CpuBackward, GivesZerosWithAScaleOfZero) {
  constexpr Traits kTraits{.head_dim = 16};
  Problem problem = with_lengths(backward_problem_with(kTraits), 37, 53);
  problem.scale = 0.0f;
  GradientCase c(problem);
  const auto written = c.run(kOneTask.plan(kTraits, c.args()), backward_functions<kTraits, kOneTask>());
  for (int i = 0; i < 37 * 16; ++i) EXPECT_EQ(static_cast<const float*>(written.args.dq)[i], 0.0f);
  for (int i = 0; i < 53 * 16; ++i) EXPECT_EQ(static_cast<const float*>(written.args.dk)[i], 0.0f);
  c.compare(written);
}

TEST(CpuBackward, KeepsTheScaleOfRowsWhoseSquaresLeaveTheRangeOfFloats) {
  constexpr Traits kTraits{.head_dim = 16};
  for (const float magnitude : {1e-11f, 1e25f}) {
    GradientCase c(with_lengths(backward_problem_with(kTraits), 20, 30), {.magnitude = magnitude});
    c.compare(c.run(kOneTask.plan(kTraits, c.args()), backward_functions<kTraits, kOneTask>()));
  }
}

TEST(CpuBackward, StaysFiniteAtTheLargestBound) {
  constexpr Traits kTraits{.head_dim = 16};
  Problem problem = with_lengths(backward_problem_with(kTraits), 64, 200);
  problem.scale = 43.0f;
  GradientCase c(problem, {.dominant_key = true});
  c.compare(c.run(kOneTask.plan(kTraits, c.args()), backward_functions<kTraits, kOneTask>()));
}

// Bits of all gradients on so many threads.
template <Traits T, cpu::BackwardConfig C>
std::vector<std::string> bits(GradientCase& c, int threads) {
  auto written = c.run(C.plan(T, c.args()), backward_functions<T, C>(), threads);
  std::vector<std::string> bits;
  for (Storage& tensor : written.tensors)
    bits.emplace_back(static_cast<const char*>(tensor.data()), tensor.bytes());
  return bits;
}

template <cpu::BackwardConfig C>
void expect_same_bits() {
  constexpr Traits kTraits{
      .dtype = DType::bf16, .head_dim = 16, .causal = true, .bias = Bias::f32, .softmax = kRunning};
  Problem problem = with_lengths(backward_problem_with(kTraits), 150, 170);
  problem.batch = 2, problem.heads = 6, problem.kv_heads = 3, problem.bias_batch = problem.bias_heads = 1;
  GradientCase c(problem);
  const auto alone = bits<kTraits, C>(c, 1);
  for (const int threads : {2, 3, 7}) EXPECT_EQ((bits<kTraits, C>(c, threads)), alone) << threads;
}

TEST(CpuBackward, GivesTheSameBitsOnAnyNumberOfThreads) {
  expect_same_bits<kOneTask>();
  expect_same_bits<kSplit>();
  expect_same_bits<kTwoWalks>();
}

TEST(CpuBackward, NeedsNoWorkspaceBeyondAFewNumbersARowWhereDqHoldsItsOwnSums) {
  Problem problem = with_lengths(backward_problem_with(Traits{}), 65536, 65536);
  const LaunchPlan plan = kOneTask.plan(Traits{}, shape_args(problem));
  EXPECT_LE(plan.workspace_bytes, 9LL * 65536);
  const LaunchPlan split = kSplit.plan(Traits{}, shape_args(problem));
  EXPECT_LE(split.workspace_bytes, 9LL * 65536 + 3LL * 65536 * 64 * 4);
}

}  // namespace
}  // namespace fcsa::kernels
