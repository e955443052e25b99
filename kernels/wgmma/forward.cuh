// Forward pass on the tensor cores of sm_90a by wgmma: f16 and bf16, K and V copied by the tensor memory
// accelerator.
#pragma once

#include "kernels/common/hopper.cuh"
#include "kernels/common/interface.h"
#include "kernels/common/key_factors.cuh"
#include "kernels/common/logits.cuh"
#include "kernels/common/normalise.cuh"
#include "kernels/wgmma/config.h"
#include "kernels/wgmma/consumer.cuh"
#include "kernels/wgmma/consumer_bias.cuh"
#include "kernels/wgmma/consumer_output.cuh"
#include "kernels/wgmma/consumer_products.cuh"
#include "kernels/wgmma/consumer_queries.cuh"
#include "kernels/wgmma/consumer_softmax.cuh"
#include "kernels/wgmma/normalised_keys.cuh"
#include "kernels/wgmma/producer.cuh"

namespace fcsa::kernels::wgmma {

template <Traits T, ForwardConfig C>
FCSA_DEVICE void init_barriers(const SharedLayout<T, C>& shared) {
  for (int buffer = 0; buffer < C.q_buffers; ++buffer) {
    hopper::barrier_init(shared.q_full(buffer), 1);
    hopper::barrier_init(shared.q_free(buffer), C.warpgroups);
  }
  for (int stage = 0; stage < C.stages; ++stage) {
    hopper::barrier_init(shared.k_full(stage), 1);
    hopper::barrier_init(shared.k_free(stage), C.warpgroups * C.cluster);
    hopper::barrier_init(shared.v_full(stage), 1);
    hopper::barrier_init(shared.v_free(stage), (C.uses_factors(T) ? 128 : 4) * C.warpgroups * C.cluster);
    hopper::barrier_init(shared.factors_full(stage), 32 * kFactorWarps);
    if constexpr (T.key_mask) {
      hopper::barrier_init(shared.factors_full(stage + C.stages), 32 * kFactorWarps);
      hopper::barrier_init(shared.v_clean(stage), 32 * kFactorWarps);
      if (shared.kEarlyTicket) hopper::barrier_init(shared.ticket_full(stage), 1);
    }
  }
  if constexpr (T.bias != Bias::none)
    for (int stage = 0; stage < C.bias_stages; ++stage) {
      hopper::barrier_init(shared.bias_full(stage), 1);
      hopper::barrier_init(shared.bias_free(stage), 4 * C.warpgroups);
    }
  hopper::barrier_init_fence();
}

// A bias is added with the running maximum, whatever bound is known.
FCSA_HD constexpr Traits computed_as(Traits traits) {
  if (traits.bias != Bias::none) traits.softmax = Softmax::running_maximum;
  return traits;
}

template <Traits Asked, ForwardConfig C>
__global__ void __launch_bounds__(C.threads(), C.min_blocks) FCSA_CLUSTER(C.cluster_blocks(), 1, 1)
    forward(const __grid_constant__ Args args, const __grid_constant__ TensorMaps maps) {
#if __CUDA_ARCH__ == 900  // compiled for sm_90, without the a, it is an error, not an empty kernel
  constexpr Traits T = computed_as(Asked);
  // What barriers and places in shared memory are counted for; the constraints of the family see to it.
  static_assert(C.stages >= 2 && C.kTaskSlots >= C.q_buffers + 2);
  static_assert(!C.shares_keys(T) || !C.uses_factors(T));
  static_assert(!C.tma_store || (C.q_buffers == 2 && !C.q_in_registers));
  static_assert(T.bias == Bias::none || (!C.tma_store && !C.pack_heads));
  static_assert(C.split == 1 || (C.cluster == 1 && !C.persistent && C.q_buffers == 1 && !C.pairs(T) &&
                                 C.block_m() % C.split == 0 && C.part_bytes(T) <= C.tiles_bytes(T)));
  extern __shared__ uint4 memory[];
  const SharedLayout<T, C> shared(ptx::shared_address(memory));
  const int rank = C.cluster_blocks() > 1 ? static_cast<int>(hopper::cluster_rank()) : 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < C.maps(T, args); ++i) hopper::prefetch_map(maps.map[i]);
    init_barriers<T, C>(shared);
  }
  if constexpr (C.tensor_sums) {
    constexpr unsigned kOnes = T.dtype == DType::bf16 ? 0x3f803f80u : 0x3c003c00u;
    for (int i = 4 * static_cast<int>(threadIdx.x); i < C.ones_bytes(T); i += 4 * C.threads())
      ptx::store_shared(shared.ones + i, kOnes);
    hopper::fence_async();
  }
  if constexpr (C.cluster_blocks() > 1) {
    ptx::cluster_barrier();
  } else {
    __syncthreads();
  }
  if constexpr (C.shares_keys(T)) normalise_first_keys<T, C>(args);
  if (threadIdx.x < 128) {
    if constexpr (C.reallocates()) hopper::keep_registers<C.producer_registers>();
    const Producer<T, C> producer{args, maps, shared, rank};
    producer.run();
    if constexpr (C.split > 1) ptx::cluster_barrier();
  } else {
    if constexpr (C.reallocates()) hopper::take_registers<C.consumer_registers()>();
    Consumer<T, C> consumer(args, maps, shared, rank);
    // The first warpgroup has the first turn.
    if (C.ping_pong && consumer.warpgroup == C.warpgroups - 1) consumer.pass_turn();
    if constexpr (C.split > 1) {
      consumer.run_part();
      ptx::cluster_barrier();
      consumer.add_parts();
    } else {
      consumer.run();
    }
  }
  // The shared memory of a block of a cluster may be written or read by the others until all are done.
  if constexpr (C.cluster_blocks() > 1) ptx::cluster_barrier();
#endif
}

}  // namespace fcsa::kernels::wgmma
