// The pre-pass of the simt family: norms of the keys, read once instead of by every block.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/normalise.cuh"
#include "kernels/simt/config.h"

namespace fcsa::kernels::simt {

// 1 / max(|k|, eps) of every key, to workspace [batch, kv_heads, nk].
template <Traits T>
FCSA_DEVICE void write_key_norm(const Args& args) {
  const long long key = static_cast<long long>(blockIdx.x) * ForwardConfig::kNormThreads + threadIdx.x;
  if (key >= static_cast<long long>(args.batch) * args.kv_heads * args.nk) return;
  const long long head = key / args.nk;
  const Strides& s = args.k_strides;
  const long long first =
      head / args.kv_heads * s.batch + head % args.kv_heads * s.head + (key - head * args.nk) * s.row;
  const uint4* row =
      reinterpret_cast<const uint4*>(static_cast<const char*>(args.k) + first * element_bytes(T.dtype));
  float squares = 0;
#pragma unroll 4
  for (int i = 0; i < T.head_dim * element_bytes(T.dtype) / 16; ++i) {
    const auto piece = unpack_piece<T.dtype>(row[i]);
#pragma unroll
    for (int e = 0; e < piece.kElements; ++e) squares = fmaf(piece.at[e], piece.at[e], squares);
  }
  static_cast<float*>(args.workspace)[key] = inverse_norm(squares, args.eps);
}

template <Traits T, ForwardConfig C>
__global__ void __launch_bounds__(ForwardConfig::kNormThreads) key_norms(const __grid_constant__ Args args) {
#if FCSA_KERNEL_CODE
  if constexpr (C.prepass(T)) write_key_norm<T>(args);
#endif
}

}  // namespace fcsa::kernels::simt
