// PTX instructions and conversions, each wrapped once.
#pragma once

#include "kernels/common/interface.h"

#define FCSA_DEVICE __device__ __forceinline__

// Blocks of a cluster, for the declaration of a kernel. There are none before sm_90, where a kernel that asks
// for one is an error.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define FCSA_CLUSTER(x, y, z)
#else
#define FCSA_CLUSTER(x, y, z) __cluster_dims__(x, y, z)
#endif

// Whether kernels have code. A tuned header defines FCSA_TUNED_FOR, the one architecture that its kernels are
// launched on: a program for several architectures would otherwise compile all of them for each.
#if defined(FCSA_TUNED_FOR) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ != FCSA_TUNED_FOR
#define FCSA_KERNEL_CODE 0
#else
#define FCSA_KERNEL_CODE 1
#endif

namespace fcsa::kernels::ptx {

FCSA_DEVICE unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// Copies 16 bytes to a shared address, or writes zeros when `valid` is false (the source is then not read).
// sm_80 and later.
FCSA_DEVICE void copy_async_16(unsigned to_shared, const void* from_global, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to_shared), "l"(from_global), "r"(bytes)
               : "memory");
}

// The same for every GPU: before sm_80 an ordinary load and store.
FCSA_DEVICE void copy_async_16(void* to_shared, const void* from_global, bool valid) {
#if __CUDA_ARCH__ >= 800
  copy_async_16(shared_address(to_shared), from_global, valid);
#else
  const uint4 zero{0, 0, 0, 0};
  *static_cast<uint4*>(to_shared) = valid ? *static_cast<const uint4*>(from_global) : zero;
#endif
}

FCSA_DEVICE void copy_async_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most `pending` of the latest groups are still under way.
template <int pending>
FCSA_DEVICE void copy_async_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
#endif
}

// MUFU: 2 ulp; subnormal results are flushed.
FCSA_DEVICE float exp2_approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

FCSA_DEVICE float rsqrt_approximate(float x) {
  float y;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 1 ulp; subnormal operands and results are flushed. Unlike a division it calls no function.
FCSA_DEVICE float reciprocal_approximate(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Tensor cores. The registers of a fragment of m16n8k16 (16-bit) and m16n8k8 (TF32) hold, for lane = 4 * g +
// t, words of 32 bits: A = {(row g, word t), (g + 8, t), (g, t + 4), (g + 8, t + 4)}, B = {(column g, word
// t), (g, t + 4)}; the accumulator is {(g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)}.

// Four 8 x 8 matrices of 16-bit elements (8 x 4 of 32 bits); lane l gives the address of row l % 8 of matrix
// l / 8.
FCSA_DEVICE uint4 load_matrices(unsigned shared_row) {
  uint4 r;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w)
               : "r"(shared_row)
               : "memory");
  return r;
}

FCSA_DEVICE uint4 load_matrices_transposed(unsigned shared_row) {
  uint4 r;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w)
               : "r"(shared_row)
               : "memory");
  return r;
}

FCSA_DEVICE float load_shared(unsigned address) {
  float x;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(address) : "memory");
  return x;
}

FCSA_DEVICE unsigned load_shared_word(unsigned address) {
  unsigned x;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(x) : "r"(address) : "memory");
  return x;
}

FCSA_DEVICE uint4 load_shared_words(unsigned address) {
  uint4 x;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "r"(address)
               : "memory");
  return x;
}

FCSA_DEVICE float2 load_shared_2(unsigned address) {
  float2 x;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(x.x), "=f"(x.y) : "r"(address) : "memory");
  return x;
}

FCSA_DEVICE float4 load_shared_4(unsigned address) {
  float4 x;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
               : "r"(address)
               : "memory");
  return x;
}

FCSA_DEVICE void store_shared(unsigned address, unsigned word) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(word) : "memory");
}

// Clusters, sm_90 and later. Address of what lies at `shared` in another block of the cluster, by its rank.
FCSA_DEVICE unsigned cluster_address(unsigned shared, int rank) {
  unsigned address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared), "r"(rank));
  return address;
}

FCSA_DEVICE float2 load_cluster_2(unsigned address) {
  float2 x;
  asm volatile("ld.shared::cluster.v2.f32 {%0, %1}, [%2];" : "=f"(x.x), "=f"(x.y) : "r"(address) : "memory");
  return x;
}

FCSA_DEVICE float4 load_cluster_4(unsigned address) {
  float4 x;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
               : "r"(address)
               : "memory");
  return x;
}

// All threads of all blocks of the cluster, none of which has ended; what they wrote to shared memory is
// visible to all.
FCSA_DEVICE void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release; barrier.cluster.wait.acquire;" ::: "memory");
}

// d += a b for 16-bit operands, products and sums in f32.
template <DType dtype>
FCSA_DEVICE void multiply_add_16(float (&d)[4], const uint4& a, unsigned b0, unsigned b1) {
  if constexpr (dtype == DType::bf16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
  }
}

// The same for f32 words of which the hardware reads the upper 19 bits.
FCSA_DEVICE void multiply_add_tf32(float (&d)[4], const uint4& a, unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}

// f32 rounded to the nearest that fits TF32.
FCSA_DEVICE unsigned round_to_tf32(unsigned word) {
  return (word + 0x1000u) & 0xffffe000u;
}

// x = upper + lower: what rounding to TF32 leaves, itself to be read as TF32.
FCSA_DEVICE unsigned below_tf32(unsigned word, unsigned upper) {
  return __float_as_uint(__uint_as_float(word) - __uint_as_float(upper));
}

// The two 16-bit elements of a word, low half first.
template <DType dtype>
FCSA_DEVICE float2 unpack(unsigned word) {
  if constexpr (dtype == DType::bf16) {
    return {__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u)};
  } else {
    float2 values;
    asm("{.reg .f16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high;}"
        : "=f"(values.x), "=f"(values.y)
        : "r"(word));
    return values;
  }
}

// Round to nearest even.
template <DType dtype>
FCSA_DEVICE unsigned pack(float low, float high) {
  unsigned word;
  if constexpr (dtype == DType::bf16) {
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
#else
    // No bf16 conversion before sm_80. Adding 0x7fff and the bit above rounds to even; NaN is kept apart.
    const auto rounded = [](float value) {
      const unsigned bits = __float_as_uint(value);
      return value != value ? 0x7fffu : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    };
    word = rounded(low) | (rounded(high) << 16);
#endif
  } else {
    asm("{.reg .f16 low, high; cvt.rn.f16.f32 low, %1; cvt.rn.f16.f32 high, %2; mov.b32 %0, {low, high};}"
        : "=r"(word)
        : "f"(low), "f"(high));
  }
  return word;
}

FCSA_DEVICE void prefetch_l2(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

// A count in global memory that tells other blocks of what was written before it was raised.
FCSA_DEVICE void add_release(unsigned* count, unsigned n) {
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(count), "r"(n) : "memory");
}
FCSA_DEVICE unsigned load_acquire(const unsigned* count) {
  unsigned n;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(n) : "l"(count) : "memory");
  return n;
}

}  // namespace fcsa::kernels::ptx
