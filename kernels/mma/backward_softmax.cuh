// From S to P, and from dP to dS: members of BackwardPass.
#pragma once

#include "kernels/mma/backward_pass.cuh"

namespace fcsa::kernels::mma {

template <Traits T, BackwardConfig C, Pass pass>
template <bool edge>
FCSA_DEVICE void BackwardPass<T, C, pass>::probabilities(unsigned stage, int first, const Place& place,
                                                         Scores& s) const {
  const float scale = logit_factor<T>(scale_of(place.head));
  [[maybe_unused]] RowNumbers row_hide, row_lse, row_norm;
  if constexpr (T.key_mask && kOwnsKeys) load_owned_numbers(1, row_hide);
  if constexpr (!kOwnsKeys) load_owned_numbers(0, row_lse);
  if constexpr (kRowNorms) load_owned_numbers(2, row_norm);
  [[maybe_unused]] BiasPair bias;
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    if constexpr (T.bias != Bias::none)
      if (n % 2 == 0) load_bias_pair(bias_tile(stage), first + 8 * n, bias);
    float2 factor{scale, scale}, lse{0, 0}, hide{0, 0};
    if constexpr (kOwnsKeys) {
      lse = column(stage, 0, first + 8 * n);
      if constexpr (C.uses_norms(T)) factor = column(stage, 2, first + 8 * n);
    } else {
      if constexpr (C.uses_norms(T)) factor = column(stage, 0, first + 8 * n);
      if constexpr (T.key_mask) hide = column(stage, 1, first + 8 * n);
    }
    if constexpr (C.uses_norms(T)) factor = {scale * factor.x, scale * factor.y};
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int half = i / 2, side = i % 2, walked = place.first + 8 * n + 2 * t + side;
        const int query = kOwnsKeys ? walked : row_at(m, half), key = kOwnsKeys ? row_at(m, half) : walked;
        const float base = kOwnsKeys ? pick(lse, side) : row_lse[m][half];
        float x = fmaf(kRowNorms ? s[m][n][i] * row_norm[m][half] : s[m][n][i], pick(factor, side), -base);
        if constexpr (T.bias != Bias::none) x = fmaf(bias[m][n % 2][i], kLog2E / logit_unit(T), x);
        if constexpr (T.key_mask) {
          const float hiding = kOwnsKeys ? row_hide[m][half] : pick(hide, side);
          // Where the mask hides the key, the bias has no say.
          x = T.bias == Bias::none ? x + hiding : hiding != 0 ? hiding : x;
        }
        s[m][n][i] = edge && hidden(query, key) ? 0.0f : probability<T>(x);
      }
  }
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::start_gradients(unsigned stage, int first, Scores& dp) const {
  [[maybe_unused]] RowNumbers row_delta;
  if constexpr (!kOwnsKeys) load_owned_numbers(1, row_delta);
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    float2 delta{0, 0};
    if constexpr (kOwnsKeys) delta = column(stage, 1, first + 8 * n);
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) dp[m][n][i] = kOwnsKeys ? -pick(delta, i % 2) : -row_delta[m][i / 2];
  }
}

template <Traits T, BackwardConfig C, Pass pass>
FCSA_DEVICE void BackwardPass<T, C, pass>::score_gradients(unsigned stage, int first, const Scores& p,
                                                           Scores& dp) const {
  [[maybe_unused]] RowNumbers row_norm;
  if constexpr (kNorms && kRowNorms) load_owned_numbers(2, row_norm);
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    float2 factor{1, 1};
    if constexpr (kNorms) factor = column(stage, kOwnsKeys ? 2 : 0, first + 8 * n);
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float x = p[m][n][i] * dp[m][n][i];
        if constexpr (kNorms) x *= kRowNorms ? row_norm[m][i / 2] * pick(factor, i % 2) : pick(factor, i % 2);
        dp[m][n][i] = x;
      }
  }
}

}  // namespace fcsa::kernels::mma
