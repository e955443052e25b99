// What follows the forward kernel of the mma family: the sum over parts.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/key_factors.cuh"
#include "kernels/common/ptx.cuh"
#include "kernels/mma/config.h"

namespace fcsa::kernels::mma {

// Four channels of a row of O, its sum and its maximum, without normalisation, over some of the keys.
struct PartialRow {
  float4 o{0, 0, 0, 0};
  float sum = 0;
  float top = minus_infinity();

  // Adds a part with its sum and maximum (x and y). `top` is the maximum of all parts already.
  template <bool fixed_bound>
  FCSA_DEVICE void add(const float4& part, const float2& sums) {
    const float reference = top == minus_infinity() ? 0.0f : top;
    const float factor = fixed_bound ? 1.0f : ptx::exp2_approximate(sums.y - reference);
    o = {fmaf(part.x, factor, o.x), fmaf(part.y, factor, o.y), fmaf(part.z, factor, o.z),
         fmaf(part.w, factor, o.w)};
    sum = fmaf(sums.x, factor, sum);
  }
};

// Four channels of O, and lse with the first, of a row [batch, heads, nq] over all keys.
template <Traits T>
FCSA_DEVICE void write_row(const Args& args, long long row, int channel, const PartialRow& total) {
  const float inverse = total.sum > 0 ? 1.0f / total.sum : 0.0f;
  const float top = T.softmax == Softmax::fixed_bound ? bound_offset_log2(T.dtype, args.bound) : total.top;
  if (channel == 0) args.lse[row] = total.sum > 0 ? (log2f(total.sum) + top) * kLn2 : minus_infinity();
  const Strides& s = args.o_strides;
  const long long head = row / args.nq;
  const long long first =
      head / args.heads * s.batch + head % args.heads * s.head + row % args.nq * s.row + channel;
  char* to = static_cast<char*>(args.o) + first * element_bytes(T.dtype);
  const float4 o{total.o.x * inverse, total.o.y * inverse, total.o.z * inverse, total.o.w * inverse};
  if constexpr (T.dtype == DType::f32) {
    *reinterpret_cast<float4*>(to) = o;
  } else {
    *reinterpret_cast<uint2*>(to) = {ptx::pack<T.dtype>(o.x, o.y), ptx::pack<T.dtype>(o.z, o.w)};
  }
}

// O and lse of one row from the parts that the keys were split into. Every sum has a fixed order.
template <Traits T, ForwardConfig C>
__global__ void __launch_bounds__(ForwardConfig::kCombineThreads) combine(const __grid_constant__ Args args) {
#if FCSA_KERNEL_CODE
  constexpr int kLanes = T.head_dim / 4;  // of a part: 4 channels each
  constexpr int kGroups = ForwardConfig::kCombineThreads / kLanes;
  constexpr bool kFixed = T.softmax == Softmax::fixed_bound;
  __shared__ float4 group_o[kGroups][kLanes];
  __shared__ float group_sum[kGroups];
  const long long rows = 1LL * args.batch * args.heads * args.nq, row = blockIdx.x;
  const auto space = C.workspace(T, args);
  const char* workspace = static_cast<const char*>(args.workspace);
  const float4* o = reinterpret_cast<const float4*>(workspace + space.partial_o);
  const float2* sums = reinterpret_cast<const float2*>(workspace + space.partial_sums);
  const int parts = C.splits(args), lane = threadIdx.x % kLanes, group = threadIdx.x / kLanes;

  PartialRow total;
  if constexpr (!kFixed)
    for (int part = 0; part < parts; ++part) total.top = fmaxf(total.top, sums[part * rows + row].y);
  if (group < kGroups) {
#pragma unroll 4
    for (int part = group; part < parts; part += kGroups)
      total.template add<kFixed>(o[(part * rows + row) * kLanes + lane], sums[part * rows + row]);
    group_o[group][lane] = total.o;
    if (lane == 0) group_sum[group] = total.sum;
  }
  __syncthreads();
  if (group != 0) return;
#pragma unroll
  for (int g = 1; g < kGroups; ++g) {
    const float4 x = group_o[g][lane];
    total.o = {total.o.x + x.x, total.o.y + x.y, total.o.z + x.z, total.o.w + x.w};
    total.sum += group_sum[g];
  }
  write_row<T>(args, row, 4 * lane, total);
#endif
}

}  // namespace fcsa::kernels::mma
