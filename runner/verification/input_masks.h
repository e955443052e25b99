// What hides keys: the key mask and the bias of a problem's inputs.
#pragma once

#include <vector>

#include "runner/verification/inputs.h"
#include "runner/verification/random_bits.h"

namespace fcsa::runner {

// [batch, nk].
std::vector<unsigned char> draw_key_mask(const kernels::Problem& problem, Values values, const Bits& bits);
// The same, of the first keys so many of each batch.
std::vector<unsigned char> mask_of_lengths(const kernels::Problem& problem, const std::vector<int>& lengths);
// [bias_batch, bias_heads, nq, nk], at most `largest`; `entries` decides what rows of a large bias are like.
std::vector<unsigned char> draw_bias(const kernels::Problem& problem, Values values, float largest,
                                     const Bits& bits, const Bits& entries);

}  // namespace fcsa::runner
