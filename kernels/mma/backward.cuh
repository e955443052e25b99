// Backward pass on the tensor cores of sm_80 and later by mma.sync, f16 and bf16: dQ, dK, dV, and the
// gradients of bias and scale.
#pragma once

#include "kernels/mma/backward_dq.cuh"
#include "kernels/mma/backward_loads.cuh"
#include "kernels/mma/backward_pass.cuh"

namespace fcsa::kernels::mma {

// Rows of a gradient on their way to memory, 16 for each call. `raw` is the row of q or k that they are the
// gradient of, where the normalisation has a gradient of its own: with A the sum over dS x, of x = raw that
// has both norms in dS, or of normalised x,
//   gradient = scale (A - raw r^2 (raw . A)),  r = 1 / |raw|,  or  scale r (A - raw r^2 (raw . A))
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

  // a to the gradient of rows `first` to first + 15 of `tensor`. Returns raw . A of rows g and g + 8 in all
  // lanes of a row: what the scale is multiplied with. Where warps share rows, all of a block call it.
  FCSA_DEVICE float2 project(Rows& a, const char* tensor, long long row_bytes, int first, int limit,
                             float scale) const {
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
      dots.x += project_row<0>(a, group, words[0], sums[0], scale);
      dots.y += project_row<1>(a, group, words[1], sums[1], scale);
    }
    return dots;
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

  template <int half>
  FCSA_DEVICE float project_row(Rows& a, int group, const unsigned* words, const float2& sums,
                                float scale) const {
    const float dot = sums.x, squares = sums.y, r = inverse_norm(squares, eps);
    const float before = C.normalised_before(T) ? r : 1.0f;
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

// Which rows of which head a block has. The first have the longest walks, where causal.
struct BlockPlace {
  int block, batch, head;

  FCSA_DEVICE BlockPlace(int index, int blocks, int heads, int all_heads, bool heads_first) {
    block = heads_first ? index / all_heads : index % blocks;
    const int flat = heads_first ? index % all_heads : index / blocks;
    batch = flat / heads;
    head = flat % heads;
  }
};

template <Traits T, BackwardConfig C>
FCSA_DEVICE void run_keys(const BackwardArgs& raw, const Args& args, unsigned shared) {
  BackwardPass<T, C, Pass::dk_dv> block(raw, args, shared);
  constexpr PassShape kShape = C.keys();
  const int blocks = (args.nk + kShape.rows() - 1) / kShape.rows();
  const BlockPlace place(static_cast<int>(blockIdx.x), blocks, args.kv_heads, args.batch * args.kv_heads,
                         C.heads_first);
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
    rows.write(block.of_probabilities[m], head_rows(raw.dv, raw.dv_strides, place.batch, place.head),
               2 * raw.dv_strides.row, first, args.nk);
    rows.project(block.of_scores[m], head_rows(raw.k, raw.k_strides, place.batch, place.head),
                 2 * raw.k_strides.row, first, args.nk, scale);
    rows.write(block.of_scores[m], head_rows(raw.dk, raw.dk_strides, place.batch, place.head),
               2 * raw.dk_strides.row, first, args.nk);
  }
}

// 16 rows of dQ from the accumulator; first is the first row.
template <Traits T, BackwardConfig C>
FCSA_DEVICE void write_dq(const BackwardArgs& raw, const GradientRows<T, C, C.queries()>& rows,
                          float (&a)[T.head_dim / 8][4], const BlockPlace& place, int first) {
  if (first >= raw.nq) return;
  const float scale = T.head_scale ? raw.head_scale[place.head] : raw.scale;
  const float2 dots = rows.project(a, head_rows(raw.q, raw.q_strides, place.batch, place.head),
                                   2 * raw.q_strides.row, first, raw.nq, scale);
  if (raw.wants_dscale && rows.t == 0) {
    float* to = Numbers::of<T, C>(raw).query_dot +
                (1LL * place.batch * raw.heads + place.head) * C.padded_queries(raw) + first + rows.g;
    to[0] = dots.x;
    to[8] = dots.y;
  }
  rows.write(a, head_rows(raw.dq, raw.dq_strides, place.batch, place.head), 2 * raw.dq_strides.row, first,
             raw.nq);
}

template <Traits T, BackwardConfig C>
FCSA_DEVICE BlockPlace query_place(const Args& args) {
  constexpr int kRows = C.queries().rows();
  const int blocks = (args.nq + kRows - 1) / kRows;
  BlockPlace place(static_cast<int>(blockIdx.x), blocks, args.heads, args.batch * args.heads, C.heads_first);
  if (T.causal) place.block = blocks - 1 - place.block;
  return place;
}

template <Traits T, BackwardConfig C>
FCSA_DEVICE void run_queries(const BackwardArgs& raw, const Args& args, unsigned shared) {
  const BlockPlace place = query_place<T, C>(args);
  constexpr PassShape kShape = C.queries();
  if constexpr (C.dq == kAtomics) {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const GradientRows<T, C, kShape> rows(args, shared);
    const float* sums =
        reinterpret_cast<const float*>(static_cast<const char*>(args.workspace) + C.workspace(T, raw).dq) +
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
      write_dq<T, C>(raw, rows, a, place, first);
    }
  } else {
    BackwardPass<T, C, Pass::dq> block(raw, args, shared);
    block.batch = place.batch;
    block.owned_head = place.head;
    block.first_row = place.block * kShape.rows();
    block.walk();
    const GradientRows<T, C, kShape> rows(args, shared);
#pragma unroll
    for (int m = 0; m < kShape.row_tiles; ++m)
      write_dq<T, C>(raw, rows, block.of_scores[m], place,
                     block.first_row + block.warp * kShape.warp_rows() + 16 * m);
  }
}

// A tile of the bias: dS of all batches and heads that share it, in their order.
template <Traits T, BackwardConfig C>
FCSA_DEVICE void run_bias(const BackwardArgs& raw, const Args& args, unsigned shared) {
  using Block = BackwardPass<T, C, Pass::dbias>;
  constexpr PassShape kShape = C.queries();
  Block block(raw, args, shared);
  const int key_tiles = (args.nk + kShape.block - 1) / kShape.block;
  const int row_tiles = (args.nq + kShape.rows() - 1) / kShape.rows();
  int index = static_cast<int>(blockIdx.x);
  const int first_key = index % key_tiles * kShape.block;
  index /= key_tiles;
  block.first_row = index % row_tiles * kShape.rows();
  index /= row_tiles;
  const int bias_head = index % args.bias_heads, bias_batch = index / args.bias_heads;
  const int heads = args.bias_heads == 1 ? args.heads : 1;

  float sum[Block::kChunks][kShape.row_tiles][Block::kTiles][4];
#pragma unroll
  for (int chunk = 0; chunk < Block::kChunks; ++chunk) Block::for_all(sum[chunk], [](float) { return 0.0f; });
#pragma unroll 1
  for (int b = bias_batch; b < args.batch; b += args.bias_batch)
#pragma unroll 1
    for (int head = bias_head; head < bias_head + heads; ++head) {
      __syncthreads();  // the tiles before are still being read
      block.bias_head = head;
      block.load_owned(b, head);
      block.load_walked(block.stage(0), b, head / block.group_size(), first_key);
      ptx::copy_async_commit();
      ptx::copy_async_wait<0>();
      __syncthreads();
      block.prepare_owned(b, head);
#pragma unroll
      for (int chunk = 0; chunk < Block::kChunks; ++chunk) {
        const int first = chunk * kShape.chunk;
        typename Block::Scores p, ds;
        block.template multiply<0>(block.stage(0), first, p);
        block.template probabilities<true>(block.stage(0), first, {b, head, first_key + first}, p);
        block.template multiply<1>(Block::second_tile(block.stage(0)), first, ds);
        block.score_gradients(block.stage(0), first, p, ds);
#pragma unroll
        for (int m = 0; m < kShape.row_tiles; ++m)
#pragma unroll
          for (int n = 0; n < Block::kTiles; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) sum[chunk][m][n][i] += ds[m][n][i];
      }
    }

  const Strides& s = raw.dbias_strides;
  const long long start = bias_batch * s.batch + bias_head * s.head;
#pragma unroll
  for (int chunk = 0; chunk < Block::kChunks; ++chunk)
#pragma unroll
    for (int m = 0; m < kShape.row_tiles; ++m)
#pragma unroll
      for (int n = 0; n < Block::kTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = block.row_at(m, i / 2);
          const int key = first_key + chunk * kShape.chunk + 8 * n + 2 * block.t + i % 2;
          if (row >= args.nq || key >= args.nk) continue;
          const long long at = start + row * s.row + key;
          if constexpr (T.bias == Bias::f32) {
            static_cast<float*>(raw.dbias)[at] = sum[chunk][m][n][i];
          } else {
            static_cast<unsigned short*>(raw.dbias)[at] =
                static_cast<unsigned short>(ptx::pack<T.dtype>(sum[chunk][m][n][i], 0.0f));
          }
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

// Calls run with the arguments that the passes read q and k through.
template <Traits T, BackwardConfig C, typename Run>
FCSA_DEVICE void with_normalised(const BackwardArgs& args, const Run& run) {
  extern __shared__ uint4 shared[];
  const unsigned address = ptx::shared_address(shared);
  if constexpr (C.normalised_before(T)) {
    run(normalised_args<T>(args), address);
  } else {
    run(args, address);
  }
}

template <Traits T, BackwardConfig C>
__global__ void __launch_bounds__(C.keys().threads(), C.min_blocks)
    grad_keys(const __grid_constant__ BackwardArgs args) {
#if FCSA_KERNEL_CODE
  with_normalised<T, C>(
      args, [&](const Args& normalised, unsigned shared) { run_keys<T, C>(args, normalised, shared); });
#endif
}

template <Traits T, BackwardConfig C>
__global__ void __launch_bounds__(C.queries().threads(), C.query_min_blocks)
    grad_queries(const __grid_constant__ BackwardArgs args) {
#if FCSA_KERNEL_CODE
  with_normalised<T, C>(
      args, [&](const Args& normalised, unsigned shared) { run_queries<T, C>(args, normalised, shared); });
#endif
}

template <Traits T, BackwardConfig C>
__global__ void __launch_bounds__(C.queries().threads())
    grad_bias_and_scale(const __grid_constant__ BackwardArgs args) {
#if FCSA_KERNEL_CODE
  const auto bias_blocks = static_cast<unsigned>(C.bias_blocks(args));
  if (blockIdx.x >= bias_blocks) return run_scale<T, C>(args, static_cast<int>(blockIdx.x - bias_blocks));
  if constexpr (T.bias != Bias::none) {
    with_normalised<T, C>(
        args, [&](const Args& normalised, unsigned shared) { run_bias<T, C>(args, normalised, shared); });
  }
#endif
}

}  // namespace fcsa::kernels::mma
