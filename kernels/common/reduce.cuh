// Additions to global memory by many blocks, in no fixed order.
#pragma once

#include "kernels/common/ptx.cuh"

namespace fcsa::kernels::ptx {

// Adds four floats, aligned to 16 bytes. Before sm_90 one at a time.
FCSA_DEVICE void add_global_4(float* to, const float (&x)[4]) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(x[0]), "f"(x[1]), "f"(x[2]),
               "f"(x[3])
               : "memory");
#else
#pragma unroll
  for (int i = 0; i < 4; ++i) atomicAdd(to + i, x[i]);
#endif
}

}  // namespace fcsa::kernels::ptx
