// Configurations of the cpu family that are good without tuning, for the family's baseline and the built-in
// kernels.
#pragma once

#include <string_view>

#include "kernels/cpu/backward_config.h"
#include "kernels/cpu/config.h"

namespace fcsa::kernels::cpu {

constexpr int vector_floats_of(std::string_view instruction_set) {
  return instruction_set == "avx512" ? 16 : instruction_set == "avx2" ? 8 : 4;
}

// As wide as the instruction set has, or half as wide.
constexpr bool suits_vectors(std::string_view instruction_set, int floats) {
  const int width = vector_floats_of(instruction_set);
  return floats <= width && 2 * floats >= width;
}

constexpr int vector_registers_of(std::string_view instruction_set) {
  return instruction_set == "avx512" || instruction_set == "neon" ? 32 : 16;
}

// Measured on Zen 4. 16 registers: 12 accumulators hide the latency of the products, and unrolling makes GCC
// spill. 32 registers: 24 or 25 of them, with about as many rows as vectors, which takes the fewest loads.
// Valid for every head dimension that is a multiple of 16.
constexpr ForwardConfig baseline_config(std::string_view instruction_set, int head_dim) {
  ForwardConfig config;
  config.vector_floats = vector_floats_of(instruction_set);
  config.row_groups = 16;
  if (vector_registers_of(instruction_set) < 32) {
    config.qk_rows = config.pv_rows = 6;
    config.qk_vectors = config.pv_vectors = 2;
    config.unroll = 1;
  } else {
    const int vectors = head_dim / config.vector_floats;
    config.pv_vectors = vectors % 4 == 0   ? 4
                        : vectors % 5 == 0 ? 5
                        : vectors % 3 == 0 ? 3
                        : vectors % 2 == 0 ? 2
                                           : 1;
    config.pv_rows = config.pv_vectors == 4   ? 6
                     : config.pv_vectors == 5 ? 5
                     : config.pv_vectors == 1 ? 24
                                              : 8;
    config.qk_rows = config.pv_vectors == 5 ? 5 : 6;
    config.qk_vectors = config.pv_vectors == 5 ? 5 : 4;
    config.unroll = 4;
  }
  config.key_steps = 1;
  while (2 * config.block_keys() <= 160) config.key_steps *= 2;
  return config;
}

// Measured on Zen 2: the register tiles of the forward pass, and blocks of about 48 rows and 96 keys, which
// fit the level 2 cache with all that is kept of them up to a head dimension of 192. Larger blocks are as
// fast. Valid for every head dimension that is a multiple of 16.
constexpr BackwardConfig backward_baseline_config(std::string_view instruction_set, int head_dim) {
  const ForwardConfig forward = baseline_config(instruction_set, head_dim);
  BackwardConfig config;
  config.vector_floats = forward.vector_floats;
  config.score_rows = forward.qk_rows;
  config.score_vectors = forward.qk_vectors;
  config.sum_rows = forward.pv_rows;
  config.sum_vectors = forward.pv_vectors;
  config.row_groups = 8;
  config.key_steps = static_cast<int>(ceil_div(96, config.key_step()));
  config.unroll = forward.unroll;
  return config;
}

}  // namespace fcsa::kernels::cpu
