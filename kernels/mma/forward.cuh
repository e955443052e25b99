// Forward pass on the tensor cores of sm_80 and later by mma.sync: f16 and bf16, and f32 as three TF32
// products.
#pragma once

#include "kernels/common/exp2_polynomial.cuh"
#include "kernels/common/interface.h"
#include "kernels/common/normalise.cuh"
#include "kernels/common/ptx.cuh"
#include "kernels/mma/config.h"
#include "kernels/mma/preparation.cuh"
#include "kernels/mma/shared_rows.cuh"

namespace fcsa::kernels::mma {

template <Traits T, ForwardConfig C>
struct Forward {
  using Layout = SharedRows<ForwardConfig::row_bytes(T), C.swizzle != 0>;
  static constexpr bool kF32 = T.dtype == DType::f32;
  static constexpr bool kFixed = T.softmax == Softmax::fixed_bound;
  static constexpr bool kNormalise = T.l2norm_qk && !normalises_first(T);
  static constexpr bool kFactors = ForwardConfig::uses_factors(T);
  static constexpr bool kPrepared = C.prepares_factors(T);
  static constexpr int kThreads = C.threads();
  static constexpr int kRowTiles = C.row_tiles;
  static constexpr int kElement = element_bytes(T.dtype);
  static constexpr int kSteps =
      ForwardConfig::row_bytes(T) / 32;  // of a product over channels: 16, or 8 of f32
  static constexpr int kChannelTiles = T.head_dim / 8;
  static constexpr int kKeyTiles = C.chunk / 8;
  static constexpr int kChunks = C.warp_keys() / C.chunk;
  // A logit may exceed the running maximum by this before O is rescaled: P stays below 2^8, and a rescaling
  // is rare.
  static constexpr float kHeadroom = 8.0f;

  using Scores = float[kRowTiles][kKeyTiles][4];

  const Args& args;
  unsigned shared;  // K and V stages, then factors, then Q where it has a place of its own
  unsigned q_shared;
  unsigned factors;  // [stages][block_n] float2
  int warp_m, warp_n, lane, g, t;
  int packed;  // query heads that share the tile
  int batch, kv_head, first_head;
  int first_row;  // of the block, in rows of `packed` heads
  int first_tile, end_tile;
  const char *k_base, *v_base;
  float offset;
  float row_scale[kRowTiles][2];  // where it isn't part of Q: scale * log2(e)
  long long bias_row[kRowTiles][2];
  bool bias_pairs;

  uint4 q[C.q_in_registers ? kRowTiles : 1][C.q_in_registers ? kSteps : 1];
  float o[kRowTiles][kChannelTiles][4];
  float row_sum[kRowTiles][2];
  float row_max[kRowTiles][2];
  float tensor_sum[kRowTiles][4];  // P times a matrix of ones: every lane has the sums of its rows

  FCSA_DEVICE Forward(const Args& arguments, unsigned shared_memory)
      : args(arguments), shared(shared_memory) {
    const int warp = threadIdx.x / 32;
    lane = threadIdx.x % 32;
    g = lane / 4;
    t = lane % 4;
    warp_m = warp % C.warps_m;
    warp_n = warp / C.warps_m;
    factors = shared + C.stages_bytes(T);
    q_shared =
        C.q_shares_stage(T) ? shared + 2 * (C.stages - 1) * C.tile_bytes(T) : factors + C.factor_bytes(T);
    offset = kFixed ? bound_offset_log2(T.dtype, args.bound) : 0.0f;
    place_block();
    k_base = static_cast<const char*>(args.k) +
             (batch * args.k_strides.batch + kv_head * args.k_strides.head) * kElement;
    v_base = static_cast<const char*>(args.v) +
             (batch * args.v_strides.batch + kv_head * args.v_strides.head) * kElement;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        row_sum[m][h] = 0;
        row_max[m][h] = minus_infinity();
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) tensor_sum[m][i] = 0;
#pragma unroll
      for (int c = 0; c < kChannelTiles; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i) o[m][c][i] = 0;
    }
  }

  // Which rows of which heads, and which keys.
  FCSA_DEVICE void place_block() {
    packed = C.pack_heads ? args.heads / args.kv_heads : 1;
    const int head_tiles = args.heads / packed, row_blocks = static_cast<int>(C.row_blocks(args));
    const int all_heads = head_tiles * args.batch, block = static_cast<int>(blockIdx.x);
    int row_block, flat_head;
    if (T.causal && C.longest_first) {
      row_block = row_blocks - 1 - block / all_heads;
      flat_head = block % all_heads;
    } else {
      row_block = block % row_blocks;
      flat_head = block / row_blocks;
    }
    batch = flat_head / head_tiles;
    first_head = flat_head % head_tiles * packed;
    kv_head = first_head / (args.heads / args.kv_heads);
    first_row = row_block * C.block_m();
    int keys_end = args.nk;
    if (T.causal) {
      const int last_query = min(args.nq - 1, query_of(first_row + C.block_m() - 1));
      keys_end = min(args.nk, max(0, last_query + 1 + args.nk - args.nq));
    }
    const int tiles = (keys_end + C.block_n - 1) / C.block_n;
    first_tile = 0;
    end_tile = tiles;
    if constexpr (C.splits_keys()) {
      const long long parts = gridDim.y, part = blockIdx.y;
      first_tile = static_cast<int>(tiles * part / parts);
      end_tile = static_cast<int>(tiles * (part + 1) / parts);
    }
  }

  FCSA_DEVICE int query_of(int row) const {
    return C.pack_heads ? row / packed : row;
  }
  FCSA_DEVICE int head_of(int row) const {
    return C.pack_heads ? first_head + row % packed : first_head;
  }
  FCSA_DEVICE int row_at(int m, int half) const {
    return first_row + warp_m * C.warp_rows() + 16 * m + 8 * half + g;
  }
  // Keys from this one on are hidden from the row, masks aside.
  FCSA_DEVICE int key_limit(int row) const {
    return T.causal ? min(args.nk, query_of(row) + 1 + args.nk - args.nq) : args.nk;
  }

  // Rows of a tensor to shared memory, asynchronously. Every warp takes rows that follow each other, so that
  // it can look at its own without waiting for the others. `source(row)` is null for a row that is to be
  // zero.
  template <int rows, typename Source>
  FCSA_DEVICE void load_rows(unsigned to, const Source& source) const {
    constexpr int kShare = rows * Layout::kPieces / C.warps();
    static_assert(rows * Layout::kPieces % C.warps() == 0);
    constexpr int kUnroll = kShare <= 512 ? (kShare + 31) / 32 : 2;
    const int begin = static_cast<int>(threadIdx.x) / 32 * kShare;
#pragma unroll kUnroll
    for (int i = 0; i < kShare; i += 32) {
      if (kShare % 32 != 0 && i + lane >= kShare) break;
      const int piece = begin + i + lane, row = piece / Layout::kPieces, column = piece % Layout::kPieces;
      const char* from = source(row);
      ptx::copy_async_16(to + Layout::offset(0, row, 0, column),
                         from == nullptr ? k_base : from + 16 * column, from != nullptr);
    }
  }

  FCSA_DEVICE void load_queries() const {
    load_rows<C.block_m()>(q_shared, [&](int r) -> const char* {
      const int row = first_row + r;
      if (row >= args.nq * packed) return nullptr;
      return static_cast<const char*>(args.q) +
             (batch * args.q_strides.batch + head_of(row) * args.q_strides.head +
              query_of(row) * args.q_strides.row) *
                 kElement;
    });
  }

  FCSA_DEVICE unsigned k_stage(int tile) const {
    return shared + 2 * ((tile - first_tile) % C.stages) * C.tile_bytes(T);
  }
  FCSA_DEVICE unsigned v_stage(int tile) const {
    return k_stage(tile) + C.tile_bytes(T);
  }
  FCSA_DEVICE unsigned factor_stage(int tile) const {
    return factors + (tile - first_tile) % C.stages * C.block_n * 8;
  }

  // block_n rows of K or V from `first` on. Where a row is a power of two of pieces, one pointer walks down
  // the tensor: to keep the distance of every row would take the registers of O.
  FCSA_DEVICE void load_tile(unsigned to, const char* base, long long row_bytes, int first) const {
    constexpr int kPieces = Layout::kPieces, kShare = C.block_n / C.warps(), kRows = 32 / kPieces;
    const char* from = base + first * row_bytes;
    if constexpr (kRows == 0 || 32 % kPieces != 0 || kShare % 8 != 0 || 8 % kRows != 0) {
      load_rows<C.block_n>(to, [&](int row) -> const char* {
        return first + row < args.nk ? from + row * row_bytes : nullptr;
      });
    } else {
      const int share = static_cast<int>(threadIdx.x) / 32 * kShare, row = lane / kPieces,
                column = lane % kPieces;
      const int end = args.nk - first - share - row;
      from += (share + row) * row_bytes + 16 * column;
#pragma unroll
      for (int i = 0; i < kShare; i += kRows) {
        ptx::copy_async_16(to + Layout::offset(share + i / 8 * 8, row + i % 8, 0, column),
                           i < end ? from : base, i < end);
        from += kRows * row_bytes;
      }
    }
  }

  FCSA_DEVICE void load_keys(int tile) const {
    const int first = tile * C.block_n;
    load_tile(k_stage(tile), k_base, args.k_strides.row * kElement, first);
    load_tile(v_stage(tile), v_base, args.v_strides.row * kElement, first);
    if constexpr (kPrepared) {
      const char* from = static_cast<const char*>(args.workspace) + C.workspace(T, args).factors +
                         ((batch * args.kv_heads + kv_head) * C.padded_keys(args) + first) * 8;
      for (int i = threadIdx.x; i < C.block_n / 2; i += kThreads)
        ptx::copy_async_16(factor_stage(tile) + 16 * i, from + 16 * i, true);
    }
  }

  // Fragment of 16 rows and one step of channels (as A; of V, transposed: as B): row and piece that this lane
  // addresses.
  FCSA_DEVICE unsigned rows_then_columns(unsigned tile, int row, int piece) const {
    return tile + Layout::offset(row, lane % 16, piece, lane / 16);
  }
  // As B: 16 keys, of which the first 8 are in x and y.
  FCSA_DEVICE uint4 key_fragment(unsigned tile, int key, int step) const {
    return ptx::load_matrices(tile + Layout::offset(key, lane % 8 + lane / 16 * 8, 2 * step, lane / 8 % 2));
  }
  FCSA_DEVICE uint4 shared_query_fragment(int m, int step) const {
    return ptx::load_matrices(rows_then_columns(q_shared, warp_m * C.warp_rows() + 16 * m, 2 * step));
  }
  FCSA_DEVICE uint4 query_fragment(int m, int step) const {
    if constexpr (C.q_in_registers) {
      return q[m][step];
    } else {
      return shared_query_fragment(m, step);
    }
  }

  FCSA_DEVICE static unsigned scaled(unsigned word, float factor) {
    if constexpr (kF32) return __float_as_uint(__uint_as_float(word) * factor);
    const float2 x = ptx::unpack<T.dtype>(word);
    return ptx::pack<T.dtype>(x.x * factor, x.y * factor);
  }

  // Rows of Q times scale * log2(e) / |q|, rounded like normalised rows would be. Without normalisation Q
  // stays exact and the scale is applied to S.
  FCSA_DEVICE void prepare_queries() {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h)
        row_scale[m][h] = kLog2E * (T.head_scale ? args.head_scale[min(head_of(row_at(m, h)), args.heads - 1)]
                                                 : args.scale);
      if constexpr (C.q_in_registers) {
#pragma unroll
        for (int step = 0; step < kSteps; ++step) q[m][step] = shared_query_fragment(m, step);
      }
      if constexpr (kNormalise) {
        normalise_row_scale(m);
        scale_queries(m);
      }
    }
    if constexpr (T.bias != Bias::none) locate_bias();
  }

  FCSA_DEVICE void normalise_row_scale(int m) {
    float squares[2] = {0, 0};
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const uint4 a = query_fragment(m, step);
      squares[0] = add_squares<T.dtype>(a.x, add_squares<T.dtype>(a.z, squares[0]));
      squares[1] = add_squares<T.dtype>(a.y, add_squares<T.dtype>(a.w, squares[1]));
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      squares[h] += __shfl_xor_sync(0xffffffffu, squares[h], 1);
      squares[h] += __shfl_xor_sync(0xffffffffu, squares[h], 2);
      row_scale[m][h] *= inverse_norm(squares[h], args.eps);
    }
  }

  FCSA_DEVICE void scale_queries(int m) {
    const auto scale = [&](const uint4& a) -> uint4 {
      return {scaled(a.x, row_scale[m][0]), scaled(a.y, row_scale[m][1]), scaled(a.z, row_scale[m][0]),
              scaled(a.w, row_scale[m][1])};
    };
    if constexpr (C.q_in_registers) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step) q[m][step] = scale(q[m][step]);
    } else {
      // The warps of other keys read what the first one writes, after the next barrier; so they must not be
      // reading now.
      if constexpr (C.warps_n > 1) __syncthreads();
      if (warp_n != 0) return;
      const int first = warp_m * C.warp_rows() + 16 * m;
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        const uint4 a = scale(shared_query_fragment(m, step));
        __syncwarp();
        const unsigned to = q_shared + 4 * t;
        ptx::store_shared(to + Layout::offset(first, g, 2 * step, 0), a.x);
        ptx::store_shared(to + Layout::offset(first + 8, g, 2 * step, 0), a.y);
        ptx::store_shared(to + Layout::offset(first, g, 2 * step, 1), a.z);
        ptx::store_shared(to + Layout::offset(first + 8, g, 2 * step, 1), a.w);
        __syncwarp();
      }
    }
  }

  FCSA_DEVICE void locate_bias() {
    const Strides& s = args.bias_strides;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = min(row_at(m, h), args.nq * packed - 1);
        bias_row[m][h] = batch % args.bias_batch * s.batch +
                         (args.bias_heads == 1 ? 0 : head_of(row)) * s.head + query_of(row) * s.row;
      }
    constexpr int kBytes = T.bias == Bias::f32 ? 4 : kElement;
    bias_pairs = (s.batch | s.head | s.row) % 2 == 0 &&
                 reinterpret_cast<unsigned long long>(args.bias) % (2 * kBytes) == 0;
  }

  // Bias of a row at a key and the next one, in base 2. Past the end of the keys any value does.
  FCSA_DEVICE float2 bias_at(int m, int half, int key) const {
    constexpr bool kWide = kF32 || T.bias == Bias::f32;
    if (key >= args.nk) return {0, 0};
    const long long index = bias_row[m][half] + key;
    float2 bias{0, 0};
    if constexpr (kWide) {
      const float* from = static_cast<const float*>(args.bias) + index;
      if (bias_pairs && key + 1 < args.nk) {
        bias = __ldg(reinterpret_cast<const float2*>(from));
      } else {
        bias = {__ldg(from), key + 1 < args.nk ? __ldg(from + 1) : 0.0f};
      }
    } else {
      const unsigned short* from = static_cast<const unsigned short*>(args.bias) + index;
      unsigned word;
      if (bias_pairs && key + 1 < args.nk) {
        word = __ldg(reinterpret_cast<const unsigned*>(from));
      } else {
        word = __ldg(from) | (key + 1 < args.nk ? static_cast<unsigned>(__ldg(from + 1)) << 16 : 0u);
      }
      bias = ptx::unpack<T.dtype>(word);
    }
    return {bias.x * kLog2E, bias.y * kLog2E};
  }

  // Factors of the rows of K that this warp has loaded, in time for the barrier that publishes the tile.
  FCSA_DEVICE void publish_factors(int tile) const {
    if constexpr (kFactors && !kPrepared) publish_own_factors(tile);
  }

  FCSA_DEVICE void publish_own_factors(int tile) const {
    constexpr int kShare = C.block_n / C.warps();
    const int first = static_cast<int>(threadIdx.x) / 32 * kShare;
    const auto publish = [&](int key, float inverse) {
      const float2 factor = key_factor<T>(args, batch, tile * C.block_n + key, inverse);
      ptx::store_shared(factor_stage(tile) + 8 * key, __float_as_uint(factor.x));
      ptx::store_shared(factor_stage(tile) + 8 * key + 4, __float_as_uint(factor.y));
    };
    if constexpr (!kNormalise) {
      for (int i = lane; i < kShare; i += 32) publish(first + i, 1.0f);
    } else {
      __syncwarp();  // the other lanes' copies
#pragma unroll
      for (int key = 0; key < kShare; key += 16) {
        float squares[2] = {0, 0}, upper[4] = {0, 0, 0, 0}, lower[4] = {0, 0, 0, 0};
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
          const uint4 b = key_fragment(k_stage(tile), first + key, step);
          if constexpr (C.key_norms == kTensorCores) {
            // The two halves of K K^T that have the diagonal: the fragment of B, reordered, is that of A.
            ptx::multiply_add_16<T.dtype>(upper, {b.x, b.z, b.y, b.w}, b.x, b.y);
            ptx::multiply_add_16<T.dtype>(lower, {b.x, b.z, b.y, b.w}, b.z, b.w);
          } else {
            squares[0] = add_squares<T.dtype>(b.x, add_squares<T.dtype>(b.y, squares[0]));
            squares[1] = add_squares<T.dtype>(b.z, add_squares<T.dtype>(b.w, squares[1]));
          }
        }
        if constexpr (C.key_norms == kTensorCores) {
          squares[0] = g % 2 ? upper[1] : upper[0];
          squares[1] = g % 2 ? lower[3] : lower[2];
        } else {
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            squares[h] += __shfl_xor_sync(0xffffffffu, squares[h], 1);
            squares[h] += __shfl_xor_sync(0xffffffffu, squares[h], 2);
          }
        }
        if (t == g / 2) {
          publish(first + key + g, inverse_norm(squares[0], args.eps));
          publish(first + key + g + 8, inverse_norm(squares[1], args.eps));
        }
      }
    }
  }

  // d += a b for one step of 32 bytes. f32 as upper * upper + upper * lower + lower * upper, the small
  // products first, in an accumulator of its own: the tensor cores truncate what they accumulate, which over
  // 1000 keys takes 1e-5 off O and over 16k keys 2e-4; an addition rounds (Ootomo and Yokota, 2022).
  FCSA_DEVICE static void multiply_add(float (&d)[4], const uint4& a, unsigned b0, unsigned b1) {
    if constexpr (!kF32) {
      ptx::multiply_add_16<T.dtype>(d, a, b0, b1);
    } else {
      const uint4 upper{ptx::round_to_tf32(a.x), ptx::round_to_tf32(a.y), ptx::round_to_tf32(a.z),
                        ptx::round_to_tf32(a.w)};
      const unsigned u0 = ptx::round_to_tf32(b0), u1 = ptx::round_to_tf32(b1);
      if constexpr (T.tf32) {
        ptx::multiply_add_tf32(d, upper, u0, u1);
      } else {
        float sum[4] = {0, 0, 0, 0};
        const uint4 lower{ptx::below_tf32(a.x, upper.x), ptx::below_tf32(a.y, upper.y),
                          ptx::below_tf32(a.z, upper.z), ptx::below_tf32(a.w, upper.w)};
        ptx::multiply_add_tf32(sum, lower, u0, u1);
        ptx::multiply_add_tf32(sum, upper, ptx::below_tf32(b0, u0), ptx::below_tf32(b1, u1));
        ptx::multiply_add_tf32(sum, upper, u0, u1);
#pragma unroll
        for (int i = 0; i < 4; ++i) d[i] += sum[i];
      }
    }
  }

  // S of a chunk, raw.
  FCSA_DEVICE void scores(int tile, int chunk, Scores& s) const {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) s[m][n][i] = 0;
    const int first = warp_n * C.warp_keys() + chunk * C.chunk;
    // Long rows that are read step by step are not written out in full: loads ahead would cost the registers
    // of O, which for f32 are the fewest.
    constexpr int kUnroll = C.q_in_registers || kSteps <= 8 ? kSteps : kF32 ? 2 : 4;
#pragma unroll kUnroll
    for (int step = 0; step < kSteps; ++step) {
      uint4 a[kRowTiles];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) a[m] = query_fragment(m, step);
#pragma unroll
      for (int n = 0; n < kKeyTiles; n += 2) {
        const uint4 b = key_fragment(k_stage(tile), first + 8 * n, step);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          multiply_add(s[m][n], a[m], b.x, b.y);
          multiply_add(s[m][n + 1], a[m], b.z, b.w);
        }
      }
    }
  }

  // S to logits in base 2, hidden ones -inf.
  template <bool edge>
  FCSA_DEVICE void logits(int tile, int chunk, Scores& s) const {
    const int first = warp_n * C.warp_keys() + chunk * C.chunk + 2 * t;
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) {
      float4 factor{1, -offset, 1, -offset};
      if constexpr (kFactors) factor = ptx::load_shared_4(factor_stage(tile) + 8 * (first + 8 * n));
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float &x = s[m][n][2 * h], &y = s[m][n][2 * h + 1];
          x = fmaf(x, kNormalise ? factor.x : row_scale[m][h], factor.y);
          y = fmaf(y, kNormalise ? factor.z : row_scale[m][h], factor.w);
          const int key = tile * C.block_n + first + 8 * n;
          if constexpr (T.bias != Bias::none) {
            const float2 bias = bias_at(m, h, key);
            x += bias.x;
            y += bias.y;
          }
          if constexpr (edge) {
            const int limit = key_limit(row_at(m, h));
            if (key >= limit) x = minus_infinity();
            if (key + 1 >= limit) y = minus_infinity();
          }
        }
    }
  }

  // Subtracts the running maximum, raised where a logit is further above it than the headroom.
  FCSA_DEVICE void subtract_maximum(Scores& s) {
    float largest[kRowTiles][2];
    bool above = false;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        largest[m][h] = minus_infinity();
#pragma unroll
        for (int n = 0; n < kKeyTiles; ++n)
          largest[m][h] = fmaxf(largest[m][h], fmaxf(s[m][n][2 * h], s[m][n][2 * h + 1]));
        above = above || largest[m][h] > row_max[m][h] + kHeadroom;
      }
    if (__any_sync(0xffffffffu, above)) raise_maximum(largest);
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        // No key seen yet: keep exp2 away from inf - inf.
        const float reference = row_max[m][h] == minus_infinity() ? 0.0f : row_max[m][h];
#pragma unroll
        for (int n = 0; n < kKeyTiles; ++n) {
          s[m][n][2 * h] -= reference;
          s[m][n][2 * h + 1] -= reference;
        }
      }
  }

  FCSA_DEVICE void raise_maximum(const float (&largest)[kRowTiles][2]) {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float raised = fmaxf(row_max[m][h], largest[m][h]);
        raised = fmaxf(raised, __shfl_xor_sync(0xffffffffu, raised, 1));
        raised = fmaxf(raised, __shfl_xor_sync(0xffffffffu, raised, 2));
        const float factor =
            raised == minus_infinity() ? 1.0f : ptx::exp2_approximate(row_max[m][h] - raised);
        row_max[m][h] = raised;
        row_sum[m][h] *= factor;
        tensor_sum[m][2 * h] *= factor;
#pragma unroll
        for (int c = 0; c < kChannelTiles; ++c) {
          o[m][c][2 * h] *= factor;
          o[m][c][2 * h + 1] *= factor;
        }
      }
  }

  // S to P in place, and the row sums.
  template <bool edge>
  FCSA_DEVICE void softmax(int tile, int chunk, Scores& s) {
    logits<edge>(tile, chunk, s);
    if constexpr (!kFixed) subtract_maximum(s);
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float& x = s[m][n][i];
          x = (4 * n + i) % 8 < C.polynomial ? exp2_polynomial<T.dtype != DType::bf16>(x)
                                             : ptx::exp2_approximate(x);
          if constexpr (!C.tensor_sums) row_sum[m][i / 2] += x;
        }
  }

  // O += P V. The accumulators of S are the A fragments of P: of 16 keys in 16 bits; of 8 in f32, if word t
  // is taken for key 2t and word t + 4 for key 2t + 1, in V as well.
  FCSA_DEVICE void add_values(int tile, int chunk, const Scores& s) {
    const int first = warp_n * C.warp_keys() + chunk * C.chunk;
    if constexpr (kF32) {
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
        for (int c = 0; c < kChannelTiles; ++c) {
          const auto value = [&](int row) {
            return __float_as_uint(ptx::load_shared(
                v_stage(tile) + Layout::offset(first + 8 * n, row, 2 * c, g / 4) + g % 4 * 4));
          };
          const unsigned b0 = value(2 * t), b1 = value(2 * t + 1);
#pragma unroll
          for (int m = 0; m < kRowTiles; ++m) {
            const uint4 p{__float_as_uint(s[m][n][0]), __float_as_uint(s[m][n][2]),
                          __float_as_uint(s[m][n][1]), __float_as_uint(s[m][n][3])};
            multiply_add(o[m][c], p, b0, b1);
          }
        }
      }
    } else {
#pragma unroll
      for (int n = 0; n < kKeyTiles; n += 2) {
        uint4 p[kRowTiles];
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m)
          p[m] = {ptx::pack<T.dtype>(s[m][n][0], s[m][n][1]), ptx::pack<T.dtype>(s[m][n][2], s[m][n][3]),
                  ptx::pack<T.dtype>(s[m][n + 1][0], s[m][n + 1][1]),
                  ptx::pack<T.dtype>(s[m][n + 1][2], s[m][n + 1][3])};
        if constexpr (C.tensor_sums) {
          constexpr unsigned kOnes = T.dtype == DType::bf16 ? 0x3f803f80u : 0x3c003c00u;
#pragma unroll
          for (int m = 0; m < kRowTiles; ++m) multiply_add(tensor_sum[m], p[m], kOnes, kOnes);
        }
#pragma unroll
        for (int c = 0; c < kChannelTiles; c += 2) {
          const uint4 b = ptx::load_matrices_transposed(rows_then_columns(v_stage(tile), first + 8 * n, c));
#pragma unroll
          for (int m = 0; m < kRowTiles; ++m) {
            multiply_add(o[m][c], p[m], b.x, b.y);
            multiply_add(o[m][c + 1], p[m], b.z, b.w);
          }
        }
      }
    }
  }

  // First key of this warp in a tile, and whether some of its pairs in the tile are hidden.
  FCSA_DEVICE bool has_edge(int tile) const {
    const int end = tile * C.block_n + (warp_n + 1) * C.warp_keys();
    return (!kFactors && end > args.nk) || (T.causal && end > key_limit(first_row + warp_m * C.warp_rows()));
  }

  template <bool edge>
  FCSA_DEVICE void compute(int tile) {
    // The last key that any row of this warp sees, for the tiles that some of them don't see all of.
    [[maybe_unused]] const int end = edge ? key_limit(row_at(kRowTiles - 1, 1) - g + 7) : 0;
    const int first = tile * C.block_n + warp_n * C.warp_keys();
    [[maybe_unused]] Scores next;
    if constexpr (C.overlap) scores(tile, 0, next);
#pragma unroll C.unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      if (edge && first + chunk * C.chunk >= end) break;
      Scores s;
      if constexpr (C.overlap) {
        copy(s, next);
        if (chunk + 1 < kChunks) scores(tile, chunk + 1, next);
      } else {
        scores(tile, chunk, s);
      }
      softmax<edge>(tile, chunk, s);
      add_values(tile, chunk, s);
    }
  }

  FCSA_DEVICE static void copy(Scores& to, const Scores& from) {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) to[m][n][i] = from[m][n][i];
  }

  FCSA_DEVICE void compute_tile(int tile) {
    if (has_edge(tile)) {
      compute<true>(tile);
    } else {
      compute<false>(tile);
    }
  }

  FCSA_DEVICE void loop_over_keys() {
    load_queries();
    ptx::copy_async_commit();
    // Groups are committed even when empty, so that the waits below always count the same number.
#pragma unroll
    for (int i = 0; i < C.stages - 1; ++i) {
      if (first_tile + i < end_tile) load_keys(first_tile + i);
      ptx::copy_async_commit();
    }
    ptx::copy_async_wait<C.stages - 1>();
    __syncthreads();
    prepare_queries();
#pragma unroll 1
    for (int tile = first_tile; tile < end_tile; ++tile) {
      if constexpr (C.stages == 1) {
        __syncthreads();  // the tile before is still being read
        load_keys(tile);
        ptx::copy_async_commit();
        ptx::copy_async_wait<0>();
        publish_factors(tile);
        __syncthreads();
      } else {
        ptx::copy_async_wait<C.stages - 2>();
        publish_factors(tile);
        __syncthreads();  // this tile has arrived, and everybody is done with the stage that is loaded next
        if (tile + C.stages - 1 < end_tile) load_keys(tile + C.stages - 1);
        ptx::copy_async_commit();
      }
      compute_tile(tile);
    }
    ptx::copy_async_wait<0>();
    __syncthreads();  // shared memory is free
  }

  // Row sums over the four lanes of a row, then O, sums and maxima over the warps of different keys, in a
  // tree.
  FCSA_DEVICE void gather() {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        if constexpr (C.tensor_sums) {
          row_sum[m][h] = tensor_sum[m][2 * h];
        } else {
          row_sum[m][h] += __shfl_xor_sync(0xffffffffu, row_sum[m][h], 1);
          row_sum[m][h] += __shfl_xor_sync(0xffffffffu, row_sum[m][h], 2);
        }
      }
#pragma unroll
    for (int half = C.warps_n / 2; half >= 1; half /= 2) {
      if (warp_n >= half && warp_n < 2 * half) send(warp_n - half);
      __syncthreads();
      if (warp_n < half) receive(warp_n);
      __syncthreads();
    }
  }

  // Address of a warp's values, a word per lane each.
  FCSA_DEVICE unsigned slot(int index) const {
    constexpr int kWords = kRowTiles * (4 * kChannelTiles + 4) * 32;
    return shared + 4 * ((index * C.warps_m + warp_m) * kWords + lane);
  }

  FCSA_DEVICE void send(int index) const {
    unsigned to = slot(index);
    const auto put = [&](float x) {
      ptx::store_shared(to, __float_as_uint(x));
      to += 128;
    };
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        put(row_sum[m][h]);
        put(row_max[m][h]);
      }
#pragma unroll
      for (int c = 0; c < kChannelTiles; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i) put(o[m][c][i]);
    }
  }

  FCSA_DEVICE void receive(int index) {
    unsigned from = slot(index);
    const auto get = [&] {
      const float x = ptx::load_shared(from);
      from += 128;
      return x;
    };
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      float mine[2] = {1, 1}, theirs[2] = {1, 1};
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float sum = get(), top = get();
        if constexpr (!kFixed) {
          const float both = fmaxf(row_max[m][h], top), reference = both == minus_infinity() ? 0.0f : both;
          mine[h] = ptx::exp2_approximate(row_max[m][h] - reference);
          theirs[h] = ptx::exp2_approximate(top - reference);
          row_max[m][h] = both;
        }
        row_sum[m][h] = row_sum[m][h] * mine[h] + sum * theirs[h];
      }
#pragma unroll
      for (int c = 0; c < kChannelTiles; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i) o[m][c][i] = o[m][c][i] * mine[i / 2] + get() * theirs[i / 2];
    }
  }

  FCSA_DEVICE long long output_row(int row) const {
    return (static_cast<long long>(batch) * args.heads + head_of(row)) * args.nq + query_of(row);
  }

  // A part of the keys: unnormalised O, sums and maxima, for `combine`.
  FCSA_DEVICE void write_part() const {
    const auto space = C.workspace(T, args);
    char* workspace = static_cast<char*>(args.workspace);
    const long long before = 1LL * blockIdx.y * args.batch * args.heads * args.nq;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = row_at(m, h);
        if (row >= args.nq * packed) continue;
        const long long index = before + output_row(row);
        float* to = reinterpret_cast<float*>(workspace + space.partial_o) + index * T.head_dim + 2 * t;
#pragma unroll
        for (int c = 0; c < kChannelTiles; ++c)
          *reinterpret_cast<float2*>(to + 8 * c) = {o[m][c][2 * h], o[m][c][2 * h + 1]};
        if (t == 0)
          reinterpret_cast<float2*>(workspace + space.partial_sums)[index] = {row_sum[m][h], row_max[m][h]};
      }
  }

  // The same to the shared memory of this block, for `sum_parts`.
  FCSA_DEVICE void share_part() const {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const unsigned to = shared + (row_at(m, h) - first_row) * ForwardConfig::part_pitch(T);
        const auto store_pair = [&](int word, float x, float y) {
          ptx::store_shared(to + 4 * word, __float_as_uint(x));
          ptx::store_shared(to + 4 * word + 4, __float_as_uint(y));
        };
#pragma unroll
        for (int c = 0; c < kChannelTiles; ++c) store_pair(8 * c + 2 * t, o[m][c][2 * h], o[m][c][2 * h + 1]);
        if (t == 0) store_pair(T.head_dim, row_sum[m][h], row_max[m][h]);
      }
  }

  // O and lse of this block's share of the rows of the tile, from the parts of all blocks of the cluster, in
  // their order.
  FCSA_DEVICE void sum_parts() const {
    constexpr int kLanes = T.head_dim / 4;
    const int pieces = min(C.block_m(), args.nq * packed - first_row) * kLanes;
    const int share = (pieces + C.cluster - 1) / C.cluster, first = static_cast<int>(blockIdx.y) * share;
    for (int piece = first + threadIdx.x; piece < min(first + share, pieces); piece += kThreads) {
      const int row = piece / kLanes, channel = piece % kLanes * 4;
      PartialRow total;
      float2 sums[C.cluster];
#pragma unroll
      for (int part = 0; part < C.cluster; ++part) {
        sums[part] = ptx::load_cluster_2(ptx::cluster_address(part_word(row, T.head_dim), part));
        if constexpr (!kFixed) total.top = fmaxf(total.top, sums[part].y);
      }
#pragma unroll
      for (int part = 0; part < C.cluster; ++part) {
        const float4 x = ptx::load_cluster_4(ptx::cluster_address(part_word(row, channel), part));
        total.template add<kFixed>(x, sums[part]);
      }
      write_row<T>(args, output_row(first_row + row), channel, total);
    }
  }
  FCSA_DEVICE unsigned part_word(int row, int word) const {
    return shared + row * ForwardConfig::part_pitch(T) + 4 * word;
  }

  // O / row sum and lse. A row that saw no key has a sum of zero: O = 0, lse = -inf. O passes through shared
  // memory so that it is written 16 bytes at a time.
  FCSA_DEVICE void write_rows() const {
    constexpr int kPitch = ForwardConfig::row_bytes(T) + 16;
    const int warp_first = warp_m * C.warp_rows();
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = row_at(m, h);
        const float sum = row_sum[m][h], inverse = sum > 0 ? 1.0f / sum : 0.0f;
        const float top = kFixed ? offset : row_max[m][h];
        if (t == 0 && row < args.nq * packed)
          args.lse[output_row(row)] = sum > 0 ? (log2f(sum) + top) * kLn2 : minus_infinity();
        const unsigned to = shared + (row - first_row) * kPitch + 2 * t * kElement;
#pragma unroll
        for (int c = 0; c < kChannelTiles; ++c) {
          const float x = o[m][c][2 * h] * inverse, y = o[m][c][2 * h + 1] * inverse;
          if constexpr (kF32) {
            ptx::store_shared(to + 8 * c * kElement, __float_as_uint(x));
            ptx::store_shared(to + 8 * c * kElement + 4, __float_as_uint(y));
          } else {
            ptx::store_shared(to + 8 * c * kElement, ptx::pack<T.dtype>(x, y));
          }
        }
      }
    __syncwarp();
    const Strides& strides = args.o_strides;
#pragma unroll 2
    for (int piece = lane; piece < C.warp_rows() * Layout::kPieces; piece += 32) {
      const int tile_row = warp_first + piece / Layout::kPieces, column = piece % Layout::kPieces;
      const int row = first_row + tile_row;
      if (row >= args.nq * packed) continue;
      const long long index =
          batch * strides.batch + head_of(row) * strides.head + query_of(row) * strides.row;
      *reinterpret_cast<float4*>(static_cast<char*>(args.o) + index * kElement + 16 * column) =
          ptx::load_shared_4(shared + tile_row * kPitch + 16 * column);
    }
  }
};

template <Traits T, ForwardConfig C>
FCSA_DEVICE void run(const Args& args) {
  extern __shared__ uint4 shared[];
  Forward<T, C> block(args, ptx::shared_address(shared));
  block.loop_over_keys();
  block.gather();
  if constexpr (C.cluster > 1) {
    if (block.warp_n == 0) block.share_part();
    ptx::cluster_barrier();
    block.sum_parts();
    ptx::cluster_barrier();  // others may be reading this block's part
    return;
  }
  if (block.warp_n != 0) return;
  if (C.splits_keys() && gridDim.y > 1) {
    block.write_part();
  } else {
    block.write_rows();
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void normalise_and_run(const Args& args) {
  if constexpr (normalises_first(T)) {
    run<T, C>(normalised_args<T>(args));
  } else {
    run<T, C>(args);
  }
}

template <Traits T, ForwardConfig C>
__global__ void __launch_bounds__(C.threads(), C.min_blocks) forward(const __grid_constant__ Args args) {
#if FCSA_KERNEL_CODE
  if constexpr (C.cluster == 1) normalise_and_run<T, C>(args);
#endif
}

template <Traits T, ForwardConfig C>
__global__ void __launch_bounds__(C.threads(), C.min_blocks) FCSA_CLUSTER(1, C.cluster, 1)
    forward_in_clusters(const __grid_constant__ Args args) {
#if FCSA_KERNEL_CODE && __CUDA_ARCH__ >= 900
  if constexpr (C.cluster > 1) normalise_and_run<T, C>(args);
#endif
}

}  // namespace fcsa::kernels::mma
