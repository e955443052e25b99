// More instructions of sm_90a, for backward kernels: wgmma of operands in shared memory of which the second
// is transposed, transposed stores, and copies of bytes.
#pragma once

#include "kernels/common/hopper.cuh"

namespace fcsa::kernels::hopper {

// `bytes` bytes, a multiple of 16, between addresses that are, to shared memory.
FCSA_DEVICE void copy_bytes(unsigned to, const void* from, unsigned barrier, unsigned bytes) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}

// Adds `bytes` bytes of f32, a multiple of 16, from shared memory to global memory, both aligned to 16 bytes;
// in groups as store_box.
FCSA_DEVICE void add_bytes(void* to, unsigned from, unsigned bytes) {
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to),
               "r"(from), "r"(bytes)
               : "memory");
}

FCSA_DEVICE void store_shared_words(unsigned address, const uint4& x) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(x.x), "r"(x.y), "r"(x.z),
               "r"(x.w)
               : "memory");
}

// Four 8 x 8 matrices of 16-bit elements to shared memory, each transposed: rows there are columns of the
// matrices that ptx::load_matrices gives.
FCSA_DEVICE void store_matrices_transposed(unsigned address, const unsigned (&words)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
               "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3])
               : "memory");
}

// d (64 x n, f32) += a (64 x 16) b (16 x n), both by descriptors; of b the n columns are contiguous. add: 0
// overwrites d.
// clang-format off
#define FCSA_WGMMA_TRANSPOSED(SHAPE, REGISTERS, TYPE) \
  asm volatile("{.reg .pred p; setp.ne.b32 p, %2, 0; wgmma.mma_async.sync.aligned.m64n" #SHAPE "k16.f32." TYPE "." TYPE \
               " {" FCSA_SMEM_REGISTERS_##REGISTERS "}, %0, %1, p, 1, 1, 0, 1;}" \
               : "+l"(a), "+l"(b), "+r"(add), FCSA_OPERANDS_##REGISTERS)
#define FCSA_WGMMA_TRANSPOSED_INSTANCE(SHAPE, REGISTERS) \
  template <> struct TransposedWgmma<SHAPE> { \
    template <DType dtype> \
    FCSA_DEVICE static void smem(float (&d)[REGISTERS], unsigned long long a, unsigned long long b, int add) { \
      if constexpr (dtype == DType::bf16) { FCSA_WGMMA_TRANSPOSED(SHAPE, REGISTERS, "bf16"); } \
      else { FCSA_WGMMA_TRANSPOSED(SHAPE, REGISTERS, "f16"); } \
    } \
  }
template <int n>
struct TransposedWgmma;
FCSA_WGMMA_TRANSPOSED_INSTANCE(16, 8);
FCSA_WGMMA_TRANSPOSED_INSTANCE(32, 16);
FCSA_WGMMA_TRANSPOSED_INSTANCE(48, 24);
FCSA_WGMMA_TRANSPOSED_INSTANCE(64, 32);
FCSA_WGMMA_TRANSPOSED_INSTANCE(80, 40);
FCSA_WGMMA_TRANSPOSED_INSTANCE(96, 48);
FCSA_WGMMA_TRANSPOSED_INSTANCE(112, 56);
FCSA_WGMMA_TRANSPOSED_INSTANCE(128, 64);
// clang-format on

}  // namespace fcsa::kernels::hopper
