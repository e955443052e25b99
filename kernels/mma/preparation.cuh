// What follows the forward kernel of the mma family: the sum over parts.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/key_factors.cuh"
#include "kernels/common/partial_row.cuh"
#include "kernels/common/ptx.cuh"
#include "kernels/mma/config.h"

namespace fcsa::kernels::mma {

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
      total.template add<T>(o[(part * rows + row) * kLanes + lane], sums[part * rows + row]);
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
