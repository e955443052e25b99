// l2 normalisation on the GPU: norms of rows, and the kernel that normalises q and k by groups of channels.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/normalise.h"
#include "kernels/common/ptx.cuh"

namespace fcsa::kernels {

// 1 / max(norm, eps) from the sum of squares.
FCSA_DEVICE float inverse_norm(float squares, float eps) {
  return fminf(ptx::rsqrt_approximate(squares), ptx::reciprocal_approximate(eps));
}

// The elements of 16 bytes, as f32.
template <DType dtype>
struct Piece {
  static constexpr int kElements = 16 / element_bytes(dtype);
  float at[kElements];
};

template <DType dtype>
FCSA_DEVICE Piece<dtype> unpack_piece(const uint4& words) {
  if constexpr (dtype == DType::f32) {
    return {__uint_as_float(words.x), __uint_as_float(words.y), __uint_as_float(words.z),
            __uint_as_float(words.w)};
  } else {
    const float2 a = ptx::unpack<dtype>(words.x), b = ptx::unpack<dtype>(words.y);
    const float2 c = ptx::unpack<dtype>(words.z), d = ptx::unpack<dtype>(words.w);
    return {a.x, a.y, b.x, b.y, c.x, c.y, d.x, d.y};
  }
}

template <DType dtype>
FCSA_DEVICE uint4 pack_piece(const Piece<dtype>& piece) {
  const auto& x = piece.at;
  if constexpr (dtype == DType::f32) {
    return {__float_as_uint(x[0]), __float_as_uint(x[1]), __float_as_uint(x[2]), __float_as_uint(x[3])};
  } else {
    return {ptx::pack<dtype>(x[0], x[1]), ptx::pack<dtype>(x[2], x[3]), ptx::pack<dtype>(x[4], x[5]),
            ptx::pack<dtype>(x[6], x[7])};
  }
}

// One span of a row: words[i] is piece lane + lanes * i, zero past the end of the span or of the rows.
template <Traits T>
FCSA_DEVICE void normalise_span(uint4* words, float eps) {
  constexpr NormaliseLayout kLayout(T);
  constexpr int kElements = kLayout.elements, kGroups = kLayout.span_groups();
  float factors[kGroups] = {};
#pragma unroll
  for (int i = 0; i < kLayout.lane_pieces(); ++i) {
    const auto piece = unpack_piece<T.dtype>(words[i]);
#pragma unroll
    for (int e = 0; e < kElements; ++e) {
      const int group = kGroups == 1 ? 0 : (i * kElements + e) / kLayout.group;
      factors[group] = fmaf(piece.at[e], piece.at[e], factors[group]);
    }
  }
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
#pragma unroll
    for (int lane = 1; lane < kLayout.lanes(); lane *= 2)
      factors[group] += __shfl_xor_sync(0xffffffffu, factors[group], lane);
    factors[group] = inverse_norm(factors[group], eps);
  }
#pragma unroll
  for (int i = 0; i < kLayout.lane_pieces(); ++i) {
    auto piece = unpack_piece<T.dtype>(words[i]);
#pragma unroll
    for (int e = 0; e < kElements; ++e)
      piece.at[e] *= factors[kGroups == 1 ? 0 : (i * kElements + e) / kLayout.group];
    words[i] = pack_piece<T.dtype>(piece);
  }
}

template <Traits T>
FCSA_DEVICE void normalise_block(const Args& args) {
  constexpr NormaliseLayout kLayout(T);
  constexpr int kLanes = kLayout.lanes(), kLanePieces = kLayout.lane_pieces();
  constexpr int kThreadSpans = kLayout.thread_spans(), kBytes = element_bytes(T.dtype);
  const auto query_blocks = static_cast<unsigned>(args.batch * args.heads * kLayout.blocks(args.nq));
  const bool is_query = blockIdx.x < query_blocks;
  const unsigned block = is_query ? blockIdx.x : blockIdx.x - query_blocks;
  const int rows = is_query ? args.nq : args.nk, heads = is_query ? args.heads : args.kv_heads;
  const Strides& strides = is_query ? args.q_strides : args.k_strides;
  const auto blocks = static_cast<unsigned>(kLayout.blocks(rows));
  const int head = static_cast<int>(block / blocks);
  const auto tensors = normalised_tensors(T, args);
  const char* from = static_cast<const char*>(is_query ? args.q : args.k) +
                     (head / heads * strides.batch + head % heads * strides.head) * kBytes;
  char* to = static_cast<char*>(args.workspace) + (is_query ? tensors.q : tensors.k) +
             1LL * head * rows * T.head_dim * kBytes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int first_span =
      static_cast<int>(block % blocks) * kLayout.block_spans() + static_cast<int>(threadIdx.x) / kLanes;

  uint4 words[kThreadSpans][kLanePieces];
#pragma unroll
  for (int s = 0; s < kThreadSpans; ++s) {
    const int span = first_span + s * kLayout.spans_at_once(), row = span / kLayout.row_spans;
    const char* source = from + (row * strides.row + span % kLayout.row_spans * kLayout.span) * kBytes;
#pragma unroll
    for (int i = 0; i < kLanePieces; ++i) {
      const int piece = lane + kLanes * i;
      const bool valid = row < rows && piece < kLayout.pieces();
      words[s][i] = valid ? __ldg(reinterpret_cast<const uint4*>(source) + piece) : uint4{0, 0, 0, 0};
    }
  }
#pragma unroll
  for (int s = 0; s < kThreadSpans; ++s) {
    const int span = first_span + s * kLayout.spans_at_once();
    normalise_span<T>(words[s], args.eps);
    char* target = to + 1LL * span * kLayout.span * kBytes;
#pragma unroll
    for (int i = 0; i < kLanePieces; ++i) {
      const int piece = lane + kLanes * i;
      if (span / kLayout.row_spans < rows && piece < kLayout.pieces())
        reinterpret_cast<uint4*>(target)[piece] = words[s][i];
    }
  }
}

// Writes normalised_tensors. Every family instantiates it with its own configuration, for all of its
// problems.
template <Traits T, auto C>
__global__ void __launch_bounds__(NormaliseLayout::kThreads) normalise(const __grid_constant__ Args args) {
#if FCSA_KERNEL_CODE
  if constexpr (normalises_first(T)) normalise_block<T>(args);
#endif
}

// Arguments of a forward kernel that runs after `normalise`: q and k are the normalised tensors.
template <Traits T>
FCSA_DEVICE Args normalised_args(const Args& args) {
  const auto tensors = normalised_tensors(T, args);
  const long long query_head = 1LL * args.nq * T.head_dim, key_head = 1LL * args.nk * T.head_dim;
  Args normalised = args;
  normalised.q = static_cast<const char*>(args.workspace) + tensors.q;
  normalised.k = static_cast<const char*>(args.workspace) + tensors.k;
  normalised.q_strides = {args.heads * query_head, query_head, T.head_dim};
  normalised.k_strides = {args.kv_heads * key_head, key_head, T.head_dim};
  return normalised;
}

}  // namespace fcsa::kernels
