// Sizes that kernels are not launched for.
#pragma once

#include "kernels/common/interface.h"

namespace fcsa::kernels {

// Rows of q and of k that kernels count: batch x heads x nq, and batch x kv_heads x nk.
constexpr long long kMostRows = (1LL << 31) - 1;
constexpr long long kMostHeads = 1LL << 28;  // batch x heads

FCSA_HD constexpr bool is_empty(const Args& args) {
  return args.batch == 0 || args.nq == 0 || args.nk == 0;
}

FCSA_HD constexpr LaunchPlan empty_plan(const Traits& traits, bool backward) {
  LaunchPlan plan;
  plan.nothing = {.to_compute = true,
                  .backward = backward,
                  .element_bytes = element_bytes(traits.dtype),
                  .head_dim = traits.head_dim,
                  .bias_bytes = traits.bias == Bias::f32 ? 4 : element_bytes(traits.dtype)};
  return plan;
}

}  // namespace fcsa::kernels
