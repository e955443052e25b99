// Plain attention on CUDA cores: normalise q and k, S = scale q k^T to memory, softmax over its rows, O = P
// v. Products in f32, tiles of 64 x 64 staged through shared memory. Needs sm_75.
#pragma once

#include "kernels/common/visibility.h"
#include "kernels/reference/unfused_config.h"

namespace fcsa::kernels::unfused {

// How four neighbouring elements are stored: one vector access each.
template <DType kType>
struct Storage {
  struct alignas(8) Four {
    unsigned short element[4];
  };
  static __device__ float to_float(unsigned short bits) {
    if constexpr (kType == DType::bf16) return __uint_as_float(static_cast<unsigned>(bits) << 16);
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
  }
  static __device__ unsigned short from_float(float value) {
    if constexpr (kType == DType::bf16) {
      // sm_75 has no conversion to bf16: round to nearest even by hand.
      const unsigned bits = __float_as_uint(value);
      if (value != value) return 0x7fc0;
      return static_cast<unsigned short>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
    }
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
  }
};

template <>
struct Storage<DType::f32> {
  struct alignas(16) Four {
    float element[4];
  };
  static __device__ float to_float(float value) { return value; }
  static __device__ float from_float(float value) { return value; }
};

struct Floats4 {
  float at[4];
};

template <DType kType>
__device__ Floats4 load4(const void* data, long long index) {
  using S = Storage<kType>;
  using Four = typename S::Four;
  constexpr int kBytes = element_bytes(kType);
  const Four four = *reinterpret_cast<const Four*>(static_cast<const char*>(data) + index * kBytes);
  return {{S::to_float(four.element[0]), S::to_float(four.element[1]), S::to_float(four.element[2]),
           S::to_float(four.element[3])}};
}

template <DType kType>
__device__ void store4(void* data, long long index, const float (&value)[4]) {
  using S = Storage<kType>;
  using Four = typename S::Four;
  constexpr int kBytes = element_bytes(kType);
  *reinterpret_cast<Four*>(static_cast<char*>(data) + index * kBytes) = {
      {S::from_float(value[0]), S::from_float(value[1]), S::from_float(value[2]), S::from_float(value[3])}};
}

template <DType kType>
__device__ float load1(const void* data, long long index) {
  if constexpr (kType == DType::f32) {
    return static_cast<const float*>(data)[index];
  } else {
    return Storage<kType>::to_float(static_cast<const unsigned short*>(data)[index]);
  }
}

template <DType kType>
__device__ void store1(void* data, long long index, float value) {
  if constexpr (kType == DType::f32) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<unsigned short*>(data)[index] = Storage<kType>::from_float(value);
  }
}

__device__ inline float minus_infinity() {
  return __uint_as_float(0xff800000u);
}

__device__ inline float warp_sum(float value) {
  for (int lane = 16; lane > 0; lane /= 2) value += __shfl_xor_sync(0xffffffffu, value, lane);
  return value;
}

// A 64-row tile of the query rows of one head.
struct Tile {
  int batch, head, kv_head, first;
};

__device__ inline Tile query_tile(const Args& args, long long tile) {
  const long long tiles = ceil_div(args.nq, kTile);
  const int head = static_cast<int>(tile / tiles % args.heads);
  return {static_cast<int>(tile / tiles / args.heads), head, head / (args.heads / args.kv_heads),
          static_cast<int>(tile % tiles) * kTile};
}

__device__ inline float* score_row(const Traits& traits, const Args& args, long long row) {
  const Workspace w = workspace(traits, args);
  return reinterpret_cast<float*>(static_cast<char*>(args.workspace) + w.scores) + row * w.pitch;
}

// Rows of one head, four channels at a time; zero outside.
template <DType kType>
struct Rows {
  const void* data;
  long long first, stride;
  int rows, channels;

  __device__ Floats4 at(int row, int channel) const {
    if (row >= rows || channel >= channels) return {};
    return load4<kType>(data, first + row * stride + channel);
  }
};

// q or k of a head: raw, or normalised in the workspace.
template <Traits T>
__device__ Rows<T.dtype> query_rows_of(const Args& args, const Tile& t) {
  const Strides& s = args.q_strides;
  if constexpr (!T.l2norm_qk)
    return {args.q, t.batch * s.batch + t.head * s.head, s.row, args.nq, T.head_dim};
  return {static_cast<char*>(args.workspace) + workspace(T, args).q,
          (1LL * t.batch * args.heads + t.head) * args.nq * T.head_dim, T.head_dim, args.nq, T.head_dim};
}

template <Traits T>
__device__ Rows<T.dtype> key_rows_of(const Args& args, const Tile& t) {
  const Strides& s = args.k_strides;
  if constexpr (!T.l2norm_qk)
    return {args.k, t.batch * s.batch + t.kv_head * s.head, s.row, args.nk, T.head_dim};
  return {static_cast<char*>(args.workspace) + workspace(T, args).k,
          (1LL * t.batch * args.kv_heads + t.kv_head) * args.nk * T.head_dim, T.head_dim, args.nk,
          T.head_dim};
}

// Operands of one step of a 64 x 64 product: a[depth][row], b[depth][column]. Rows of 68 keep float4
// alignment and spread the transposing stores over the banks.
struct alignas(16) Stage {
  float a[kDepth][kTile + 4];
  float b[kDepth][kTile + 4];
};

__device__ inline void stage_transposed(float (&to)[kDepth][kTile + 4], const Floats4& four) {
  const int row = static_cast<int>(threadIdx.x) / 4, depth = static_cast<int>(threadIdx.x) % 4 * 4;
  for (int i = 0; i < 4; ++i) to[depth + i][row] = four.at[i];
}

// Thread (x, y) of 16 x 16 owns rows 4y..4y+3 and columns 4x..4x+3.
__device__ inline void multiply(const Stage& stage, float (&sums)[4][4]) {
  const int x = static_cast<int>(threadIdx.x) % 16 * 4, y = static_cast<int>(threadIdx.x) / 16 * 4;
#pragma unroll
  for (int depth = 0; depth < kDepth; ++depth) {
    const Floats4 a = load4<DType::f32>(stage.a[depth], y), b = load4<DType::f32>(stage.b[depth], x);
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) sums[i][j] += a.at[i] * b.at[j];
  }
}

// One warp per row of q, then of k.
template <Traits T, Config C>
__global__ void __launch_bounds__(kThreads) normalise(const __grid_constant__ Args args) {
  constexpr int kWidth = T.head_dim / T.groups;
  const Workspace w = workspace(T, args);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const long long row = 1LL * blockIdx.x * kWarps + threadIdx.x / 32;
  const bool is_query = row < query_rows(args);
  const long long own = is_query ? row : row - query_rows(args);
  if (!is_query && own >= key_rows(args)) return;
  const int length = is_query ? args.nq : args.nk, heads = is_query ? args.heads : args.kv_heads;
  const Strides& s = is_query ? args.q_strides : args.k_strides;
  const void* from = is_query ? args.q : args.k;
  void* to = static_cast<char*>(args.workspace) + (is_query ? w.q : w.k);
  const long long first =
      own / length / heads * s.batch + own / length % heads * s.head + own % length * s.row;
  for (int group = 0; group < T.head_dim; group += kWidth) {
    float squares = 0;
    for (int d = lane; d < kWidth; d += 32) {
      const float x = load1<T.dtype>(from, first + group + d);
      squares += x * x;
    }
    const float norm = fmaxf(sqrtf(warp_sum(squares)), args.eps);
    for (int d = lane; d < kWidth; d += 32)
      store1<T.dtype>(to, own * T.head_dim + group + d, load1<T.dtype>(from, first + group + d) / norm);
  }
}

// Logits are held over this: the sum of a scale and a bias of up to the largest float is a float.
inline constexpr float kUnit = 4.0f;

// A 64 x 64 tile of S, scaled, with the bias, over kUnit; masks are left to the softmax.
template <Traits T, Config C>
__global__ void __launch_bounds__(kThreads) scores(const __grid_constant__ Args args) {
  __shared__ Stage stage;
  const long long key_tiles = ceil_div(args.nk, kTile);
  const int first_key = static_cast<int>(blockIdx.x % key_tiles) * kTile;
  const Tile tile = query_tile(args, blockIdx.x / key_tiles);
  const auto q = query_rows_of<T>(args, tile);
  const auto k = key_rows_of<T>(args, tile);
  const int row = static_cast<int>(threadIdx.x) / 4, channel = static_cast<int>(threadIdx.x) % 4 * 4;
  float sums[4][4] = {};
  for (int d = 0; d < T.head_dim; d += kDepth) {
    stage_transposed(stage.a, q.at(tile.first + row, d + channel));
    stage_transposed(stage.b, k.at(first_key + row, d + channel));
    __syncthreads();
    multiply(stage, sums);
    __syncthreads();
  }
  const float scale = T.head_scale ? args.head_scale[tile.head] : args.scale;
  const int x = first_key + static_cast<int>(threadIdx.x) % 16 * 4;
  const int y = tile.first + static_cast<int>(threadIdx.x) / 16 * 4;
  const long long head = 1LL * tile.batch * args.heads + tile.head;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (y + i >= args.nq || x >= args.nk) continue;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      sums[i][j] *= scale / kUnit;
      if constexpr (T.bias != Bias::none) {
        constexpr DType kBiasType = T.bias == Bias::same ? T.dtype : DType::f32;
        const Strides& s = args.bias_strides;
        const long long index = tile.batch % args.bias_batch * s.batch +
                                (args.bias_heads == 1 ? 0 : tile.head) * s.head + (y + i) * s.row + x + j;
        if (x + j >= args.nk) continue;
        const float bias = load1<kBiasType>(args.bias, index);
        // Minus infinity hides the key, whatever that holds.
        sums[i][j] = bias == minus_infinity() ? bias : sums[i][j] + bias / kUnit;
      }
    }
    store4<DType::f32>(score_row(T, args, head * args.nq + y + i), x, sums[i]);
  }
}

// The result for the whole block of a reduction over its threads.
template <typename Combine>
__device__ float block_reduce(float value, float (&partial)[kWarps], const Combine& combine) {
  for (int lane = 16; lane > 0; lane /= 2) value = combine(value, __shfl_xor_sync(0xffffffffu, value, lane));
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  value = partial[0];
  for (int warp = 1; warp < kWarps; ++warp) value = combine(value, partial[warp]);
  return value;
}

// One block per row of S.
template <Traits T, Config C>
__global__ void __launch_bounds__(kThreads) softmax(const __grid_constant__ Args args) {
  __shared__ float partial[kWarps];
  const long long row = blockIdx.x;
  const int query = static_cast<int>(row % args.nq);
  const long long limit = visibility_of(T, args).keys_of(query).end;
  const unsigned char* mask =
      T.key_mask ? args.key_mask + row / args.nq / args.heads * args.key_mask_stride : nullptr;
  const auto visible = [&](int key) {
    if constexpr (T.key_mask) return key < limit && mask[key] != 0;
    return key < limit;
  };
  float* s = score_row(T, args, row);
  float largest = minus_infinity();
  for (int j = static_cast<int>(threadIdx.x); j < args.nk; j += kThreads)
    if (visible(j)) largest = fmaxf(largest, s[j]);
  largest = block_reduce(largest, partial, [](float a, float b) { return fmaxf(a, b); });
  const bool any = largest > minus_infinity();
  float sum = 0;
  for (int j = static_cast<int>(threadIdx.x); j < args.nk; j += kThreads)
    if (visible(j)) sum += expf((s[j] - largest) * kUnit);
  sum = block_reduce(sum, partial, [](float a, float b) { return a + b; });
  const float r = any ? 1.0f / sum : 0.0f;
  const int pitch = static_cast<int>(workspace(T, args).pitch);
  for (int j = static_cast<int>(threadIdx.x); j < pitch; j += kThreads)
    s[j] = any && j < args.nk && visible(j) ? expf((s[j] - largest) * kUnit) * r : 0.0f;
  if (threadIdx.x == 0) args.lse[row] = any ? largest * kUnit + logf(sum) : minus_infinity();
}

// A 64 x 64 tile of O.
template <Traits T, Config C>
__global__ void __launch_bounds__(kThreads) output(const __grid_constant__ Args args) {
  __shared__ Stage stage;
  const long long channel_tiles = ceil_div(T.head_dim, kTile);
  const int first_channel = static_cast<int>(blockIdx.x % channel_tiles) * kTile;
  const Tile tile = query_tile(args, blockIdx.x / channel_tiles);
  const long long first_row = (1LL * tile.batch * args.heads + tile.head) * args.nq;
  const int pitch = static_cast<int>(workspace(T, args).pitch);
  const Rows<DType::f32> p{score_row(T, args, first_row), 0, pitch, args.nq, pitch};
  const Strides &vs = args.v_strides, &os = args.o_strides;
  const Rows<T.dtype> v{args.v, tile.batch * vs.batch + tile.kv_head * vs.head, vs.row, args.nk, T.head_dim};
  const int row = static_cast<int>(threadIdx.x) / 4, key = static_cast<int>(threadIdx.x) % 4 * 4;
  const int x = static_cast<int>(threadIdx.x) % 16 * 4, y = static_cast<int>(threadIdx.x) / 16;
  // Values of keys that the mask hides are not read.
  const auto value = [&](int key) -> Floats4 {
    if constexpr (T.key_mask)
      if (key < args.nk && args.key_mask[tile.batch * args.key_mask_stride + key] == 0) return {};
    return v.at(key, first_channel + x);
  };
  float sums[4][4] = {};
  for (int first_key = 0; first_key < args.nk; first_key += kDepth) {
    stage_transposed(stage.a, p.at(tile.first + row, first_key + key));
    store4<DType::f32>(stage.b[y], x, value(first_key + y).at);
    __syncthreads();
    multiply(stage, sums);
    __syncthreads();
  }
  const long long out = tile.batch * os.batch + tile.head * os.head + first_channel + x;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int query = tile.first + y * 4 + i;
    if (query < args.nq && first_channel + x < T.head_dim)
      store4<T.dtype>(args.o, out + query * os.row, sums[i]);
  }
}

}  // namespace fcsa::kernels::unfused
