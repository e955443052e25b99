// Backward pass on the tensor cores of sm_80 and later by mma.sync, f16 and bf16: dQ, dK, dV, and the
// gradients of bias and scale.
#pragma once

#include "kernels/mma/backward_bias.cuh"
#include "kernels/mma/backward_dq.cuh"
#include "kernels/mma/backward_loads.cuh"
#include "kernels/mma/backward_pass.cuh"
#include "kernels/mma/backward_products.cuh"
#include "kernels/mma/backward_softmax.cuh"

namespace fcsa::kernels::mma {

// Rows of a gradient on their way to memory, 16 for each call. `raw` is the row of q or k that they are the
// gradient of, where the normalisation has a gradient of its own: with A the sum over dS x, r = 1 / |raw|,
//   gradient = scale (A - raw r^2 (raw . A))    where dS has both norms as factors
//   gradient = scale r (A - raw r^2 (raw . A))  where that of the row is left to the end
// by groups of channels; and zero where |raw| < eps.
template <Traits T, BackwardConfig C, PassShape shape>
struct GradientRows {
  static constexpr int kParts = shape.parts, kTiles = T.head_dim / 8 / kParts;  // of 8 channels, of this warp
  static constexpr int kRowBytes = 16 * kTiles, kPitch = kRowBytes + 16;
  // Groups of channels of this warp; one for all is added up over the warps that share rows.
  static constexpr int kAllGroups = T.l2norm_qk ? T.groups : 1, kGroups = (kAllGroups + kParts - 1) / kParts;
  static constexpr int kGroupTiles = kTiles / kGroups;
  static constexpr bool kExchange = kParts > 1 && kAllGroups == 1;
  static_assert(kAllGroups == 1 || kAllGroups % kParts == 0);
  using Rows = float[kTiles][4];

  float eps;
  unsigned staging, exchange;
  int warp, lane, g, t;

  FCSA_DEVICE GradientRows(const Args& args, unsigned shared)
      : eps(args.eps),
        exchange(shared + C.staging_bytes(T, shape)),
        warp(static_cast<int>(threadIdx.x) / 32),
        lane(static_cast<int>(threadIdx.x) % 32) {
    staging = shared + warp * 16 * kPitch;
    g = lane / 4;
    t = lane % 4;
  }

  FCSA_DEVICE int part() const { return warp / shape.row_groups(); }
  FCSA_DEVICE int first_byte() const { return part() * kRowBytes; }

  // Rows that have no normalisation: nothing is read.
  FCSA_DEVICE static void multiply(Rows& a, float scale) {
#pragma unroll
    for (int c = 0; c < kTiles; ++c)
#pragma unroll
      for (int i = 0; i < 4; ++i) a[c][i] *= scale;
  }

  // a to the gradient of rows `first` to first + 15 of `tensor`; zero where `is_there(row)` says that nobody
  // sees the row, or that it sees nothing, whatever it holds. Returns raw . A of rows g and g + 8 in all
  // lanes of a row: what the scale is multiplied with. Where warps share rows, all of a block call it.
  template <bool norm_after, typename IsThere>
  FCSA_DEVICE float2 project(Rows& a, const char* tensor, long long row_bytes, int first, int limit,
                             float scale, const IsThere& is_there) const {
    float2 dots{0, 0};
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      const unsigned* words[2];
      float2 sums[2];  // raw . A, raw . raw
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        words[h] = reinterpret_cast<const unsigned*>(tensor + min(first + g + 8 * h, limit - 1) * row_bytes +
                                                     first_byte()) +
                   t;
        sums[h] = row_sums(a, group, h, words[h]);
      }
      if constexpr (kExchange) add_parts(sums);
      dots.x += project_row<norm_after, 0>(a, group, words[0], sums[0], scale);
      dots.y += project_row<norm_after, 1>(a, group, words[1], sums[1], scale);
    }
    if constexpr (T.causal || T.key_mask) {
      if (!is_there(min(first + g, limit - 1))) clear_half<0>(a), dots.x = 0;
      if (!is_there(min(first + g + 8, limit - 1))) clear_half<1>(a), dots.y = 0;
    }
    return dots;
  }

  template <int half>
  FCSA_DEVICE static void clear_half(Rows& a) {
#pragma unroll
    for (int c = 0; c < kTiles; ++c) a[c][2 * half] = a[c][2 * half + 1] = 0;
  }

  FCSA_DEVICE static float2 row_sums(const Rows& a, int group, int half, const unsigned* words) {
    float2 sums{0, 0};
#pragma unroll
    for (int c = group * kGroupTiles; c < (group + 1) * kGroupTiles; ++c) {
      const unsigned word = __ldg(words + 4 * c);
      const float2 x = ptx::unpack<T.dtype>(word);
      sums.x = fmaf(x.x, a[c][2 * half], fmaf(x.y, a[c][2 * half + 1], sums.x));
      sums.y = add_squares<T.dtype>(word, sums.y);
    }
#pragma unroll
    for (int step = 1; step < 4; step *= 2) {
      sums.x += __shfl_xor_sync(0xffffffffu, sums.x, step);
      sums.y += __shfl_xor_sync(0xffffffffu, sums.y, step);
    }
    return sums;
  }

  // Over the warps that share rows, in their order.
  FCSA_DEVICE void add_parts(float2 (&sums)[2]) const {
    __syncthreads();  // what was exchanged before has been read
    const unsigned row = exchange + 8 * (16 * warp + g);
    if (t == 0)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        ptx::store_shared(row + 64 * h, __float_as_uint(sums[h].x));
        ptx::store_shared(row + 64 * h + 4, __float_as_uint(sums[h].y));
      }
    __syncthreads();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      sums[h] = {0, 0};
#pragma unroll
      for (int i = 0; i < kParts; ++i) {
        const int other = i * shape.row_groups() + warp % shape.row_groups();
        const float2 x = ptx::load_shared_2(exchange + 8 * (16 * other + g + 8 * h));
        sums[h].x += x.x;
        sums[h].y += x.y;
      }
    }
  }

  template <bool norm_after, int half>
  FCSA_DEVICE float project_row(Rows& a, int group, const unsigned* words, const float2& sums,
                                float scale) const {
    const float dot = sums.x, squares = sums.y, r = inverse_norm(squares, eps);
    const float before = norm_after ? r : 1.0f;
    const bool zero = T.l2norm_qk && squares < eps * eps;
    const float factor = zero ? 0.0f : scale * before, along = zero ? 0.0f : r * r * dot;
#pragma unroll
    for (int c = group * kGroupTiles; c < (group + 1) * kGroupTiles; ++c) {
      float2 x{0, 0};
      if constexpr (T.l2norm_qk) x = ptx::unpack<T.dtype>(__ldg(words + 4 * c));
      a[c][2 * half] = factor * fmaf(-along, x.x, a[c][2 * half]);
      a[c][2 * half + 1] = factor * fmaf(-along, x.y, a[c][2 * half + 1]);
    }
    return before * dot;
  }

  // 16 bytes at a time, through shared memory.
  FCSA_DEVICE void write(const Rows& a, char* tensor, long long row_bytes, int first, int limit) const {
    __syncwarp();
#pragma unroll
    for (int c = 0; c < kTiles; ++c)
#pragma unroll
      for (int h = 0; h < 2; ++h)
        ptx::store_shared(staging + (g + 8 * h) * kPitch + 16 * c + 4 * t,
                          ptx::pack<T.dtype>(a[c][2 * h], a[c][2 * h + 1]));
    __syncwarp();
    constexpr int kPieces = kRowBytes / 16;
#pragma unroll 2
    for (int i = lane; i < 16 * kPieces; i += 32) {
      const int row = i / kPieces, piece = i % kPieces;
      if (first + row >= limit) continue;
      *reinterpret_cast<uint4*>(tensor + (first + row) * row_bytes + first_byte() + 16 * piece) =
          ptx::load_shared_words(staging + row * kPitch + 16 * piece);
    }
  }
};

FCSA_DEVICE const char* head_rows(const void* tensor, const Strides& s, int batch, int head) {
  return static_cast<const char*>(tensor) + 2 * (batch * s.batch + head * s.head);
}
FCSA_DEVICE char* head_rows(void* tensor, const Strides& s, int batch, int head) {
  return static_cast<char*>(tensor) + 2 * (batch * s.batch + head * s.head);
}

// Which rows of which head a block has. Blocks of `group` heads of all batches start together (0: of all),
// and of those the first rows of every head, which have the longest walks, where causal: what they read stays
// in the L2 cache.
struct BlockPlace {
  int block, batch, head;

  FCSA_DEVICE BlockPlace(int index, int blocks, int heads, int all_heads, int group) {
    const unsigned most = group == 0 ? all_heads : min(group, all_heads);
    const unsigned first = blockIdx.x / (most * blocks) * most, size = min(most, all_heads - first);
    const unsigned in = blockIdx.x - first * blocks, flat = first + in % size;
    block = in / size;
    batch = flat / heads;
    head = flat % heads;
  }
};

template <Traits T, BackwardConfig C>
FCSA_DEVICE void run_keys(const BackwardArgs& args, unsigned shared) {
  BackwardPass<T, C, Pass::dk_dv> block(args, shared);
  constexpr PassShape kShape = C.keys();
  const int blocks = (args.nk + kShape.rows() - 1) / kShape.rows();
  const BlockPlace place(static_cast<int>(blockIdx.x), blocks, args.kv_heads, args.batch * args.kv_heads,
                         C.head_group);
  block.batch = place.batch;
  block.owned_head = place.head;
  block.first_row = place.block * kShape.rows();
  block.walk();
  const GradientRows<T, C, kShape> rows(args, shared);
  const float scale = !T.head_scale            ? args.scale
                      : block.group_size() > 1 ? 1.0f
                                               : args.head_scale[place.head];
#pragma unroll
  for (int m = 0; m < kShape.row_tiles; ++m) {
    const int first = block.first_row + block.row_group * kShape.warp_rows() + 16 * m;
    rows.write(block.of_probabilities[m], head_rows(args.dv, args.dv_strides, place.batch, place.head),
               2 * args.dv_strides.row, first, args.nk);
    if constexpr (T.l2norm_qk) {
      rows.template project<true>(block.of_scores[m],
                                  head_rows(args.k, args.k_strides, place.batch, place.head),
                                  2 * args.k_strides.row, first, args.nk, scale,
                                  [&](int key) { return block.shows(place.batch, key); });
    } else {
      rows.multiply(block.of_scores[m], scale);
    }
    rows.write(block.of_scores[m], head_rows(args.dk, args.dk_strides, place.batch, place.head),
               2 * args.dk_strides.row, first, args.nk);
  }
}

// 16 rows of dQ from the accumulator; first is the first row. On an H100 the kernel that converts sums of
// atomics runs at the speed of the memory (D = 64, 16,384 tokens: 256 MB in 86 us). Converted by the last
// block of each head, out of the L2 cache, they cost as much: its multiprocessor computes less meanwhile.
template <Traits T, BackwardConfig C>
FCSA_DEVICE void write_dq(const BackwardArgs& args, const GradientRows<T, C, C.queries()>& rows,
                          float (&a)[T.head_dim / 8][4], const BlockPlace& place, int first) {
  if (first >= args.nq) return;
  const float scale = T.head_scale ? args.head_scale[place.head] : args.scale;
  float2 dots{0, 0};
  if (T.l2norm_qk || args.wants_dscale) {
    dots = rows.template project<C.normalised_before(T)>(
        a, head_rows(args.q, args.q_strides, place.batch, place.head), 2 * args.q_strides.row, first, args.nq,
        scale, [&](int query) { return query >= first_seeing_query<T, C>(args, place.batch); });
  } else {
    rows.multiply(a, scale);
  }
  if (args.wants_dscale && rows.t == 0) {
    float* to = Numbers::of<T, C>(args).query_dot +
                (1LL * place.batch * args.heads + place.head) * C.padded_queries(args) + first + rows.g;
    to[0] = dots.x;
    to[8] = dots.y;
  }
  rows.write(a, head_rows(args.dq, args.dq_strides, place.batch, place.head), 2 * args.dq_strides.row, first,
             args.nq);
}

template <Traits T, BackwardConfig C>
FCSA_DEVICE BlockPlace query_place(const Args& args) {
  constexpr int kRows = C.queries().rows();
  const int blocks = (args.nq + kRows - 1) / kRows;
  BlockPlace place(static_cast<int>(blockIdx.x), blocks, args.heads, args.batch * args.heads, C.head_group);
  if (T.causal) place.block = blocks - 1 - place.block;
  return place;
}

template <Traits T, BackwardConfig C>
FCSA_DEVICE void run_queries(const BackwardArgs& args, unsigned shared) {
  const BlockPlace place = query_place<T, C>(args);
  constexpr PassShape kShape = C.queries();
  if constexpr (C.dq == kAtomics) {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const GradientRows<T, C, kShape> rows(args, shared);
    const float* sums =
        reinterpret_cast<const float*>(static_cast<const char*>(args.workspace) + C.workspace(T, args).dq) +
        (1LL * place.batch * args.heads + place.head) * C.padded_queries(args) * T.head_dim;
#pragma unroll 1
    for (int m = 0; m < kShape.row_tiles; ++m) {
      const int first = place.block * kShape.rows() + warp * kShape.warp_rows() + 16 * m;
      if (first >= args.nq) break;
      float a[T.head_dim / 8][4];
#pragma unroll
      for (int c = 0; c < T.head_dim / 8; ++c) {
        const float4 x =
            *reinterpret_cast<const float4*>(sums + 1LL * first * T.head_dim + 128 * c + 4 * rows.lane);
        a[c][0] = x.x, a[c][1] = x.y, a[c][2] = x.z, a[c][3] = x.w;
      }
      write_dq<T, C>(args, rows, a, place, first);
    }
  } else {
    BackwardPass<T, C, Pass::dq> block(args, shared);
    block.batch = place.batch;
    block.owned_head = place.head;
    block.first_row = place.block * kShape.rows();
    block.walk();
    const GradientRows<T, C, kShape> rows(args, shared);
#pragma unroll
    for (int m = 0; m < kShape.row_tiles; ++m)
      write_dq<T, C>(args, rows, block.of_scores[m], place,
                     block.first_row + block.warp * kShape.warp_rows() + 16 * m);
  }
}

// The gradient of a head's scale: q . A of all its rows, in a fixed order.
template <Traits T, BackwardConfig C>
FCSA_DEVICE void run_scale(const BackwardArgs& args, int head) {
  __shared__ float sums[32];
  const float* dots = Numbers::of<T, C>(args).query_dot;
  float sum = 0;
  for (int batch = 0; batch < args.batch; ++batch) {
    const float* row = dots + (1LL * batch * args.heads + head) * C.padded_queries(args);
    for (int i = static_cast<int>(threadIdx.x); i < args.nq; i += C.queries().threads()) sum += row[i];
  }
#pragma unroll
  for (int lane = 1; lane < 32; lane *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, lane);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  float total = 0;
  for (int warp = 0; warp < C.query_warps; ++warp) total += sums[warp];
  args.dscale[head] = total;
}

FCSA_DEVICE unsigned dynamic_shared() {
  extern __shared__ uint4 shared[];
  return ptx::shared_address(shared);
}

template <Traits T, BackwardConfig C>
__global__ void __launch_bounds__(C.keys().threads(), C.min_blocks)
    grad_keys(const __grid_constant__ BackwardArgs args) {
#if FCSA_KERNEL_CODE
  run_keys<T, C>(args, dynamic_shared());
#endif
}

template <Traits T, BackwardConfig C>
__global__ void __launch_bounds__(C.queries().threads(), C.query_min_blocks)
    grad_queries(const __grid_constant__ BackwardArgs args) {
#if FCSA_KERNEL_CODE
  run_queries<T, C>(args, dynamic_shared());
#endif
}

template <Traits T, BackwardConfig C>
__global__ void __launch_bounds__(C.queries().threads())
    grad_bias_and_scale(const __grid_constant__ BackwardArgs args) {
#if FCSA_KERNEL_CODE
  const auto bias_blocks = static_cast<unsigned>(C.bias_blocks(args));
  if (blockIdx.x >= bias_blocks) return run_scale<T, C>(args, static_cast<int>(blockIdx.x - bias_blocks));
  if constexpr (T.bias != Bias::none) BiasGradient<T, C>(args, dynamic_shared(), blockIdx.x).run();
#endif
}

}  // namespace fcsa::kernels::mma
