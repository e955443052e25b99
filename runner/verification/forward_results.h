// What a forward pass leaves to the backward pass: o and lse of inputs.
#pragma once

#include "runner/verification/inputs.h"

namespace fcsa::runner {

enum class ForwardPrecision {
  exact,      // fp64, rounded to what is stored
  estimated,  // rows that see more than 256 keys: from 256 of them at equal distances, the others exactly
};

// What normal values of q and k, each, are multiplied with where they aren't normalised and the forward pass
// has more than kExactForwardFlops: with a scale of 8, say, a row would see one key and no other, an estimate
// would miss it, and exact results of 16,384 tokens take minutes.
float moderating_factor(const kernels::Problem& problem, Values values);

// What the inputs of a backward problem have: estimates of normal values where the forward pass has more than
// kExactForwardFlops, unless logits vary so much that a sample would miss those that count.
ForwardPrecision precision_for(const kernels::Problem& problem, Values values);
inline constexpr double kExactForwardFlops = 2e10;

// Sets o and lse of `inputs`, whose other tensors are known. An estimate scales the sum of a sample up to all
// visible keys. The backward pass is defined by any o and lse, so that it is right or wrong on an estimate as
// on exact results; and logits of normal values differ little enough for P to stay near what it should be.
void add_forward_results(HostInputs& inputs, ForwardPrecision precision);

}  // namespace fcsa::runner
