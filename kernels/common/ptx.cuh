// PTX instructions and conversions, each wrapped once.
#pragma once

#include "kernels/common/interface.h"

#define FCSA_DEVICE __device__ __forceinline__

namespace fcsa::kernels::ptx {

FCSA_DEVICE unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// Copies 16 bytes to shared memory, or writes zeros when `valid` is false (the source is then not read).
// Asynchronous from sm_80 on; before, an ordinary load and store.
FCSA_DEVICE void copy_async_16(void* to_shared, const void* from_global, bool valid) {
#if __CUDA_ARCH__ >= 800
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to_shared)),
               "l"(from_global), "r"(bytes)
               : "memory");
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

}  // namespace fcsa::kernels::ptx
