// What stands before and after the backward kernel of the wgmma family: normalised queries and their numbers,
// cleared sums, and dQ from its sums.
#pragma once

#include "kernels/wgmma/backward_rows.cuh"

namespace fcsa::kernels::wgmma {

// Eight lanes read a row.
template <Traits T>
struct RowPieces {
  static constexpr int kPieces = T.head_dim / 8, kLanes = BackwardConfig::kRowLanes;
  static constexpr int kLoads = (kPieces + kLanes - 1) / kLanes;
  uint4 words[kLoads];

  FCSA_DEVICE void load(const char* row, int part, bool exists) {
    const uint4* from = reinterpret_cast<const uint4*>(row);
#pragma unroll
    for (int i = 0; i < kLoads; ++i)
      words[i] = exists && kLanes * i + part < kPieces ? __ldg(from + kLanes * i + part) : uint4{0, 0, 0, 0};
  }
  FCSA_DEVICE void store(char* row, int part) const {
    uint4* to = reinterpret_cast<uint4*>(row);
#pragma unroll
    for (int i = 0; i < kLoads; ++i)
      if (kLanes * i + part < kPieces) to[kLanes * i + part] = words[i];
  }
  FCSA_DEVICE void multiply(float factor) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      auto x = unpack_piece<T.dtype>(words[i]);
#pragma unroll
      for (float& element : x.at) element *= factor;
      words[i] = pack_piece<T.dtype>(x);
    }
  }
  FCSA_DEVICE float dot(const RowPieces& other) const {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const auto x = unpack_piece<T.dtype>(words[i]), y = unpack_piece<T.dtype>(other.words[i]);
#pragma unroll
      for (int e = 0; e < 8; ++e) sum = fmaf(x.at[e], y.at[e], sum);
    }
#pragma unroll
    for (int lane = 1; lane < kLanes; lane *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lane);
    return sum;
  }
};

// Of a row that sees no key, or is none, P and dS are 0 whatever q and dout hold.
template <Traits T, BackwardConfig C>
FCSA_DEVICE void prepare_query(const BackwardArgs& args, long long index, int part) {
  const int padded = static_cast<int>(C.padded_queries(args)), flat = static_cast<int>(index / padded);
  const int row = static_cast<int>(index - 1LL * flat * padded), batch = flat / args.heads;
  const int head = flat - batch * args.heads;
  const bool exists = row < args.nq;
  const float lse = exists ? args.lse[1LL * flat * args.nq + row] : minus_infinity();
  const bool blind = lse == minus_infinity();
  RowPieces<T> q, o, dout;
  if constexpr (C.normalises_queries(T))
    q.load(RowPlace(args.q, args.q_strides, batch, head).row(row), part, !blind);
  o.load(RowPlace(args.o, args.o_strides, batch, head).row(row), part, !blind);
  dout.load(RowPlace(args.dout, args.dout_strides, batch, head).row(row), part, !blind);
  const float delta = o.dot(dout);
  const int tile = row / C.block_m, in = row - tile * C.block_m;
  float* to = reinterpret_cast<float*>(static_cast<char*>(args.workspace) + C.workspace(T, args).numbers) +
              (1LL * flat * C.query_tiles(args) + tile) * 2 * C.block_m;
  if (part == 0) to[in] = blind ? minus_infinity() : C.shift(T) - lse * kLog2E;
  if (part == 1) to[C.block_m + in] = -delta * C.unshift(T);
  if constexpr (C.normalises_queries(T)) {
    q.multiply(inverse_norm(q.dot(q), args.eps));
    if (exists)
      q.store(static_cast<char*>(args.workspace) + 2LL * T.head_dim * (1LL * flat * args.nq + row), part);
  }
  float4* sums = reinterpret_cast<float4*>(static_cast<char*>(args.workspace) + C.workspace(T, args).dq) +
                 index * (T.head_dim / 4);
#pragma unroll
  for (int i = part; i < T.head_dim / 4; i += C.kRowLanes) sums[i] = {0, 0, 0, 0};
}

// Blocks that normalise q and k, where that comes first, then those of the rows of queries.
template <Traits T, BackwardConfig C>
__global__ void __launch_bounds__(BackwardConfig::kRowThreads)
    prepare_backward(const __grid_constant__ BackwardArgs args) {
#if FCSA_KERNEL_CODE
  const auto normalising = static_cast<unsigned>(C.normalise_blocks(T, args));
  if (blockIdx.x == 0 && threadIdx.x == 0)
    *reinterpret_cast<unsigned*>(static_cast<char*>(args.workspace) + C.workspace(T, args).counter) = 0;
  if constexpr (normalises_first(T)) {
    static_assert(NormaliseLayout::kThreads == BackwardConfig::kRowThreads);
    if (blockIdx.x < normalising) return normalise_block<T>(args);
  }
  const long long row = 1LL * (blockIdx.x - normalising) * (C.kRowThreads / C.kRowLanes) +
                        static_cast<int>(threadIdx.x) / C.kRowLanes;
  if (row < 1LL * args.batch * args.heads * C.padded_queries(args))
    prepare_query<T, C>(args, row, static_cast<int>(threadIdx.x) % C.kRowLanes);
#endif
}

// dQ from its sums, 16 rows a warp.
template <Traits T, BackwardConfig C>
__global__ void __launch_bounds__(BackwardConfig::kConvertThreads)
    convert_queries(const __grid_constant__ BackwardArgs args) {
#if FCSA_KERNEL_CODE
  const int blocks = (args.nq + C.kConvertRows - 1) / C.kConvertRows;
  const int flat = static_cast<int>(blockIdx.x) / blocks, block = static_cast<int>(blockIdx.x) % blocks;
  const int batch = flat / args.heads, head = flat % args.heads;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int first = block * C.kConvertRows + 16 * warp;
  if (first >= args.nq) return;
  const auto space = C.workspace(T, args);
  const long long row = 1LL * flat * C.padded_queries(args) + first;
  const float* sums = reinterpret_cast<const float*>(static_cast<const char*>(args.workspace) + space.dq) +
                      row * T.head_dim + 4 * lane;
  float a[T.head_dim / 2];
#pragma unroll
  for (int i = 0; i < T.head_dim / 8; ++i) {
    const float4 x = *reinterpret_cast<const float4*>(sums + 128 * i);
    a[4 * i] = x.x, a[4 * i + 1] = x.y, a[4 * i + 2] = x.z, a[4 * i + 3] = x.w;
  }
  const RowPlace q(args.q, args.q_strides, batch, head), dq(args.dq, args.dq_strides, batch, head);
  const float scale = T.head_scale ? args.head_scale[head] : args.scale;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int at = first + lane / 4 + 8 * h, inside = min(at, args.nq - 1);
    const bool blind = args.lse[1LL * flat * args.nq + inside] == minus_infinity();
    if (T.l2norm_qk || args.wants_dscale) {
      float dot;
      if constexpr (T.l2norm_qk) {
        dot = project_row<T>(a, h, q.row(inside), scale, args.eps);
      } else {
        dot = dot_row<T>(a, h, q.row(inside));
        multiply_row(a, h, scale);
      }
      if (args.wants_dscale && lane % 4 == 0)
        reinterpret_cast<float*>(static_cast<char*>(args.workspace) + space.dots)[row + at - first] =
            blind || at >= args.nq ? 0.0f : dot;
    } else {
      multiply_row(a, h, scale);
    }
    write_row<T>(a, h, dq.row(at), at < args.nq, blind);
  }
#endif
}

// The gradient of a head's scale: q . A of all its rows, in a fixed order.
template <Traits T, BackwardConfig C>
__global__ void __launch_bounds__(BackwardConfig::kRowThreads)
    grad_scale(const __grid_constant__ BackwardArgs args) {
#if FCSA_KERNEL_CODE
  __shared__ float sums[C.kRowThreads / 32];
  const float* dots =
      reinterpret_cast<const float*>(static_cast<const char*>(args.workspace) + C.workspace(T, args).dots);
  const int head = static_cast<int>(blockIdx.x);
  float sum = 0;
  for (int batch = 0; batch < args.batch; ++batch) {
    const float* row = dots + (1LL * batch * args.heads + head) * C.padded_queries(args);
    for (int i = static_cast<int>(threadIdx.x); i < args.nq; i += C.kRowThreads) sum += row[i];
  }
#pragma unroll
  for (int lane = 1; lane < 32; lane *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lane);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  float total = 0;
  for (int warp = 0; warp < C.kRowThreads / 32; ++warp) total += sums[warp];
  args.dscale[head] = total;
#endif
}

}  // namespace fcsa::kernels::wgmma
