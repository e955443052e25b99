// Backward kernels of the cpu family compiled into the tests, for the compiler's default instruction set.
#pragma once

#include "cpu_gradient_cases.h"
#include "cpu_instances.h"
#include "kernels/cpu/backward.h"

namespace fcsa::kernels::cpu_cases {

using BackwardFunction = void (*)(const BackwardArgs&, long long, void*);

// A backward kernel as what run_plan() calls.
template <BackwardFunction F>
void run_backward(const Args& args, long long task, void* scratch) {
  F(static_cast<const BackwardArgs&>(args), task, scratch);
}

template <Traits T, cpu::BackwardConfig C>
std::vector<cpu::TaskFunction> backward_functions() {
  return {run_backward<cpu::native::prepare_gradients<T, C>>, run_backward<cpu::native::key_gradients<T, C>>,
          run_backward<cpu::native::query_gradients<T, C>>,
          run_backward<cpu::native::shared_gradients<T, C>>};
}

// Five products, dQ of f32 added up in place.
inline constexpr cpu::BackwardConfig kOneTask{.vector_floats = 4,
                                              .score_rows = 6,
                                              .score_vectors = 2,
                                              .sum_rows = 4,
                                              .sum_vectors = 2,
                                              .row_groups = 4,
                                              .key_steps = 4,
                                              .unroll = 1,
                                              .key_splits = 1};
// Five products, dQ added up in three parts; tiles that don't divide blocks.
inline constexpr cpu::BackwardConfig kSplit{.vector_floats = 4,
                                            .score_rows = 5,
                                            .score_vectors = 3,
                                            .sum_rows = 7,
                                            .sum_vectors = 1,
                                            .row_groups = 5,
                                            .key_steps = 3,
                                            .unroll = 2,
                                            .key_splits = 3};
// Seven products.
inline constexpr cpu::BackwardConfig kTwoWalks{.vector_floats = 4,
                                               .score_rows = 4,
                                               .score_vectors = 2,
                                               .sum_rows = 6,
                                               .sum_vectors = 2,
                                               .row_groups = 4,
                                               .key_steps = 5,
                                               .unroll = 4,
                                               .key_splits = 0};

// A backward problem with these traits, all gradients wanted.
inline Problem backward_problem_with(const Traits& traits) {
  Problem problem = problem_with(traits);
  problem.op = Op::backward;
  problem.bias_gradient = traits.bias != Bias::none;
  problem.scale_gradient = true;
  return problem;
}

template <Traits T, cpu::BackwardConfig C>
void check_gradients() {
  const Problem problem = backward_problem_with(T);
  ASSERT_TRUE(traits_of(problem) == T);
  check_all_gradients(problem, backward_functions<T, C>(),
                      [](const BackwardArgs& args) { return C.plan(T, args); });
}

}  // namespace fcsa::kernels::cpu_cases
