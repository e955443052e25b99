// The last kernel of the backward pass: dbias, a tile by a block, and dscale, a head by a block.
#pragma once

#include "kernels/simt/owned_queries.cuh"

namespace fcsa::kernels::simt {

// Sum of dS over the batches and heads that share a tile of the bias, or over a part of them. The block that
// finishes the last part of a tile adds up all of them, in order.
template <Traits T, BackwardConfig C>
struct GradBias : OwnedQueries<T, C, C.bias()> {
  static constexpr PassShape S = C.bias();
  static constexpr DType kStorage = T.bias == Bias::same ? T.dtype : DType::f32;
  using Base = OwnedQueries<T, C, C.bias()>;
  using P = typename Base::P;
  using Base::args, Base::pass, Base::batch, Base::head, Base::first_query;

  BackwardConfig::BiasTiles tiles;
  int tile, part, bias_batch, bias_head, first_key;
  typename P::Tile sums = {};

  FCSA_DEVICE GradBias(const BackwardArgs& arguments, float* shared)
      : Base(arguments, shared), tiles(C.bias_tiles(arguments)) {
    tile = blockIdx.x / tiles.splits;
    part = blockIdx.x % tiles.splits;
    int rest = tile;
    first_key = rest % tiles.key_tiles * S.block_n(), rest /= tiles.key_tiles;
    first_query = rest % tiles.row_tiles * S.block_m(), rest /= tiles.row_tiles;
    bias_head = rest % args.bias_heads;
    bias_batch = rest / args.bias_heads;
  }

  FCSA_DEVICE bool sees_nothing() const {
    return T.causal && first_key > first_query + S.block_m() - 1 + args.nk - args.nq;
  }

  FCSA_DEVICE void add(int sharer) {
    batch = bias_batch + sharer / tiles.shared_heads * args.bias_batch;
    head = bias_head + sharer % tiles.shared_heads;
    __syncthreads();  // the tiles of the sharer before are still being read
    this->load_own();
    this->load_keys(0, first_key);
    ptx::copy_async_commit();
    ptx::copy_async_wait<0>();
    __syncthreads();
    this->begin();
    typename P::Tile s;
    this->probabilities(0, first_key, s);
    pass.put_aside(s);
    this->differences(0, s);
#pragma unroll
    for (int i = 0; i < S.thread_m; ++i)
#pragma unroll
      for (int j = 0; j < S.thread_n; ++j) sums[i][j] += s[i][j];
  }

  FCSA_DEVICE void write() const {
    const Strides& strides = args.dbias_strides;
    char* head_base = static_cast<char*>(args.dbias) +
                      (bias_batch * strides.batch + bias_head * strides.head) * element_bytes(kStorage);
#pragma unroll
    for (int i = 0; i < S.thread_m; ++i) {
      const int query = first_query + pass.own(i);
#pragma unroll
      for (int j = 0; j < S.thread_n; ++j) {
        const int key = first_key + pass.other(j);
        if (query < args.nq && key < args.nk)
          store_element<kStorage>(head_base + (query * strides.row + key) * element_bytes(kStorage),
                                  sums[i][j]);
      }
    }
  }

  // Elements of this thread in a part: neighbouring threads are neighbours.
  FCSA_DEVICE float* part_of(int index) const {
    float* parts =
        reinterpret_cast<float*>(static_cast<char*>(args.workspace) + C.workspace(T, args).bias_parts);
    return parts + (1LL * tile * tiles.splits + index) * (S.block_m() * S.block_n()) + threadIdx.x;
  }

  FCSA_DEVICE void write_part() const {
    float* to = part_of(part);
#pragma unroll
    for (int i = 0; i < S.thread_m; ++i)
#pragma unroll
      for (int j = 0; j < S.thread_n; ++j) to[(i * S.thread_n + j) * S.threads()] = sums[i][j];
  }

  FCSA_DEVICE void add_parts() {
#pragma unroll
    for (int i = 0; i < S.thread_m; ++i)
#pragma unroll
      for (int j = 0; j < S.thread_n; ++j) sums[i][j] = 0;
    for (int index = 0; index < tiles.splits; ++index) {
      const float* from = part_of(index);
#pragma unroll
      for (int i = 0; i < S.thread_m; ++i)
#pragma unroll
        for (int j = 0; j < S.thread_n; ++j) sums[i][j] += __ldcg(from + (i * S.thread_n + j) * S.threads());
    }
  }

  // Whether all parts of this tile are written, this block's being the last.
  FCSA_DEVICE bool is_last() const {
    unsigned* counts =
        reinterpret_cast<unsigned*>(static_cast<char*>(args.workspace) + C.workspace(T, args).bias_counts);
    unsigned* finished = reinterpret_cast<unsigned*>(pass.exchange);
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) *finished = atomicAdd(counts + tile, 1u) + 1;
    __syncthreads();
    __threadfence();
    return *finished == static_cast<unsigned>(tiles.splits);
  }

  FCSA_DEVICE void run() {
    if (sees_nothing()) {
      if (part == 0) write();
      return;
    }
    const int shared = tiles.shared();
    const int begin = static_cast<int>(1LL * shared * part / tiles.splits);
    const int end = static_cast<int>(1LL * shared * (part + 1) / tiles.splits);
    for (int sharer = begin; sharer < end; ++sharer) add(sharer);
    if (tiles.splits > 1) {
      write_part();
      if (!is_last()) return;
      add_parts();
    }
    write();
  }
};

// dscale of a head from what the blocks of grad_queries left, in a fixed order.
template <Traits T, BackwardConfig C>
FCSA_DEVICE void write_head_scale(const BackwardArgs& args, int head, float* shared) {
  constexpr int kThreads = C.bias().threads();
  const int count = static_cast<int>(C.query_blocks(args) / args.heads);
  const float* sums = reinterpret_cast<const float*>(static_cast<const char*>(args.workspace) +
                                                     C.workspace(T, args).scale_sums) +
                      1LL * head * count;
  float sum = 0;
  for (int i = threadIdx.x; i < count; i += kThreads) sum += sums[i];
#pragma unroll
  for (int lane = 1; lane < 32; lane *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lane);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  float total = 0;
  for (int warp = 0; warp < kThreads / 32; ++warp) total += shared[warp];
  args.dscale[head] = total;
}

template <Traits T, BackwardConfig C>
__global__ void __launch_bounds__(C.bias().threads(), C.bias().min_blocks)
    grad_bias_and_scale(const __grid_constant__ BackwardArgs args) {
#if FCSA_KERNEL_CODE
  extern __shared__ float4 shared[];
  float* memory = reinterpret_cast<float*>(shared);
  const int bias_blocks = args.wants_dbias ? static_cast<int>(C.bias_tiles(args).blocks()) : 0;
  const int block = blockIdx.x;
  if (block >= bias_blocks) {
    write_head_scale<T, C>(args, block - bias_blocks, memory);
  } else if constexpr (T.bias != Bias::none) {
    GradBias<T, C>(args, memory).run();
  }
#endif
}

}  // namespace fcsa::kernels::simt
