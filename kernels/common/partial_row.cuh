// A row of O from parts of the keys.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/logits.cuh"
#include "kernels/common/ptx.cuh"

namespace fcsa::kernels {

// Four channels of a row of O, its sum and its maximum, without normalisation, over some of the keys.
struct PartialRow {
  float4 o{0, 0, 0, 0};
  float sum = 0;
  float top = minus_infinity();

  // Adds a part with its sum and maximum (x and y). `top` is the maximum of all parts already.
  template <Traits T>
  FCSA_DEVICE void add(const float4& part, const float2& sums) {
    const float reference = top == minus_infinity() ? 0.0f : top;
    constexpr bool kFixed = T.softmax == Softmax::fixed_bound;
    const float factor = kFixed ? 1.0f : ptx::exp2_approximate(above<T>(sums.y, reference));
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
  if (channel == 0)
    args.lse[row] = total.sum > 0
                        ? lse_of<T>(args, static_cast<int>(row / args.nq % args.heads), total.sum, top)
                        : minus_infinity();
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

}  // namespace fcsa::kernels
