// The block of the forward pass: what it has, which rows and keys, the products, the loop.
#pragma once

#include "kernels/common/exp2_polynomial.cuh"
#include "kernels/common/interface.h"
#include "kernels/common/logits.cuh"
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
  FCSA_DEVICE void load_rows(unsigned to, const Source& source) const;

  FCSA_DEVICE void load_queries() const;

  // A tile of keys, and where it would be if there were no others than those that are computed: they take
  // turns in the stages.
  struct Step {
    int tile, slot;
  };
  FCSA_DEVICE static Step step_of(int tile) {
    return {tile, tile};
  }

  FCSA_DEVICE unsigned k_stage(int slot) const {
    return shared + 2 * ((slot - first_tile) % C.stages) * C.tile_bytes(T);
  }
  FCSA_DEVICE unsigned v_stage(int slot) const {
    return k_stage(slot) + C.tile_bytes(T);
  }
  FCSA_DEVICE unsigned factor_stage(int slot) const {
    return factors + (slot - first_tile) % C.stages * C.block_n * 8;
  }

  // Which keys of a tile the mask shows, a bit each.
  static constexpr int kMaskWords = T.key_mask ? (C.block_n + 31) / 32 : 1;
  struct Shown {
    unsigned words[kMaskWords];

    FCSA_DEVICE bool at(int key) const { return from(key) & 1; }
    // From a key on, the rest of its word.
    FCSA_DEVICE unsigned from(int key) const {
      if constexpr (!T.key_mask) return ~0u;
      // By arithmetic: of a choice between words the compiler makes words[key / 32], in local memory.
      unsigned word = 0;
#pragma unroll
      for (int w = 0; w < kMaskWords; ++w) word |= words[w] & (0u - static_cast<unsigned>(key / 32 == w));
      return word >> key % 32;
    }
  };

  // block_n rows of K or V from `first` on, zeros in place of what the mask hides. Where a row is a power of
  // two of pieces, one pointer walks down the tensor: to keep the distance of every row would take the
  // registers of O.
  FCSA_DEVICE void load_tile(unsigned to, const char* base, long long row_bytes, int first,
                             const Shown& shown) const;

  FCSA_DEVICE void load_keys(Step at, const Shown& shown) const;

  // Where the mask has been looked at: the next tile, and what it says of this lane's keys of that, read a
  // tile ahead.
  struct MaskCursor {
    int tile;
    unsigned char bytes[kMaskWords];
  };
  FCSA_DEVICE MaskCursor look_at(int tile) const;
  // The next tile of which the mask shows a key, and which keys; end_tile: there is none.
  FCSA_DEVICE int next_shown(MaskCursor& cursor, Shown& shown) const;

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
  FCSA_DEVICE void prepare_queries();

  FCSA_DEVICE void normalise_row_scale(int m);

  FCSA_DEVICE void scale_queries(int m);

  FCSA_DEVICE void locate_bias();

  // Bias of a row at a key and the next one, in base 2. Past the end of the keys any value does.
  FCSA_DEVICE float2 bias_at(int m, int half, int key) const;

  // Factors of the rows of K that this warp has loaded, in time for the barrier that publishes the tile.
  FCSA_DEVICE void publish_factors(Step at) const {
    if constexpr (kFactors && !kPrepared) publish_own_factors(at);
  }

  FCSA_DEVICE void publish_own_factors(Step at) const;

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
  FCSA_DEVICE void scores(int slot, int chunk, Scores& s) const {
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
        const uint4 b = key_fragment(k_stage(slot), first + 8 * n, step);
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
  FCSA_DEVICE void logits(Step at, int chunk, Scores& s) const;

  // Subtracts the running maximum, raised where a logit is further above it than the headroom.
  FCSA_DEVICE void subtract_maximum(Scores& s);

  FCSA_DEVICE void raise_maximum(const float (&largest)[kRowTiles][2]);

  // S to P in place, and the row sums.
  template <bool edge>
  FCSA_DEVICE void softmax(Step at, int chunk, Scores& s);

  // O += P V. The accumulators of S are the A fragments of P: of 16 keys in 16 bits; of 8 in f32, if word t
  // is taken for key 2t and word t + 4 for key 2t + 1, in V as well.
  FCSA_DEVICE void add_values(int slot, int chunk, const Scores& s) {
    const int first = warp_n * C.warp_keys() + chunk * C.chunk;
    if constexpr (kF32) {
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
        for (int c = 0; c < kChannelTiles; ++c) {
          const auto value = [&](int row) {
            return __float_as_uint(ptx::load_shared(
                v_stage(slot) + Layout::offset(first + 8 * n, row, 2 * c, g / 4) + g % 4 * 4));
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
          const uint4 b = ptx::load_matrices_transposed(rows_then_columns(v_stage(slot), first + 8 * n, c));
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
  FCSA_DEVICE void compute(Step at) {
    // The last key that any row of this warp sees, for the tiles that some of them don't see all of.
    [[maybe_unused]] const int end = edge ? key_limit(row_at(kRowTiles - 1, 1) - g + 7) : 0;
    const int first = at.tile * C.block_n + warp_n * C.warp_keys();
    [[maybe_unused]] Scores next;
    if constexpr (C.overlap) scores(at.slot, 0, next);
#pragma unroll C.unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      if (edge && first + chunk * C.chunk >= end) break;
      Scores s;
      if constexpr (C.overlap) {
        copy(s, next);
        if (chunk + 1 < kChunks) scores(at.slot, chunk + 1, next);
      } else {
        scores(at.slot, chunk, s);
      }
      softmax<edge>(at, chunk, s);
      add_values(at.slot, chunk, s);
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

  FCSA_DEVICE void compute_tile(Step at) {
    if (has_edge(at.tile)) {
      compute<true>(at);
    } else {
      compute<false>(at);
    }
  }

  FCSA_DEVICE void loop_over_keys() {
    load_queries();
    ptx::copy_async_commit();
    // Groups are committed even when empty, so that the waits below always count the same number.
#pragma unroll
    for (int i = 0; i < C.stages - 1; ++i) {
      if (first_tile + i < end_tile) load_keys(step_of(first_tile + i), {});
      ptx::copy_async_commit();
    }
    ptx::copy_async_wait<C.stages - 1>();
    __syncthreads();
    prepare_queries();
#pragma unroll 1
    for (int tile = first_tile; tile < end_tile; ++tile) {
      if constexpr (C.stages == 1) {
        __syncthreads();  // the tile before is still being read
        load_keys(step_of(tile), {});
        ptx::copy_async_commit();
        ptx::copy_async_wait<0>();
        publish_factors(step_of(tile));
        __syncthreads();
      } else {
        ptx::copy_async_wait<C.stages - 2>();
        publish_factors(step_of(tile));
        __syncthreads();  // this tile has arrived, and everybody is done with the stage that is loaded next
        if (tile + C.stages - 1 < end_tile) load_keys(step_of(tile + C.stages - 1), {});
        ptx::copy_async_commit();
      }
      compute_tile(step_of(tile));
    }
    ptx::copy_async_wait<0>();
    __syncthreads();  // shared memory is free
  }

  // The same with a mask: over the tiles of which it shows a key.
  FCSA_DEVICE void loop_over_shown_keys() {
    load_queries();
    ptx::copy_async_commit();
    MaskCursor cursor = look_at(first_tile);
    Shown shown;
    int tiles[C.stages];  // that are in flight, the one to be computed first
#pragma unroll
    for (int i = 0; i < C.stages - 1; ++i) {
      tiles[i] = next_shown(cursor, shown);
      if (tiles[i] < end_tile) load_keys({tiles[i], first_tile + i}, shown);
      ptx::copy_async_commit();
    }
    ptx::copy_async_wait<C.stages - 1>();
    __syncthreads();
    prepare_queries();
#pragma unroll 1
    for (int slot = first_tile;; ++slot) {
      if constexpr (C.stages == 1) {
        tiles[0] = next_shown(cursor, shown);
        if (tiles[0] >= end_tile) break;
        __syncthreads();  // the tile before is still being read
        load_keys({tiles[0], slot}, shown);
        ptx::copy_async_commit();
        ptx::copy_async_wait<0>();
        publish_factors({tiles[0], slot});
        __syncthreads();
      } else {
        if (tiles[0] >= end_tile) break;
        ptx::copy_async_wait<C.stages - 2>();
        publish_factors({tiles[0], slot});
        __syncthreads();  // this tile has arrived, and everybody is done with the stage that is loaded next
        tiles[C.stages - 1] = next_shown(cursor, shown);
        if (tiles[C.stages - 1] < end_tile) load_keys({tiles[C.stages - 1], slot + C.stages - 1}, shown);
        ptx::copy_async_commit();
      }
      compute_tile({tiles[0], slot});
#pragma unroll
      for (int i = 0; i + 1 < C.stages; ++i) tiles[i] = tiles[i + 1];
    }
    ptx::copy_async_wait<0>();
    __syncthreads();  // shared memory is free
  }

  // Row sums over the four lanes of a row, then O, sums and maxima over the warps of different keys, in a
  // tree.
  FCSA_DEVICE void gather();

  // Address of a warp's values, a word per lane each.
  FCSA_DEVICE unsigned slot(int index) const {
    constexpr int kWords = kRowTiles * (4 * kChannelTiles + 4) * 32;
    return shared + 4 * ((index * C.warps_m + warp_m) * kWords + lane);
  }

  FCSA_DEVICE void send(int index) const;

  FCSA_DEVICE void receive(int index);

  FCSA_DEVICE long long output_row(int row) const {
    return (static_cast<long long>(batch) * args.heads + head_of(row)) * args.nq + query_of(row);
  }

  // A part of the keys: unnormalised O, sums and maxima, for `combine`.
  FCSA_DEVICE void write_part() const;

  // The same to the shared memory of this block, for `sum_parts`.
  FCSA_DEVICE void share_part() const;

  // O and lse of this block's share of the rows of the tile, from the parts of all blocks of the cluster, in
  // their order.
  FCSA_DEVICE void sum_parts() const;
  FCSA_DEVICE unsigned part_word(int row, int word) const {
    return shared + row * ForwardConfig::part_pitch(T) + 4 * word;
  }

  // O / row sum and lse. A row that saw no key has a sum of zero: O = 0, lse = -inf. O passes through shared
  // memory so that it is written 16 bytes at a time.
  FCSA_DEVICE void write_rows() const;
};

}  // namespace fcsa::kernels::mma
