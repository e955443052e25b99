// What the columns of S are multiplied with and what is added to them: norms, masks and the end of the keys.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/normalise.cuh"
#include "kernels/common/ptx.cuh"

namespace fcsa::kernels {

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

FCSA_DEVICE float minus_infinity() {
  return __uint_as_float(0xff800000u);
}

// Sum of squares of the elements of a word.
template <DType dtype>
FCSA_DEVICE float add_squares(unsigned word, float sum) {
  if constexpr (dtype == DType::f32) {
    return fmaf(__uint_as_float(word), __uint_as_float(word), sum);
  } else {
    const float2 x = ptx::unpack<dtype>(word);
    return fmaf(x.y, x.y, fmaf(x.x, x.x, sum));
  }
}

// A key enters its column of S as S * x + y in base 2: x = 1/|k|, and y = -offset of the fixed bound, or -inf
// for a key that nobody sees, which takes masks and the end of the keys out of the inner loop.
template <Traits T>
FCSA_DEVICE float2 key_factor(const Args& args, int batch, int key, float inverse) {
  bool visible = key < args.nk;
  if constexpr (T.key_mask) visible = visible && args.key_mask[batch * args.key_mask_stride + key] != 0;
  const float offset = T.softmax == Softmax::fixed_bound ? bound_offset_log2(T.dtype, args.bound) : 0.0f;
  return {key < args.nk ? inverse : 0.0f, visible ? -offset : minus_infinity()};
}

// Factors of every key to the workspace, [batch, kv_heads, C.padded_keys] x 2 at C.workspace().factors. Eight
// lanes read a row; each thread has several under way, which the memory's latency needs.
template <Traits T, auto C>
__global__ void __launch_bounds__(C.kFactorThreads) key_factors(const __grid_constant__ Args args) {
#if FCSA_KERNEL_CODE
  constexpr int kPieces = T.head_dim * element_bytes(T.dtype) / 16, kLoads = (kPieces + 7) / 8;
  constexpr int kLanes = 8, kAtOnce = C.kFactorThreads / kLanes, kRows = C.kFactorRows / kAtOnce;
  constexpr int kGroup = kRows * kLoads <= 8 ? kRows : 2;  // rows of a thread under way, within 64 registers
  static_assert(kRows % kGroup == 0);
  const long long padded = C.padded_keys(args), rows = args.batch * args.kv_heads * padded;
  const int part = threadIdx.x % kLanes;
  const long long first = static_cast<long long>(blockIdx.x) * C.kFactorRows + threadIdx.x / kLanes;
  float2* to = reinterpret_cast<float2*>(static_cast<char*>(args.workspace) + C.workspace(T, args).factors);
#pragma unroll 1
  for (int group = 0; group < kRows; group += kGroup) {
    uint4 words[kGroup][kLoads];
#pragma unroll
    for (int r = 0; r < kGroup; ++r) {
      const long long row = first + (group + r) * kAtOnce, head = row / padded;
      const int key = static_cast<int>(row - head * padded);
      const Strides& s = args.k_strides;
      const long long start = head / args.kv_heads * s.batch + head % args.kv_heads * s.head + key * s.row;
      const uint4* pieces =
          reinterpret_cast<const uint4*>(static_cast<const char*>(args.k) + start * element_bytes(T.dtype));
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        const bool exists = row < rows && key < args.nk && kLanes * i + part < kPieces;
        words[r][i] = exists ? __ldg(pieces + kLanes * i + part) : uint4{0, 0, 0, 0};
      }
    }
#pragma unroll
    for (int r = 0; r < kGroup; ++r) {
      float squares = 0;
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        const uint4& w = words[r][i];
        squares = add_squares<T.dtype>(w.x, add_squares<T.dtype>(w.y, squares));
        squares = add_squares<T.dtype>(w.z, add_squares<T.dtype>(w.w, squares));
      }
#pragma unroll
      for (int lane = 1; lane < kLanes; lane *= 2) squares += __shfl_xor_sync(0xffffffffu, squares, lane);
      const long long row = first + (group + r) * kAtOnce, head = row / padded;
      if (row >= rows || part != 0) continue;
      const float2 factor =
          key_factor<T>(args, static_cast<int>(head / args.kv_heads), static_cast<int>(row - head * padded),
                        inverse_norm(squares, args.eps));
      to[row] = factor;
    }
  }
#endif
}

}  // namespace fcsa::kernels
