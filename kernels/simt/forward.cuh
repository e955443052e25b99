// Forward pass on the CUDA cores, in f32 whatever the storage: exact, for every GPU from sm_75 on.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/logits.cuh"
#include "kernels/common/normalise.cuh"
#include "kernels/common/ptx.cuh"
#include "kernels/simt/config.h"
#include "kernels/simt/key_norms.cuh"
#include "kernels/simt/tiles.cuh"

namespace fcsa::kernels::simt {

template <Traits T, ForwardConfig C>
struct Forward {
  static constexpr int kThreads = C.threads();
  static constexpr int kBlockM = C.block_m();
  static constexpr int kBlockN = C.block_n();
  static constexpr int kPitch = ForwardConfig::qk_pitch(T.head_dim);
  static constexpr int kPitchV = C.v_pitch(T.head_dim);
  static constexpr int kPitchP = C.p_pitch();
  static constexpr int kChannelChunks = kPitchV / (4 * C.lanes_n());  // float4s of O per row and lane
  static constexpr bool kNormalise = ForwardConfig::normalises(T);
  static constexpr bool kPrepass = C.prepass(T);
  static constexpr bool kInlineNorms = kNormalise && !kPrepass;
  static constexpr bool kFixed = T.softmax == Softmax::fixed_bound;

  const Args& args;
  float* q;                              // [block_m][kPitch]
  float* k;                              // [stages][block_n][kPitch]
  float* v;                              // [stages][block_n][kPitchV]
  float* p;                              // [block_m][kPitchP]
  float* norms;                          // [stages][block_n]
  int batch, head, first_row, keys_end;  // keys_end: no row of this tile sees a key at or past it
  int lane_m, lane_n, warp_row;          // place in the lane grid; first row of this warp in the tile
  const char *k_base, *v_base;
  float offset;

  float4 o[C.thread_m][kChannelChunks];
  float row_sum[C.thread_m];
  float row_max[C.thread_m];

  FCSA_DEVICE Forward(const Args& arguments, float* shared) : args(arguments) {
    q = shared;
    k = q + kBlockM * kPitch;
    v = k + C.stages * kBlockN * kPitch;
    p = v + C.stages * kBlockN * kPitchV;
    norms = p + kBlockM * kPitchP;
    place_block();
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    lane_m = lane / C.lanes_n();
    lane_n = lane % C.lanes_n();
    warp_row = warp * C.warp_rows();
    const long long kv_head = head / (args.heads / args.kv_heads);
    k_base = element_pointer<T.dtype>(args.k, batch * args.k_strides.batch + kv_head * args.k_strides.head);
    v_base = element_pointer<T.dtype>(args.v, batch * args.v_strides.batch + kv_head * args.v_strides.head);
    offset = kFixed ? bound_offset_log2(T.dtype, args.bound) : 0.0f;
    clear();
  }

  // Which tile of which head. Causal tiles differ in length: starting the longest first keeps the last wave
  // short.
  FCSA_DEVICE void place_block() {
    const int tiles = (args.nq + kBlockM - 1) / kBlockM;
    const int heads = args.heads * args.batch;
    int tile, flat_head;
    if (T.causal && C.longest_first) {
      tile = tiles - 1 - static_cast<int>(blockIdx.x) / heads;
      flat_head = static_cast<int>(blockIdx.x) % heads;
    } else {
      tile = static_cast<int>(blockIdx.x) % tiles;
      flat_head = static_cast<int>(blockIdx.x) / tiles;
    }
    batch = flat_head / args.heads;
    head = flat_head % args.heads;
    first_row = tile * kBlockM;
    keys_end = args.nk;
    if (T.causal) keys_end = min(args.nk, max(0, min(first_row + kBlockM, args.nq) + args.nk - args.nq));
  }

  // Row i and key j of this lane, counted in the head.
  FCSA_DEVICE int row_at(int i) const { return first_row + warp_row + lane_m + C.lanes_m * i; }
  FCSA_DEVICE int key_at(int tile, int j) const { return tile * kBlockN + lane_n + C.lanes_n() * j; }

  FCSA_DEVICE void load_queries() {
    const char* base =
        element_pointer<T.dtype>(args.q, batch * args.q_strides.batch + head * args.q_strides.head);
    load_tile<T.dtype, T.head_dim, kBlockM, kThreads>(q, kPitch, base, args.q_strides.row, first_row,
                                                      args.nq);
  }

  FCSA_DEVICE void load_keys(int tile) {
    const int stage = tile % C.stages, first = tile * kBlockN;
    const ShownKeys<T> shown(args, batch);
    load_tile<T.dtype, T.head_dim, kBlockN, kThreads>(k + stage * kBlockN * kPitch, kPitch, k_base,
                                                      args.k_strides.row, first, args.nk, shown);
    load_tile<T.dtype, T.head_dim, kBlockN, kThreads>(v + stage * kBlockN * kPitchV, kPitchV, v_base,
                                                      args.v_strides.row, first, args.nk, shown);
  }

  // q *= scale * log2(e) / |q|, so that S comes out in base 2. A warp scales its own rows, a lane a row at a
  // time.
  FCSA_DEVICE void scale_queries() {
    const float scale = logit_factor<T>(T.head_scale ? args.head_scale[head] : args.scale);
    for (int row = threadIdx.x % 32; row < C.warp_rows(); row += 32) {
      float4* channels = reinterpret_cast<float4*>(q + (warp_row + row) * kPitch);
      float factor = scale;
      if constexpr (kNormalise) {
        float squares = 0;
#pragma unroll 4
        for (int c = 0; c < T.head_dim / 4; ++c) squares = dot(channels[c], channels[c], squares);
        factor = row_factor<T>(factor * inverse_norm(squares, args.eps));
      }
#pragma unroll 4
      for (int c = 0; c < T.head_dim / 4; ++c) channels[c] = multiply(channels[c], factor);
    }
    __syncwarp();
  }

  FCSA_DEVICE void compute_norms(int stage) {
    for (int key = threadIdx.x; key < kBlockN; key += kThreads) {
      const float4* channels = reinterpret_cast<const float4*>(k + (stage * kBlockN + key) * kPitch);
      float squares = 0;
#pragma unroll 4
      for (int c = 0; c < T.head_dim / 4; ++c) squares = dot(channels[c], channels[c], squares);
      norms[stage * kBlockN + key] = inverse_norm(squares, args.eps);
    }
    __syncthreads();
  }

  // 1/|k| of this lane's keys of a tile; keys past the end take any value, they are masked.
  FCSA_DEVICE void read_norms(int tile, float (&factors)[C.thread_n]) const {
    const int kv_head = head / (args.heads / args.kv_heads);
    const float* from = static_cast<const float*>(args.workspace) +
                        (static_cast<long long>(batch) * args.kv_heads + kv_head) * args.nk;
#pragma unroll
    for (int j = 0; j < C.thread_n; ++j) {
      const int key = lane_n + C.lanes_n() * j;
      if constexpr (kPrepass) {
        factors[j] = __ldg(from + min(tile * kBlockN + key, args.nk - 1));
      } else if constexpr (kInlineNorms) {
        factors[j] = norms[tile % C.stages * kBlockN + key];
      } else {
        factors[j] = 1.0f;
      }
    }
  }

  // S = Q K^T over a tile: lane rows lane_m + lanes_m * i, lane keys lane_n + lanes_n * j (neighbouring lanes
  // read neighbouring rows: no bank conflicts).
  FCSA_DEVICE void scores(int stage, float (&s)[C.thread_m][C.thread_n]) const {
#pragma unroll
    for (int i = 0; i < C.thread_m; ++i)
#pragma unroll
      for (int j = 0; j < C.thread_n; ++j) s[i][j] = 0;
    const float* q_rows = q + (warp_row + lane_m) * kPitch;
    const float* k_rows = k + (stage * kBlockN + lane_n) * kPitch;
#pragma unroll C.unroll
    for (int c = 0; c < T.head_dim; c += 4) {
      float4 a[C.thread_m];
#pragma unroll
      for (int i = 0; i < C.thread_m; ++i)
        a[i] = *reinterpret_cast<const float4*>(q_rows + i * C.lanes_m * kPitch + c);
#pragma unroll
      for (int j = 0; j < C.thread_n; ++j) {
        const float4 b = *reinterpret_cast<const float4*>(k_rows + j * C.lanes_n() * kPitch + c);
#pragma unroll
        for (int i = 0; i < C.thread_m; ++i) s[i][j] = dot(a[i], b, s[i][j]);
      }
    }
  }

  // Whether a tile has pairs that must not be seen: only then is it masked, pair by pair.
  FCSA_DEVICE bool needs_mask(int tile) const {
    if (T.key_mask) return true;
    const int end = (tile + 1) * kBlockN;
    return end > args.nk || (T.causal && end > first_row + 1 + args.nk - args.nq);
  }

  FCSA_DEVICE void mask(int tile, float (&s)[C.thread_m][C.thread_n]) const {
    const unsigned char* visible_keys = args.key_mask + batch * args.key_mask_stride;
#pragma unroll
    for (int j = 0; j < C.thread_n; ++j) {
      const int key = key_at(tile, j);
      bool in_range = key < args.nk;
      if constexpr (T.key_mask) in_range = in_range && visible_keys[key] != 0;
#pragma unroll
      for (int i = 0; i < C.thread_m; ++i) {
        const bool visible = in_range && (!T.causal || key <= row_at(i) + args.nk - args.nq);
        if (!visible) s[i][j] = minus_infinity();
      }
    }
  }

  // Pairs outside of the bias are masked afterwards.
  FCSA_DEVICE void add_bias(int tile, float (&s)[C.thread_m][C.thread_n]) const {
    constexpr DType kStorage = T.bias == Bias::same ? T.dtype : DType::f32;
    const Strides& strides = args.bias_strides;
    const long long first =
        batch % args.bias_batch * strides.batch + (args.bias_heads == 1 ? 0 : head) * strides.head;
#pragma unroll
    for (int i = 0; i < C.thread_m; ++i) {
      const int row = row_at(i);
      const char* keys = element_pointer<kStorage>(args.bias, first + row * strides.row);
#pragma unroll
      for (int j = 0; j < C.thread_n; ++j) {
        const int key = key_at(tile, j);
        if (row >= args.nq || key >= args.nk) continue;
        const float bias = load_element<kStorage>(element_pointer<kStorage>(keys, key));
        // Minus infinity hides the key, whatever that holds.
        s[i][j] = bias == minus_infinity() ? bias : fmaf(bias, kLog2E / logit_unit(T), s[i][j]);
      }
    }
  }

  // S to P in place, the row sums, and for the running maximum the rescaling of O.
  FCSA_DEVICE void softmax(int tile, const float (&factors)[C.thread_n], float (&s)[C.thread_m][C.thread_n]) {
#pragma unroll
    for (int i = 0; i < C.thread_m; ++i)
#pragma unroll
      for (int j = 0; j < C.thread_n; ++j) s[i][j] = fmaf(s[i][j], factors[j], -offset);
    if constexpr (T.bias != Bias::none) add_bias(tile, s);
    if (needs_mask(tile)) mask(tile, s);
    if constexpr (!kFixed) raise_maximum(s);
#pragma unroll
    for (int i = 0; i < C.thread_m; ++i) {
#pragma unroll
      for (int j = 0; j < C.thread_n; ++j) {
        s[i][j] = ptx::exp2_approximate(s[i][j]);
        row_sum[i] += s[i][j];
      }
    }
  }

  FCSA_DEVICE void raise_maximum(float (&s)[C.thread_m][C.thread_n]) {
#pragma unroll
    for (int i = 0; i < C.thread_m; ++i) {
      float tile_max = s[i][0];
#pragma unroll
      for (int j = 1; j < C.thread_n; ++j) tile_max = fmaxf(tile_max, s[i][j]);
#pragma unroll
      for (int lane = 1; lane < C.lanes_n(); lane *= 2)
        tile_max = fmaxf(tile_max, __shfl_xor_sync(0xffffffffu, tile_max, lane));
      const float raised = fmaxf(row_max[i], tile_max);
      const float reference =
          raised == minus_infinity() ? 0.0f : raised;  // no key seen yet: keep exp2 away from inf - inf
      const float rescale = ptx::exp2_approximate(above<T>(row_max[i], reference));
      row_max[i] = raised;
      row_sum[i] *= rescale;
#pragma unroll
      for (int c = 0; c < kChannelChunks; ++c) o[i][c] = multiply(o[i][c], rescale);
#pragma unroll
      for (int j = 0; j < C.thread_n; ++j) s[i][j] = above<T>(s[i][j], reference);
    }
  }

  // P to shared memory, in the order of keys that lets a lane write 16 bytes at once: position 4 * (lanes_n *
  // c + lane)
  // + r holds key lane + lanes_n * (4 * c + r). add_values reads V in the same order, which costs it nothing.
  FCSA_DEVICE void share_probabilities(const float (&s)[C.thread_m][C.thread_n]) const {
    float* rows = p + (warp_row + lane_m) * kPitchP;
#pragma unroll
    for (int i = 0; i < C.thread_m; ++i)
#pragma unroll
      for (int c = 0; c < C.thread_n / 4; ++c)
        *reinterpret_cast<float4*>(rows + i * C.lanes_m * kPitchP + 4 * (C.lanes_n() * c + lane_n)) = {
            s[i][4 * c], s[i][4 * c + 1], s[i][4 * c + 2], s[i][4 * c + 3]};
    __syncwarp();
  }

  // Whether the mask hides all keys of a tile; every warp finds the same.
  FCSA_DEVICE bool hides_all(int tile) const {
    if constexpr (!T.key_mask) return false;
    const ShownKeys<T> shown(args, batch);
    bool any = false;
    for (int key = tile * kBlockN + threadIdx.x % 32; key < min((tile + 1) * kBlockN, args.nk); key += 32)
      any = any || shown(key);
    return !__any_sync(0xffffffffu, any);
  }

  // O += P V. Careful: without what has a P of 0, which times infinity or NaN is NaN.
  template <bool careful>
  FCSA_DEVICE void add_values(int stage) {
    const float* p_rows = p + (warp_row + lane_m) * kPitchP;
    const float* v_rows = v + stage * kBlockN * kPitchV + 4 * lane_n;
    constexpr int kChunks = kBlockN / 4;
#pragma unroll C.unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const int key = chunk % C.lanes_n() + C.lanes_n() * 4 * (chunk / C.lanes_n());
      float4 a[C.thread_m];
#pragma unroll
      for (int i = 0; i < C.thread_m; ++i)
        a[i] = *reinterpret_cast<const float4*>(p_rows + i * C.lanes_m * kPitchP + 4 * chunk);
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int c = 0; c < kChannelChunks; ++c) {
          const float4 b = *reinterpret_cast<const float4*>(v_rows + (key + C.lanes_n() * r) * kPitchV +
                                                            c * 4 * C.lanes_n());
#pragma unroll
          for (int i = 0; i < C.thread_m; ++i) {
            const float weight = r == 0 ? a[i].x : r == 1 ? a[i].y : r == 2 ? a[i].z : a[i].w;
            if (!careful || weight != 0) add_product(o[i][c], weight, b);
          }
        }
      }
    }
    __syncwarp();
  }

  template <bool careful>
  FCSA_DEVICE void compute_tile(int tile) {
    if (hides_all(tile)) return;
    const int stage = tile % C.stages;
    if constexpr (kInlineNorms) compute_norms(stage);
    float factors[C.thread_n];
    read_norms(tile, factors);
    float s[C.thread_m][C.thread_n];
    scores(stage, s);
    softmax(tile, factors, s);
    share_probabilities(s);
    add_values<careful>(stage);
  }

  template <bool careful>
  FCSA_DEVICE void loop_over_keys() {
    const int tiles = (keys_end + kBlockN - 1) / kBlockN;
    load_queries();
    // Groups are committed even when empty, so that the wait below always counts the same number.
#pragma unroll
    for (int tile = 0; tile < C.stages - 1; ++tile) {
      if (tile < tiles) load_keys(tile);
      ptx::copy_async_commit();
    }
    if constexpr (C.stages == 1) ptx::copy_async_commit();
    for (int tile = 0; tile < tiles; ++tile) {
      if constexpr (C.stages == 1) {
        __syncthreads();  // the tile before is still being read
        load_keys(tile);
        ptx::copy_async_commit();
        ptx::copy_async_wait<0>();
        __syncthreads();
      } else {
        ptx::copy_async_wait<C.stages - 2>();
        __syncthreads();  // this tile has arrived, and everybody is done with the stage that is loaded next
        if (tile + C.stages - 1 < tiles) load_keys(tile + C.stages - 1);
        ptx::copy_async_commit();
      }
      if (tile == 0) scale_queries();
      compute_tile<careful>(tile);
    }
    ptx::copy_async_wait<0>();
  }

  // Keys that some rows see and others don't may hold infinities or NaN: those that don't are not to notice.
  // It shows in O, and then all is done again with care.
  FCSA_DEVICE void run() {
    loop_over_keys<false>();
    if constexpr (T.causal || T.bias != Bias::none) {
      float products = 0;  // not a number where one of them isn't finite
#pragma unroll
      for (int i = 0; i < C.thread_m; ++i)
#pragma unroll
        for (int c = 0; c < kChannelChunks; ++c)
          products += 0 * o[i][c].x + 0 * o[i][c].y + (0 * o[i][c].z + 0 * o[i][c].w);
      if (!__syncthreads_or(products != 0)) return;
      clear();
      loop_over_keys<true>();
    }
  }

  FCSA_DEVICE void clear() {
#pragma unroll
    for (int i = 0; i < C.thread_m; ++i) {
      row_sum[i] = 0;
      row_max[i] = minus_infinity();
#pragma unroll
      for (int c = 0; c < kChannelChunks; ++c) o[i][c] = {0, 0, 0, 0};
    }
  }

  // O / row sum and lse. A row that saw no key has a sum of zero: O = 0, lse = -inf.
  FCSA_DEVICE void write_rows() {
    const Strides& strides = args.o_strides;
    const long long base = batch * strides.batch + head * strides.head;
#pragma unroll
    for (int i = 0; i < C.thread_m; ++i) {
#pragma unroll
      for (int lane = 1; lane < C.lanes_n(); lane *= 2)
        row_sum[i] += __shfl_xor_sync(0xffffffffu, row_sum[i], lane);
      const int row = row_at(i);
      if (row >= args.nq) continue;
      const float inverse = row_sum[i] > 0 ? 1.0f / row_sum[i] : 0.0f;
      const float top = kFixed ? offset : row_max[i];
      const float lse = row_sum[i] > 0 ? lse_of<T>(args, head, row_sum[i], top) : minus_infinity();
      if (lane_n == 0) args.lse[(static_cast<long long>(batch) * args.heads + head) * args.nq + row] = lse;
#pragma unroll
      for (int c = 0; c < kChannelChunks; ++c) {
        const int channel = 4 * (lane_n + C.lanes_n() * c);
        if (channel >= T.head_dim) break;
        char* to = static_cast<char*>(args.o) + (base + row * strides.row + channel) * element_bytes(T.dtype);
        store_4<T.dtype>(to, multiply(o[i][c], inverse));
      }
    }
  }
};

template <Traits T, ForwardConfig C>
FCSA_DEVICE void attend(const Args& args, float* shared) {
  Forward<T, C> block(args, shared);
  block.run();
  block.write_rows();
}

template <Traits T, ForwardConfig C>
__global__ void __launch_bounds__(C.threads(), C.min_blocks) forward(const __grid_constant__ Args args) {
#if FCSA_KERNEL_CODE
  extern __shared__ float4 shared[];
  if constexpr (normalises_first(T)) {
    attend<T, C>(normalised_args<T>(args), reinterpret_cast<float*>(shared));
  } else {
    attend<T, C>(args, reinterpret_cast<float*>(shared));
  }
#endif
}

}  // namespace fcsa::kernels::simt
