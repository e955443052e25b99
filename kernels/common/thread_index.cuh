// The number of the thread as a new value every time, for code that would rather compute what follows from it
// again than keep it in registers: ptxas hoists whatever follows from threadIdx out of loops.
#pragma once

#include "kernels/common/ptx.cuh"

namespace fcsa::kernels {

FCSA_DEVICE unsigned read_thread_index() {
  unsigned index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}

// The same by an exchange, which ptxas moves nothing across; the whole warp together.
FCSA_DEVICE unsigned exchange_thread_index() {
  return __shfl_sync(0xffffffffu, threadIdx.x, static_cast<int>(threadIdx.x));
}

}  // namespace fcsa::kernels
