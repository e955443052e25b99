// Kernels of the cpu family compiled into the tests, for the compiler's default instruction set.
#pragma once

#include "cpu_cases.h"
#include "kernels/cpu/forward.h"

namespace fcsa::kernels::cpu_cases {

inline constexpr Softmax kRunning = Softmax::running_maximum;

// A bias, scales and groups together, and what hides pairs.
inline constexpr Traits kEverything{.dtype = DType::bf16,
                                    .head_dim = 96,
                                    .causal = true,
                                    .key_mask = true,
                                    .bias = Bias::same,
                                    .head_scale = true,
                                    .groups = 3,
                                    .softmax = kRunning};

inline Problem with_lengths(Problem problem, int nq, int nk) {
  problem.nq = nq, problem.nk = nk;
  return problem;
}

inline Problem problem_of(int head_dim, int nq, int nk) {
  Problem problem;
  problem.head_dim = head_dim;
  return with_lengths(problem, nq, nk);
}

// A problem with these traits. A stated bound leaves room for the bias of a Case.
inline Problem problem_with(const Traits& traits) {
  Problem problem;
  problem.dtype = traits.dtype, problem.head_dim = traits.head_dim;
  problem.causal = traits.causal, problem.key_mask = traits.key_mask;
  problem.bias = traits.bias, problem.head_scale = traits.head_scale;
  problem.l2norm_qk = traits.l2norm_qk, problem.groups = traits.groups;
  if (!traits.l2norm_qk) problem.scale = 0.3f;
  const bool may_be_fixed = softmax_variant(problem) == Softmax::fixed_bound;
  if (traits.softmax == Softmax::running_maximum && may_be_fixed) problem.scale = 100.0f;
  if (traits.softmax == Softmax::fixed_bound && !may_be_fixed)
    problem.logit_bound = problem.scale * static_cast<float>(problem.groups) + Values{}.bias_magnitude;
  return problem;
}

// Features that every configuration must serve; compiled for the compiler's default instruction set.
template <Traits T, cpu::ForwardConfig C>
void check() {
  const Problem problem = problem_with(T);
  ASSERT_TRUE(traits_of(problem) == T);
  check_all(problem, {cpu::native::prepare<T, C>, cpu::native::forward<T, C>},
            [](const BackwardArgs& args) { return C.plan(T, args); });
}

inline constexpr cpu::ForwardConfig kSmall{.vector_floats = 4,
                                           .qk_rows = 6,
                                           .qk_vectors = 2,
                                           .pv_rows = 4,
                                           .pv_vectors = 2,
                                           .row_groups = 4,
                                           .key_steps = 4,
                                           .unroll = 1,
                                           .pack_v = 1};
inline constexpr cpu::ForwardConfig kInPlace{.vector_floats = 4,
                                             .qk_rows = 5,
                                             .qk_vectors = 3,
                                             .pv_rows = 10,
                                             .pv_vectors = 1,
                                             .row_groups = 6,
                                             .key_steps = 2,
                                             .unroll = 8,
                                             .pack_v = 0};

template <Traits T>
void check_case(const Problem& problem, const Values& values = {}) {
  Case(problem, values)
      .check(kSmall.plan(T, shape_args(problem)),
             {cpu::native::prepare<T, kSmall>, cpu::native::forward<T, kSmall>});
}

// On tensors of the caller's own.
template <Traits T>
void run(Args args) {
  const LaunchPlan plan = kSmall.plan(T, args);
  Storage workspace(static_cast<std::size_t>(plan.workspace_bytes));
  args.workspace = workspace.data();
  const cpu::TaskFunction functions[] = {cpu::native::prepare<T, kSmall>, cpu::native::forward<T, kSmall>};
  cpu::run_plan(plan, args, functions);
}

}  // namespace fcsa::kernels::cpu_cases
