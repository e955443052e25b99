// The products of a consumer, by wgmma: members of Consumer.
#pragma once

#include "kernels/wgmma/consumer.cuh"

namespace fcsa::kernels::wgmma {

template <Traits T, ForwardConfig C>
FCSA_DEVICE unsigned long long Consumer<T, C>::uniform(unsigned long long operand) {
  if constexpr (C.uniform != kReduced) return operand;
  return hopper::operand_high(kRowBytes) | hopper::reduce_or(static_cast<unsigned>(operand));
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::issue_scores(const KeyCursor<T, C>& keys) {
  hopper::barrier_wait(shared.k_full(keys.stage), keys.parity);
  wait_turn();
  const auto k = uniform(hopper::operand(shared.k_tile(keys.stage), kRowBytes, 16));
  const auto a = hopper::operand(shared.q_of(queries.buffer(), warpgroup), kRowBytes, 16);
  // The first product overwrites S: what was there need not be kept until then.
#pragma unroll
  for (int i = 0; i < C.block_n / 2; ++i) s[i] = 0;
  hopper::wgmma_fence();
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const auto b = k + ((step / kPanelSteps * C.panel_bytes(T) + step % kPanelSteps * 32) >> 4);
    if constexpr (C.q_in_registers) {
      hopper::Wgmma<C.block_n>::template registers<T.dtype, false>(s, q[step][0], q[step][1], q[step][2],
                                                                   q[step][3], b, step > 0);
    } else {
      const int offset_bytes =
          step / kPanelSteps * ForwardConfig::kRows * kRowBytes + step % kPanelSteps * 32;
      hopper::Wgmma<C.block_n>::template smem<T.dtype>(s, a + (offset_bytes >> 4), b, step > 0);
    }
  }
  hopper::wgmma_commit();
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE unsigned long long Consumer<T, C>::values() const {
  const unsigned tile = shared.v_tile(at.stage);
  // The ones are reached like a second panel of V, wherever the keys of a product are.
  return uniform(hopper::operand(tile, kRowBytes, C.tensor_sums ? shared.ones - tile : C.panel_bytes(T)));
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE unsigned long long Consumer<T, C>::slice_of(unsigned long long v, int slice) {
  constexpr int kStep = 16 * kRowBytes >> 4;
  constexpr long long kAdvance = C.tensor_sums ? kStep - (kStep << 16) : kStep;
  // Additions to the low word alone: not all of 64 bits are made in uniform registers.
  if constexpr (C.uniform == kReduced && C.tensor_sums)
    return hopper::operand_high(kRowBytes) |
           (static_cast<unsigned>(v) + slice * static_cast<unsigned>(kAdvance));
  return v + slice * kAdvance;
}

template <Traits T, ForwardConfig C>
template <int count>
FCSA_DEVICE void Consumer<T, C>::issue_values(unsigned long long v, int first) {
  hopper::wgmma_fence();
#pragma unroll
  for (int i = 0; i < count; ++i) {
    const unsigned(&a)[4] = p[first + i];
    hopper::Wgmma<C.output_columns(T)>::template registers<T.dtype, true>(o, a[0], a[1], a[2], a[3],
                                                                          slice_of(v, first + i), 1);
  }
  hopper::wgmma_commit();
}

}  // namespace fcsa::kernels::wgmma
