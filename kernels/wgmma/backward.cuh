// Backward pass on the tensor cores of sm_90a by wgmma, f16 and bf16: dQ, dK, dV, and the gradient of the
// scale.
#pragma once

#include "kernels/wgmma/backward_adder.cuh"
#include "kernels/wgmma/backward_consumer.cuh"
#include "kernels/wgmma/backward_prepare.cuh"

namespace fcsa::kernels::wgmma {

template <Traits T, BackwardConfig C>
FCSA_DEVICE void init_barriers(const BackwardLayout<T, C>& shared) {
  constexpr int kConsumerWarps = 4 * C.warpgroups;
  for (int stage = 0; stage < C.key_stages; ++stage) {
    hopper::barrier_init(shared.k_full(stage), 1);
    hopper::barrier_init(shared.k_free(stage), 32 * (kConsumerWarps + 4));
    hopper::barrier_init(shared.v_full(stage), 1);
    hopper::barrier_init(shared.v_free(stage), kConsumerWarps);
  }
  for (int stage = 0; stage < C.stages; ++stage) {
    hopper::barrier_init(shared.q_full(stage), 1);
    hopper::barrier_init(shared.q_free(stage), 32 * kConsumerWarps);
    hopper::barrier_init(shared.dout_full(stage), 1);
    hopper::barrier_init(shared.dout_free(stage), kConsumerWarps);
  }
  for (int buffer = 0; buffer < C.score_buffers; ++buffer) {
    hopper::barrier_init(shared.scores_full(buffer), kConsumerWarps);
    hopper::barrier_init(shared.scores_free(buffer), 4);
  }
  hopper::barrier_init_fence();
}

template <Traits T, BackwardConfig C>
__global__ void __launch_bounds__(C.threads(), 1)
    backward(const __grid_constant__ BackwardArgs args, const __grid_constant__ TensorMaps maps) {
#if __CUDA_ARCH__ == 900  // compiled for sm_90, without the a, it is an error, not an empty kernel
  static_assert(C.block_m % 64 == 0 && C.stages >= 2);
  extern __shared__ uint4 memory[];
  const BackwardLayout<T, C> shared(ptx::shared_address(memory));
  if (threadIdx.x == 0) {
    for (int i = 0; i < 4; ++i) hopper::prefetch_map(maps.map[i]);
    init_barriers<T, C>(shared);
  }
  __syncthreads();
  const int warpgroup = static_cast<int>(threadIdx.x) / 128;
  if (warpgroup == C.warpgroups + 1) {
    hopper::keep_registers<C.kCopyRegisters>();
    const Copier<T, C> copier{args, maps, shared};
    if (threadIdx.x % 128 == 0) copier.run();
  } else if (warpgroup == C.warpgroups) {
    hopper::keep_registers<C.dq_registers>();
    const Adder<T, C> adder(args, shared);
    adder.run();
  } else {
    hopper::take_registers<C.consumer_registers()>();
    KeyConsumer<T, C> consumer(args, shared);
    consumer.run();
  }
#endif
}

}  // namespace fcsa::kernels::wgmma
