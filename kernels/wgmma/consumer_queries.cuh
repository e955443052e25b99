// The queries of a warpgroup: their norms, and Q where it is to be: members of Consumer.
#pragma once

#include "kernels/common/fragment_norms.cuh"
#include "kernels/wgmma/consumer.cuh"

namespace fcsa::kernels::wgmma {

template <Traits T, ForwardConfig C>
template <typename Load>
FCSA_DEVICE void Consumer<T, C>::take_scale(Load load) {
  const Rows tile = rows(queries);
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int head = min(tile.head_of(row_at(tile, h)), args.heads - 1);
    row_scale[h] = logit_factor<T>(T.head_scale ? args.head_scale[head] : args.scale);
  }
  if constexpr (kNormalise) multiply_by_inverse_norms<T.dtype, kSteps>(row_scale, args.eps, load);
  if constexpr (kBias && kNormalise)
#pragma unroll
    for (int h = 0; h < 2; ++h) row_scale[h] = row_factor<T>(row_scale[h]);
  // Q has been read before the thread that lets it go for the warpgroup can do so; elsewhere what follows
  // syncs.
  if constexpr (kNormalise && !kScaleQueries) sync_warpgroup();
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::take_scale() {
  take_scale([&](int step) { return load_queries(step); });
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE uint4 Consumer<T, C>::scaled(const uint4& a) const {
  unsigned words[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 x = ptx::unpack<T.dtype>(words[i]);
    words[i] = ptx::pack<T.dtype>(x.x * row_scale[i % 2], x.y * row_scale[i % 2]);
  }
  return {words[0], words[1], words[2], words[3]};
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::prepare_queries() {
  if constexpr (!kScaleQueries && !C.q_in_registers) return;
  // While norms are computed rows are kept, where there are registers, or read again.
  constexpr bool kKeep =
      T.head_dim <= 128 &&
      C.consumer_registers() >= C.output_columns(T) / 2 + C.block_n / 4 + T.head_dim / 4 + 48;
  uint4 kept[kKeep ? kSteps : 1];
  if constexpr (kKeep)
#pragma unroll
    for (int step = 0; step < kSteps; ++step) kept[step] = load_queries(step);
  const auto load = [&](int step) { return kKeep ? kept[kKeep ? step : 0] : load_queries(step); };
  if constexpr (kScaleQueries) take_scale(load);
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const uint4 a = kScaleQueries ? scaled(load(step)) : load(step);
    if constexpr (C.q_in_registers) {
      q[step][0] = a.x, q[step][1] = a.y, q[step][2] = a.z, q[step][3] = a.w;
    } else {
      hopper::store_matrices(matrices(step, queries), a);
    }
  }
  if constexpr (C.q_in_registers) {
    sync_warpgroup();
    release_queries(queries);
  } else {
    hopper::fence_async();
    sync_warpgroup();
  }
}

}  // namespace fcsa::kernels::wgmma
