// What the passes of the backward pass have in common: tiles in shared memory, products, and the walk over
// tiles.
#pragma once

#include "kernels/common/logits.cuh"
#include "kernels/simt/backward_config.h"
#include "kernels/simt/backward_records.cuh"
#include "kernels/simt/tiles.cuh"

namespace fcsa::kernels::simt {

// A block owns rows of two tensors, x1 and x2, and walks over rows of y1 and y2. S is of x1 and y1, dP of x2
// and y2: a block that owns keys has x1 = K, x2 = V, y1 = Q, y2 = dO, one that owns queries has the other way
// round.
template <Traits T, PassShape S>
struct Pass {
  static constexpr int kThreads = S.threads();
  static constexpr int kBlockM = S.block_m();
  static constexpr int kBlockN = S.block_n();
  static constexpr int kPitch = PassShape::pitch(T.head_dim);
  static constexpr int kExchangePitch = S.exchange_pitch();
  static constexpr int kVector = S.vector();
  static constexpr int kRows = S.thread_rows();
  static constexpr int kChunks = S.channel_chunks(T.head_dim);
  // Owned rows own(i), other rows other(j).
  using Tile = float[S.thread_m][S.thread_n];
  // Owned rows sum_row(i), channels channel(c) to channel(c) + 3.
  using Sums = float4[kRows][kChunks];

  float *x1, *x2;   // [block_m][kPitch]
  float *y1, *y2;   // [stages][block_n][kPitch]
  float* exchange;  // [block_m][kExchangePitch]: P or dS, of a warp's rows for that warp alone
  float4* records;  // [stages][block_n], of the other rows
  int lane_m, lane_n, row_lane, channel_lane;  // places in the two grids of lanes
  int warp_row;                                // first row of this warp in the tile

  FCSA_DEVICE explicit Pass(float* shared) {
    x1 = shared;
    x2 = x1 + kBlockM * kPitch;
    y1 = x2 + kBlockM * kPitch;
    y2 = y1 + S.stages * kBlockN * kPitch;
    exchange = y2 + S.stages * kBlockN * kPitch;
    records = reinterpret_cast<float4*>(exchange + kBlockM * kExchangePitch);
    const int lane = threadIdx.x % 32;
    lane_m = lane / S.lanes_n();
    lane_n = lane % S.lanes_n();
    row_lane = lane / S.channel_lanes;
    channel_lane = lane % S.channel_lanes;
    warp_row = static_cast<int>(threadIdx.x) / 32 * S.warp_rows();
  }

  // Neighbouring lanes have neighbouring rows: no bank conflicts.
  FCSA_DEVICE int own(int i) const { return warp_row + lane_m + S.lanes_m * i; }
  FCSA_DEVICE int other(int j) const { return lane_n + S.lanes_n() * j; }
  FCSA_DEVICE int sum_row(int i) const { return warp_row + row_lane + S.row_lanes() * i; }
  // Lanes past the last channel hold sums that nobody reads.
  FCSA_DEVICE int channel(int c) const { return 4 * (channel_lane + S.channel_lanes * c); }
  FCSA_DEVICE bool has_channel(int c) const {
    return T.head_dim % (4 * S.channel_lanes) == 0 || channel(c) < T.head_dim;
  }

  FCSA_DEVICE const float* y1_of(int stage) const { return y1 + stage * kBlockN * kPitch; }
  FCSA_DEVICE const float* y2_of(int stage) const { return y2 + stage * kBlockN * kPitch; }
  FCSA_DEVICE const float4* records_of(int stage) const { return records + stage * kBlockN; }

  // Rows [first, first + block_m) of n, to x1 or x2; `counts` as in load_tile.
  template <typename Counts>
  FCSA_DEVICE void load_own(float* x, const HeadRows& rows, int first, int n, const Counts& counts) {
    load_tile<T.dtype, T.head_dim, kBlockM, kThreads>(x, kPitch, rows.base, rows.stride, first, n, counts);
  }

  struct OtherRows {
    HeadRows a, b;
    const float4* records;
    int first, n;
  };
  template <typename Counts>
  FCSA_DEVICE void load_other(int stage, const OtherRows& rows, const Counts& counts) {
    const int place = stage * kBlockN;
    load_tile<T.dtype, T.head_dim, kBlockN, kThreads>(y1 + place * kPitch, kPitch, rows.a.base, rows.a.stride,
                                                      rows.first, rows.n, counts);
    load_tile<T.dtype, T.head_dim, kBlockN, kThreads>(y2 + place * kPitch, kPitch, rows.b.base, rows.b.stride,
                                                      rows.first, rows.n, counts);
    for (int i = threadIdx.x; i < kBlockN; i += kThreads) {
      const bool valid = rows.first + i < rows.n;
      ptx::copy_async_16(records + place + i, rows.records + (valid ? rows.first + i : 0), valid);
    }
  }

  // x1 by its inverse norms, from the records of its head. A warp does its own rows.
  FCSA_DEVICE void normalise_own(const float4* own_records, int first, int n) {
    constexpr int kPieces = T.head_dim / 4;
    for (int i = threadIdx.x % 32; i < S.warp_rows() * kPieces; i += 32) {
      const int row = warp_row + i / kPieces;
      float4& piece = *reinterpret_cast<float4*>(x1 + row * kPitch + i % kPieces * 4);
      piece = multiply(piece, first + row < n ? __ldg(&own_records[first + row].x) : 0.0f);
    }
    __syncwarp();
  }

  // s = x y^T over a tile.
  FCSA_DEVICE void products(const float* x, const float* y, Tile& s) const {
#pragma unroll
    for (int i = 0; i < S.thread_m; ++i)
#pragma unroll
      for (int j = 0; j < S.thread_n; ++j) s[i][j] = 0;
    const float* x_rows = x + own(0) * kPitch;
    const float* y_rows = y + other(0) * kPitch;
#pragma unroll S.unroll
    for (int c = 0; c < T.head_dim; c += 4) {
      float4 a[S.thread_m];
#pragma unroll
      for (int i = 0; i < S.thread_m; ++i)
        a[i] = *reinterpret_cast<const float4*>(x_rows + i * S.lanes_m * kPitch + c);
#pragma unroll
      for (int j = 0; j < S.thread_n; ++j) {
        const float4 b = *reinterpret_cast<const float4*>(y_rows + j * S.lanes_n() * kPitch + c);
#pragma unroll
        for (int i = 0; i < S.thread_m; ++i) s[i][j] = dot(a[i], b, s[i][j]);
      }
    }
  }

  // Position of a lane's other(kVector * v) in a row of the exchange; the next kVector - 1 follow, so that a
  // lane moves them at once. other_at says which row is at a position.
  FCSA_DEVICE int position(int v) const {
    return kVector * (S.lanes_n() * v + lane_n);
  }
  FCSA_DEVICE static int other_at(int position) {
    const int vector = position / kVector;
    return vector % S.lanes_n() + S.lanes_n() * (kVector * (vector / S.lanes_n()) + position % kVector);
  }

  // To be read back by aside(): registers are scarce while the next products are computed.
  FCSA_DEVICE void put_aside(const Tile& s) const {
    float* rows = exchange + own(0) * kExchangePitch;
#pragma unroll
    for (int i = 0; i < S.thread_m; ++i)
#pragma unroll
      for (int v = 0; v < S.thread_n / kVector; ++v) {
        float* to = rows + i * S.lanes_m * kExchangePitch + position(v);
        const float* from = &s[i][v * kVector];
        if constexpr (kVector == 4) {
          *reinterpret_cast<float4*>(to) = {from[0], from[1], from[2], from[3]};
        } else if constexpr (kVector == 2) {
          *reinterpret_cast<float2*>(to) = {from[0], from[1]};
        } else {
          *to = from[0];
        }
      }
  }

  // For add_rows.
  FCSA_DEVICE void share(const Tile& s) const {
    put_aside(s);
    __syncwarp();
  }

  // What this lane put aside.
  FCSA_DEVICE float aside(int i, int j) const {
    return exchange[(own(0) + i * S.lanes_m) * kExchangePitch + position(j / kVector) + j % kVector];
  }

  // sums += the tile in the exchange * y.
  FCSA_DEVICE void add_rows(const float* y, Sums& sums) const {
    const float* weights = exchange + sum_row(0) * kExchangePitch;
#pragma unroll S.unroll
    for (int position = 0; position < kBlockN; position += 4) {
      float4 a[kRows];
#pragma unroll
      for (int i = 0; i < kRows; ++i)
        a[i] = *reinterpret_cast<const float4*>(weights + i * S.row_lanes() * kExchangePitch + position);
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const float* row = y + other_at(position + r) * kPitch;
#pragma unroll
        for (int c = 0; c < kChunks; ++c) {
          const float4 b = *reinterpret_cast<const float4*>(row + (has_channel(c) ? channel(c) : 0));
#pragma unroll
          for (int i = 0; i < kRows; ++i)
            add_product(sums[i][c], r == 0 ? a[i].x : r == 1 ? a[i].y : r == 2 ? a[i].z : a[i].w, b);
        }
      }
    }
    __syncwarp();
  }

  FCSA_DEVICE static void clear(Sums& sums) {
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int c = 0; c < kChunks; ++c) sums[i][c] = {0, 0, 0, 0};
  }
};

// Computes `steps` steps, each with a tile of the other rows, of which `stages` are in flight. The owner
// starts copies by load_own() and load(step, stage), is told once by begin() that the owned rows are there,
// and by compute(step, stage) that a tile is.
template <int stages, typename Owner>
FCSA_DEVICE void walk(Owner& owner, int steps) {
  owner.load_own();
  // Groups are committed even when empty, so that the wait below always counts the same number.
#pragma unroll
  for (int step = 0; step < stages - 1; ++step) {
    if (step < steps) owner.load(step, step);
    ptx::copy_async_commit();
  }
  if constexpr (stages == 1) ptx::copy_async_commit();
  for (int step = 0; step < steps; ++step) {
    if constexpr (stages == 1) {
      __syncthreads();  // the tile before is still being read
      owner.load(step, 0);
      ptx::copy_async_commit();
      ptx::copy_async_wait<0>();
      __syncthreads();
    } else {
      ptx::copy_async_wait<stages - 2>();
      __syncthreads();  // this tile has arrived, and everybody is done with the stage that is loaded next
      const int next = step + stages - 1;
      if (next < steps) owner.load(next, next % stages);
      ptx::copy_async_commit();
    }
    if (step == 0) owner.begin();
    owner.compute(step, step % stages);
  }
  ptx::copy_async_wait<0>();
  if (steps > 0) return;
  __syncthreads();
  owner.begin();
}

// Queries that see a key: of those that see none nothing is read.
template <Traits T>
struct SeeingQueries {
  const float4* records;  // of the head

  FCSA_DEVICE bool operator()(int query) const {
    if constexpr (!hides_pairs(T)) return true;
    return query_record(__ldg(records + query)).lse != -minus_infinity();
  }
};

// A logit with its bias: minus infinity hides the pair, whatever the logit.
FCSA_DEVICE float with_bias(float logit, float bias) {
  return bias == minus_infinity() ? bias : logit + bias;
}

// P to dS: nothing where P is 0, as it is for a pair that is hidden, whatever dP is.
template <Traits T>
FCSA_DEVICE float score_gradient(float p, float difference) {
  if constexpr (hides_pairs(T)) return p == 0 ? 0.0f : p * difference;
  return p * difference;
}

// Scale of a query head.
template <Traits T>
FCSA_DEVICE float scale_of(const BackwardArgs& args, int head) {
  if constexpr (T.head_scale) return __ldg(args.head_scale + head);
  return args.scale;
}

// The bias of one query head.
template <Traits T>
struct HeadBias {
  static constexpr DType kStorage = T.bias == Bias::same ? T.dtype : DType::f32;
  HeadRows rows;
  int nq, nk;

  FCSA_DEVICE HeadBias(const BackwardArgs& args, int batch, int head) : nq(args.nq), nk(args.nk) {
    rows = head_rows<kStorage>(args.bias, args.bias_strides, batch % args.bias_batch,
                               args.bias_heads == 1 ? 0 : head);
  }
  // In base 2 over logit_unit; zero past the ends.
  FCSA_DEVICE float at(int query, int key) const {
    if (query >= nq || key >= nk) return 0;
    return load_element<kStorage>(element_pointer<kStorage>(row_pointer<kStorage>(rows, query), key)) *
           (kLog2E / logit_unit(T));
  }
};

}  // namespace fcsa::kernels::simt
