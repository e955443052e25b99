#include "kernels/cpu/builtin.h"

#include "cpu_gradient_cases.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/families.h"

namespace fcsa::kernels {
namespace {

std::vector<std::string> runnable_instruction_sets() {
  const std::string best = cpu::host_instruction_set();
  if (best == "avx512") return {"avx512", "avx2", "generic"};
  if (best == "avx2") return {"avx2", "generic"};
  return {"generic"};
}

void check_backward(Problem problem, const std::string& set) {
  problem.op = Op::backward, problem.scale_gradient = true;
  const auto builtin = cpu::builtin_kernels(problem.op, traits_of(problem), set);
  cpu_cases::check_all_gradients(problem, builtin.functions,
                                 [&](const BackwardArgs& args) { return builtin.plan(args); });
}

// Both passes.
void check(const Problem& problem) {
  for (const auto& set : runnable_instruction_sets()) {
    SCOPED_TRACE(set);
    const auto builtin = cpu::builtin_kernels(problem.op, traits_of(problem), set);
    cpu_cases::check_all(problem, builtin.functions,
                         [&](const BackwardArgs& args) { return builtin.plan(args); });
    check_backward(problem, set);
  }
}

TEST(CpuBuiltin, IsRightForEveryHeadDimensionAndInstructionSet) {
  for (const int head_dim : {16, 32, 64, 80, 96, 128}) {
    Problem problem;
    problem.head_dim = head_dim;
    problem.causal = head_dim == 64;
    check(problem);
  }
}

TEST(CpuBuiltin, IsRightForEveryDtype) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    Problem problem;
    problem.dtype = dtype, problem.causal = true, problem.head_dim = 32;
    check(problem);
  }
}

TEST(CpuBuiltin, IsRightWithAKeyMask) {
  for (const bool causal : {false, true}) {
    Problem problem;
    problem.key_mask = true, problem.causal = causal;
    check(problem);
  }
}

TEST(CpuBuiltin, IsRightWithoutNormalisation) {
  for (const bool causal : {false, true}) {
    Problem problem;
    problem.l2norm_qk = false, problem.causal = causal, problem.scale = 0.3f, problem.head_dim = 80;
    check(problem);
  }
}

TEST(CpuBuiltin, IsRightWithAScalePerHead) {
  Problem problem;
  problem.head_scale = true, problem.head_dim = 32;
  check(problem);
}

TEST(CpuBuiltin, HasThePlanOfTheBaseline) {
  const auto family = make_cpu_family();
  for (const auto& set : runnable_instruction_sets()) {
    for (const Op op : {Op::forward, Op::backward}) {
      Problem problem;
      problem.op = op, problem.head_dim = 80, problem.dtype = DType::bf16;
      problem.nq = 333, problem.nk = 77, problem.heads = problem.kv_heads = 3;
      const BackwardArgs args = shape_args(problem);
      const LaunchPlan ours = cpu::builtin_kernels(op, traits_of(problem), set).plan(args);
      const LaunchPlan baseline =
          family->plan(traits_of(problem), family->baseline(problem, target_for_arch(set)), args);
      EXPECT_EQ(ours.workspace_bytes, baseline.workspace_bytes);
      EXPECT_EQ(ours.steps[1].grid_x, baseline.steps[1].grid_x);
      EXPECT_EQ(ours.steps[1].smem_bytes, baseline.steps[1].smem_bytes);
    }
  }
}

TEST(CpuBuiltin, RefusesWhatItDoesNotServe) {
  EXPECT_THROW(cpu::builtin_kernels(Op::forward, Traits{.head_dim = 48}), std::invalid_argument);
  EXPECT_THROW(cpu::builtin_kernels(Op::forward, Traits{.bias = Bias::f32}), std::invalid_argument);
  EXPECT_THROW(cpu::builtin_kernels(Op::backward, Traits{.groups = 2}), std::invalid_argument);
  EXPECT_THROW(cpu::builtin_kernels(Op::forward, Traits{}, "mmx"), std::invalid_argument);
}

}  // namespace
}  // namespace fcsa::kernels
