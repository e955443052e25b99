// What the backward passes of the mma family read instead of tensors: a few numbers for every query and key.
#pragma once

#include "kernels/common/logits.cuh"
#include "kernels/common/normalise.cuh"
#include "kernels/mma/backward_config.h"

namespace fcsa::kernels::mma {

// Numbers of the queries, [batch, heads, padded_queries] each, and of the keys, [batch, kv_heads,
// padded_keys]. Past the end, and for rows that see no key, lse is infinite, so that P is 0.
struct Numbers {
  float *lse, *delta, *query_norm, *query_dot;
  float *key_norm, *key_hidden;

  template <Traits T, BackwardConfig C>
  FCSA_DEVICE static Numbers of(const BackwardArgs& args) {
    const auto space = C.workspace(T, args);
    char* workspace = static_cast<char*>(args.workspace);
    float* q = reinterpret_cast<float*>(workspace + space.queries);
    float* k = reinterpret_cast<float*>(workspace + space.keys);
    return {q, q + space.query_floats, q + 2 * space.query_floats, q + 3 * space.query_floats,
            k, k + space.key_floats};
  }
};

template <Traits T, BackwardConfig C>
FCSA_DEVICE int first_seeing_query(const Args& args, int batch) {
  const int shift = args.nk - args.nq;
  if constexpr (T.key_mask) {
    const char* workspace = static_cast<const char*>(args.workspace);
    const BackwardArgs& all = static_cast<const BackwardArgs&>(args);
    const int first = reinterpret_cast<const int*>(workspace + C.workspace(T, all).first_shown)[batch];
    return first == args.nk ? args.nq : T.causal ? max(0, first - shift) : 0;
  } else {
    return T.causal ? max(0, -shift) : 0;
  }
}

// Eight lanes read a row, `kLoads` pieces each.
template <Traits T>
struct RowPieces {
  static constexpr int kPieces = T.head_dim / 8, kLoads = (kPieces + 7) / 8;
  uint4 words[kLoads];

  FCSA_DEVICE void load(const void* tensor, long long first_element, int part, bool exists) {
    const uint4* from = reinterpret_cast<const uint4*>(static_cast<const char*>(tensor) + 2 * first_element);
#pragma unroll
    for (int i = 0; i < kLoads; ++i)
      words[i] = exists && 8 * i + part < kPieces ? __ldg(from + 8 * i + part) : uint4{0, 0, 0, 0};
  }
};

FCSA_DEVICE float sum_of_eight(float x) {
#pragma unroll
  for (int lane = 1; lane < 8; lane *= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
  return x;
}

template <Traits T>
FCSA_DEVICE float dot(const RowPieces<T>& a, const RowPieces<T>& b) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < RowPieces<T>::kLoads; ++i) {
    const auto x = unpack_piece<T.dtype>(a.words[i]), y = unpack_piece<T.dtype>(b.words[i]);
#pragma unroll
    for (int e = 0; e < 8; ++e) sum = fmaf(x.at[e], y.at[e], sum);
  }
  return sum_of_eight(sum);
}

template <Traits T, BackwardConfig C>
FCSA_DEVICE void prepare_query(const BackwardArgs& args, long long index, int part) {
  const long long padded = C.padded_queries(args), head = index / padded;
  const int row = static_cast<int>(index - head * padded), batch = static_cast<int>(head / args.heads);
  const int h = static_cast<int>(head % args.heads);
  const bool exists = row < args.nq;
  const auto at = [&](const Strides& s) { return batch * s.batch + h * s.head + row * s.row; };
  RowPieces<T> q, o, dout;
  if constexpr (C.uses_norms(T)) q.load(args.q, at(args.q_strides), part, exists);
  o.load(args.o, at(args.o_strides), part, exists);
  dout.load(args.dout, at(args.dout_strides), part, exists);
  const float lse = exists ? args.lse[head * args.nq + row] : minus_infinity();
  const Numbers numbers = Numbers::of<T, C>(args);
  const float delta = dot<T>(o, dout);
  if (part == 0) {
    const bool blind = lse == minus_infinity();
    numbers.lse[index] = blind ? -minus_infinity() : lse * lse_factor<T>(args, h);
    // Whatever a row holds that sees nothing.
    if constexpr (hides_pairs(T)) {
      numbers.delta[index] = blind ? 0.0f : delta;
    } else {
      numbers.delta[index] = delta;
    }
  }
  if constexpr (C.uses_norms(T)) {
    const float norm = inverse_norm(dot<T>(q, q), args.eps);
    if (part == 0) numbers.query_norm[index] = exists ? norm : 0.0f;
  }
  if constexpr (C.dq == kAtomics) {
    float4* sums = reinterpret_cast<float4*>(static_cast<char*>(args.workspace) + C.workspace(T, args).dq) +
                   index * (T.head_dim / 4);
#pragma unroll
    for (int i = part; i < T.head_dim / 4; i += 8) sums[i] = {0, 0, 0, 0};
  }
}

template <Traits T, BackwardConfig C>
FCSA_DEVICE void prepare_key(const BackwardArgs& args, long long index, int part) {
  const long long padded = C.padded_keys(args), head = index / padded;
  const int key = static_cast<int>(index - head * padded), batch = static_cast<int>(head / args.kv_heads);
  const Numbers numbers = Numbers::of<T, C>(args);
  const bool exists = key < args.nk;
  if (C.reads_key_norms(T, args)) {
    const Strides& s = args.k_strides;
    RowPieces<T> k;
    k.load(args.k, batch * s.batch + head % args.kv_heads * s.head + key * s.row, part, exists);
    const float norm = inverse_norm(dot<T>(k, k), args.eps);
    if (part == 0) numbers.key_norm[index] = exists ? norm : 0.0f;
  }
  if constexpr (T.key_mask) {
    const bool visible = exists && args.key_mask[batch * args.key_mask_stride + key] != 0;
    if (part == 0) numbers.key_hidden[index] = visible ? 0.0f : minus_infinity();
  }
}

// The first key of a batch that the mask shows; nk: there is none.
template <Traits T, BackwardConfig C>
FCSA_DEVICE void find_first_shown(const BackwardArgs& args, int batch) {
  __shared__ int first_of_warp[BackwardConfig::kPrepareThreads / 32];
  const unsigned char* mask = args.key_mask + batch * args.key_mask_stride;
  int first = args.nk;
  for (int key = static_cast<int>(threadIdx.x); key < first; key += BackwardConfig::kPrepareThreads)
    if (mask[key] != 0) first = key;
#pragma unroll
  for (int lane = 1; lane < 32; lane *= 2) first = min(first, __shfl_xor_sync(0xffffffffu, first, lane));
  if (threadIdx.x % 32 == 0) first_of_warp[threadIdx.x / 32] = first;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (const int other : first_of_warp) first = min(first, other);
  reinterpret_cast<int*>(static_cast<char*>(args.workspace) + C.workspace(T, args).first_shown)[batch] =
      first;
}

// Blocks that normalise q and k, where that comes first, then those of queries, then of keys. On an H100 at
// the speed of the memory (D = 64, 16,384 tokens: 324 MB in 112 us), for all its divisions of 64 bits.
template <Traits T, BackwardConfig C>
__global__ void __launch_bounds__(BackwardConfig::kPrepareThreads)
    prepare_backward(const __grid_constant__ BackwardArgs args) {
#if FCSA_KERNEL_CODE
  const auto normalising = static_cast<unsigned>(C.normalise_blocks(T, args));
  if constexpr (C.normalised_before(T)) {
    static_assert(NormaliseLayout::kThreads == BackwardConfig::kPrepareThreads);
    if (blockIdx.x < normalising) return normalise_block<T>(args);
  }
  if constexpr (T.key_mask) {
    const auto rows = static_cast<unsigned>(normalising + C.prepare_blocks(T, args));
    if (blockIdx.x >= rows) return find_first_shown<T, C>(args, static_cast<int>(blockIdx.x - rows));
  }
  const int part = static_cast<int>(threadIdx.x) % 8;
  const long long row =
      1LL * (blockIdx.x - normalising) * BackwardConfig::kPrepareRows + static_cast<int>(threadIdx.x) / 8;
  const long long queries = 1LL * args.batch * args.heads * C.padded_queries(args);
  if (row < queries) {
    prepare_query<T, C>(args, row, part);
  } else if (C.prepares_keys(T, args)) {
    prepare_key<T, C>(args, row - queries, part);
  }
#endif
}

}  // namespace fcsa::kernels::mma
