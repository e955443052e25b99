// Forward pass on the tensor cores of sm_80 and later by mma.sync: f16 and bf16, and f32 as three TF32
// products.
#pragma once

#include "kernels/mma/forward_block.cuh"
#include "kernels/mma/forward_loads.cuh"
#include "kernels/mma/forward_output.cuh"
#include "kernels/mma/forward_softmax.cuh"

namespace fcsa::kernels::mma {

template <Traits T, ForwardConfig C>
FCSA_DEVICE void run(const Args& args) {
  extern __shared__ uint4 shared[];
  Forward<T, C> block(args, ptx::shared_address(shared));
  if constexpr (T.key_mask) {
    block.loop_over_shown_keys();
  } else {
    block.loop_over_keys();
  }
  block.gather();
  if constexpr (C.cluster > 1) {
    if (block.warp_n == 0) block.share_part();
    ptx::cluster_barrier();
    block.sum_parts();
    ptx::cluster_barrier();  // others may be reading this block's part
    return;
  }
  if (block.warp_n != 0) return;
  if (C.splits_keys() && gridDim.y > 1) {
    block.write_part();
  } else {
    block.write_rows();
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void normalise_and_run(const Args& args) {
  if constexpr (normalises_first(T)) {
    run<T, C>(normalised_args<T>(args));
  } else {
    run<T, C>(args);
  }
}

template <Traits T, ForwardConfig C>
__global__ void __launch_bounds__(C.threads(), C.min_blocks) forward(const __grid_constant__ Args args) {
#if FCSA_KERNEL_CODE
  if constexpr (C.cluster == 1) normalise_and_run<T, C>(args);
#endif
}

template <Traits T, ForwardConfig C>
__global__ void __launch_bounds__(C.threads(), C.min_blocks) FCSA_CLUSTER(1, C.cluster, 1)
    forward_in_clusters(const __grid_constant__ Args args) {
#if FCSA_KERNEL_CODE && __CUDA_ARCH__ >= 900
  if constexpr (C.cluster > 1) normalise_and_run<T, C>(args);
#endif
}

}  // namespace fcsa::kernels::mma
