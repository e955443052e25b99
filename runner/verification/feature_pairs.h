// Problems that together have every pair of feature values: two features that break each other meet in one.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/problem.h"
#include "runner/verification/inputs.h"

namespace fcsa::runner {

struct FeatureCase {
  kernels::Problem problem;
  Values values = Values::normal;
  Placement placement = Placement::dense;
};

// A covering array of strength two over dtype (with f32 also as TF32), head dim, causal, key mask, bias and
// how it is broadcast, per-head scale, groups, normalisation, the scale (8, 100, or one with a stated bound),
// grouped heads, layout, Placement, both lengths and Values; of the backward pass also over whether the
// gradients of the bias and of the scale are wanted, and the same bits from every run. Every problem is valid
// and has values that apply to it. Equal seeds give equal cases. Greedy, after Cohen et al., "The AETG
// system" (1997). With `serves`, only problems for which it is true, and every pair of features that such a
// problem can have.
std::vector<FeatureCase> feature_pairs(std::uint64_t seed,
                                       const std::function<bool(const kernels::Problem&)>& serves = nullptr,
                                       kernels::Op op = kernels::Op::forward);

}  // namespace fcsa::runner
