// Additions to global memory by many blocks, in no fixed order.
#pragma once

#include "kernels/common/ptx.cuh"

namespace fcsa::kernels::ptx {

// Adds four floats, aligned to 16 bytes. Before sm_90 one at a time.
FCSA_DEVICE void add_global_4(float* to, const float4& x) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(x.x), "f"(x.y), "f"(x.z),
               "f"(x.w)
               : "memory");
#else
  atomicAdd(to, x.x);
  atomicAdd(to + 1, x.y);
  atomicAdd(to + 2, x.z);
  atomicAdd(to + 3, x.w);
#endif
}

}  // namespace fcsa::kernels::ptx
