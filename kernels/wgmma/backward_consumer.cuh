// A warpgroup that owns 64 keys: S and dP of each tile of queries, P and dS, dV and dK.
#pragma once

#include "kernels/wgmma/backward_layout.cuh"
#include "kernels/wgmma/backward_rows.cuh"

namespace fcsa::kernels::wgmma {

template <Traits T, BackwardConfig C>
struct KeyConsumer {
  static constexpr int kChannels = C.panel_channels(T), kRowBytes = C.panel_row_bytes(T);
  static constexpr int kPanelSteps = kChannels / 16, kSteps = T.head_dim / 16;
  static constexpr int kTiles = C.block_m / 8, kSlices = C.block_m / 16;  // of queries
  // Above 64 channels registers are too few for P in f32 beside dP and the operand of dV.
  static constexpr bool kUnpacks = T.head_dim > 64;
  static constexpr int kShift = C.shift(T);
  static constexpr int kClear = 1;  // hardware barrier: the threads of the consumers

  const BackwardArgs& args;
  const BackwardLayout<T, C> shared;
  int warpgroup, warp, lane, g, t;

  float dk[T.head_dim / 2], dv[T.head_dim / 2], s[C.block_m / 2], dp[C.block_m / 2];
  unsigned p[kSlices][4], ds[kSlices][4];
  unsigned k[C.k_in_registers ? kSteps : 1][4], v[C.v_in_registers ? kSteps : 1][4];

  // Of the tile of keys: this thread has rows g and g + 8 of its warp's 16.
  KeyWork work;
  bool visible[2];
  bool hides = false;  // whether a key of this warp is never seen

  Ring<C.key_stages> keys;

  // Of the tile of queries.
  Ring<C.stages> at;
  Ring<C.score_buffers> to;
  int head = 0, tile = 0;
  float scale = 0;   // of logits in base 2
  float factor = 1;  // of dS for dK, where heads of a group have scales of their own

  FCSA_DEVICE KeyConsumer(const BackwardArgs& a, const BackwardLayout<T, C>& layout)
      : args(a),
        shared(layout),
        // By a shuffle: addresses of operands are then in uniform registers, as products need them.
        warpgroup(__shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0)),
        warp(__shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32 % 4, 0)),
        lane(static_cast<int>(threadIdx.x) % 32) {
    g = lane / 4;
    t = lane % 4;
  }

  FCSA_DEVICE int group() const {
    return static_cast<int>(static_cast<unsigned>(args.heads) / static_cast<unsigned>(args.kv_heads));
  }
  FCSA_DEVICE int shift() const { return args.nk - args.nq; }
  FCSA_DEVICE int warp_row() const { return C.kRows * warpgroup + 16 * warp; }
  FCSA_DEVICE int key_at(int half) const { return work.first_key + warp_row() + g + 8 * half; }
  FCSA_DEVICE void arrive(unsigned barrier) const {
    __syncwarp();
    if (lane == 0) hopper::barrier_arrive(barrier);
  }

  FCSA_DEVICE void sync_warpgroup() const { hopper::named_barrier_sync(kClear + 1 + warpgroup, 128); }

  // ---- the keys

  // 16 bytes of a row of a tile of so many.
  template <int rows>
  FCSA_DEVICE static unsigned piece(unsigned tile_address, int row, int index) {
    constexpr int kPieces = kRowBytes / 16;
    return tile_address + index / kPieces * rows * kRowBytes +
           hopper::swizzled<kRowBytes>(row * kRowBytes + index % kPieces * 16);
  }

  // Every second piece of a row.
  template <int rows>
  FCSA_DEVICE static void clear_row(unsigned tile_address, int row, int part) {
#pragma unroll 1
    for (int i = part; i < T.head_dim / 8; i += 2) {
      const unsigned to_clear = piece<rows>(tile_address, row, i);
#pragma unroll
      for (int word = 0; word < 4; ++word) ptx::store_shared(to_clear + 4 * word, 0);
    }
  }

  FCSA_DEVICE bool is_visible(int key) const {
    if (key >= args.nk) return false;
    return !T.key_mask || args.key_mask[work.batch * args.key_mask_stride + key] != 0;
  }

  // What keys that nobody sees hold has no influence, even where it isn't finite. Two threads a row.
  FCSA_DEVICE void clear_hidden(unsigned tile_address) const {
    const int row = static_cast<int>(threadIdx.x) / 2;
    if (!is_visible(work.first_key + row))
      clear_row<C.block_n()>(tile_address, row, static_cast<int>(threadIdx.x) % 2);
    sync_keys();
  }

  // K over its norms, in its place. Two threads a row.
  FCSA_DEVICE void normalise_keys() const {
    constexpr int kPieces = T.head_dim / 16;  // of a thread
    const int row = static_cast<int>(threadIdx.x) / 2, part = static_cast<int>(threadIdx.x) % 2;
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const uint4 w = ptx::load_shared_words(piece<C.block_n()>(shared.k_tile(keys.at), row, 2 * i + part));
      squares = add_squares<T.dtype>(w.x, add_squares<T.dtype>(w.y, squares));
      squares = add_squares<T.dtype>(w.z, add_squares<T.dtype>(w.w, squares));
    }
    squares += __shfl_xor_sync(0xffffffffu, squares, 1);
    const float r = inverse_norm(squares, args.eps);
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const unsigned at_piece = piece<C.block_n()>(shared.k_tile(keys.at), row, 2 * i + part);
      auto x = unpack_piece<T.dtype>(ptx::load_shared_words(at_piece));
#pragma unroll
      for (float& element : x.at) element *= r;
      hopper::store_shared_words(at_piece, pack_piece<T.dtype>(x));
    }
    sync_keys();
  }
  // What a warpgroup wrote of its keys is there for products.
  FCSA_DEVICE void sync_keys() const {
    hopper::fence_async();
    sync_warpgroup();
  }

  FCSA_DEVICE void load_operand(unsigned (&words)[kSteps][4], unsigned tile_address) const {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const uint4 x =
          ptx::load_matrices(piece<C.block_n()>(tile_address, warp_row() + lane % 16, 2 * step + lane / 16));
      words[step][0] = x.x, words[step][1] = x.y, words[step][2] = x.z, words[step][3] = x.w;
    }
  }

  // The next tile of keys, when its copies are there. False when there is none.
  FCSA_DEVICE bool open() {
    hopper::barrier_wait(shared.k_full(keys.at), keys.parity);
    const unsigned task = shared.task(keys.at);
    work.batch = static_cast<int>(ptx::load_shared_word(task));
    if (work.batch < 0) return false;
    work.kv_head = static_cast<int>(ptx::load_shared_word(task + 4));
    work.first_key = static_cast<int>(ptx::load_shared_word(task + 8));
    work.first_tile = static_cast<int>(ptx::load_shared_word(task + 12));
    work.tiles = static_cast<int>(ptx::load_shared_word(task + 16));
    work.start = static_cast<int>(ptx::load_shared_word(task + 20));
    visible[0] = is_visible(key_at(0));
    visible[1] = is_visible(key_at(1));
    hides = __any_sync(0xffffffffu, !visible[0] || !visible[1]);
    if constexpr (T.key_mask) clear_hidden(shared.k_tile(keys.at));
    if constexpr (C.normalises_queries(T)) normalise_keys();
    if constexpr (C.k_in_registers) {
      load_operand(k, shared.k_tile(keys.at));
      hopper::barrier_arrive(shared.k_free(keys.at));
    }
    hopper::barrier_wait(shared.v_full(keys.at), keys.parity);
    if constexpr (T.key_mask) clear_hidden(shared.v_tile(keys.at));
    if constexpr (C.v_in_registers) {
      load_operand(v, shared.v_tile(keys.at));
      arrive(shared.v_free(keys.at));
    }
#pragma unroll
    for (int i = 0; i < T.head_dim / 2; ++i) dk[i] = dv[i] = 0;
    hopper::pin(dk);  // here, not with products under way
    hopper::pin(dv);
    head = work.kv_head * group();
    tile = work.start;
    take_scale();
    return true;
  }

  FCSA_DEVICE void take_scale() {
    const float own = T.head_scale ? args.head_scale[head] : args.scale;
    scale = own * kLog2E;
    if constexpr (T.head_scale) factor = group() > 1 ? own : 1.0f;
  }

  // ---- products

  FCSA_DEVICE static int step_offset(int step, int rows) {  // in a descriptor
    return (step / kPanelSteps * rows * kRowBytes + step % kPanelSteps * 32) >> 4;
  }

  // Of this warpgroup's rows and a tile of queries.
  template <bool resident, int n>
  FCSA_DEVICE void issue_product(float (&d)[C.block_m / 2], const unsigned (&a)[n][4], unsigned owned,
                                 unsigned queries) const {
    const auto b = hopper::operand(queries, kRowBytes, 16);
    const auto rows = hopper::operand(owned + warpgroup * C.kRows * kRowBytes, kRowBytes, 16);
#pragma unroll
    for (int i = 0; i < C.block_m / 2; ++i) d[i] = 0;
    hopper::wgmma_fence();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const auto right = b + step_offset(step, C.block_m);
      if constexpr (resident) {
        hopper::Wgmma<C.block_m>::template registers<T.dtype, false>(d, a[step][0], a[step][1], a[step][2],
                                                                     a[step][3], right, step > 0);
      } else {
        hopper::Wgmma<C.block_m>::template smem<T.dtype>(d, rows + step_offset(step, C.block_n()), right,
                                                         step > 0);
      }
    }
    hopper::wgmma_commit();
  }

  // Queries that see no key, which hold anything: the first of a walk, or with a mask all.
  FCSA_DEVICE bool is_blind(int row, int stage, int of_tile) const {
    if constexpr (T.key_mask)
      return ptx::load_shared(shared.numbers_tile(stage) + 4 * row) == minus_infinity();
    return of_tile * C.block_m + row < -shift();
  }
  FCSA_DEVICE bool has_blind(int stage, int of_tile) const {
    if constexpr (!T.key_mask) return T.causal && is_blind(0, stage, of_tile);
    bool blind = false;
#pragma unroll
    for (int row = 0; row < C.block_m; row += 32) blind = blind || is_blind(row + lane, stage, of_tile);
    return __any_sync(0xffffffffu, blind);
  }
  // Of a tile of queries, by all consumers together.
  FCSA_DEVICE void clear_blind(unsigned tile_address, int stage, int of_tile) const {
    if (!has_blind(stage, of_tile)) return;
    const int threads = 128 * C.warpgroups, part = static_cast<int>(threadIdx.x) % 2;
#pragma unroll 1
    for (int row = static_cast<int>(threadIdx.x) / 2; row < C.block_m; row += threads / 2)
      if (is_blind(row, stage, of_tile)) clear_row<C.block_m>(tile_address, row, part);
    hopper::fence_async();
    hopper::named_barrier_sync(kClear, threads);
  }

  FCSA_DEVICE void take_queries(const Ring<C.stages>& from, int of_tile) const {
    hopper::barrier_wait(shared.q_full(from.at), from.parity);
    clear_blind(shared.q_tile(from.at), from.at, of_tile);
  }

  FCSA_DEVICE void issue_scores() {
    take_queries(at, tile);
    issue_product<C.k_in_registers != 0>(s, k, shared.k_tile(keys.at), shared.q_tile(at.at));
  }
  FCSA_DEVICE void issue_gradients() {
    hopper::barrier_wait(shared.dout_full(at.at), at.parity);
    clear_blind(shared.dout_tile(at.at), at.at, tile);
    issue_product<C.v_in_registers != 0>(dp, v, shared.v_tile(keys.at), shared.dout_tile(at.at));
  }

  // d += a times a tile of queries.
  FCSA_DEVICE void issue_sums(float (&d)[T.head_dim / 2], const unsigned (&a)[kSlices][4],
                              unsigned queries) const {
    const auto b = hopper::operand(queries, kRowBytes, C.block_m * kRowBytes);
    hopper::wgmma_fence();
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice)
      hopper::Wgmma<T.head_dim>::template registers<T.dtype, true>(
          d, a[slice][0], a[slice][1], a[slice][2], a[slice][3], b + slice * (16 * kRowBytes >> 4), 1);
    hopper::wgmma_commit();
  }

  // ---- P and dS

  // Numbers of a thread's queries of a tile, 8 i + 2 t and the one after: -lse (kind 0) or -delta. Loaded
  // before what they are needed for is waited for.
  struct Numbers {
    float2 of[kTiles];
  };
  FCSA_DEVICE Numbers take_numbers(int kind) const {
    const unsigned from = shared.numbers_tile(at.at) + 4 * (kind * C.block_m + 2 * t);
    Numbers numbers;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) numbers.of[i] = ptx::load_shared_2(from + 32 * i);
    return numbers;
  }
  FCSA_DEVICE static float pick(const float2& pair, int side) {
    return side ? pair.y : pair.x;
  }

  // S to P in place.
  template <bool edge>
  FCSA_DEVICE void probabilities(const Numbers& numbers) {
    int first_seen[2];  // of the tile's queries, less 2 t
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      first_seen[h] = T.causal ? key_at(h) - shift() - tile * C.block_m - 2 * t : -2 * C.block_m;
      if (!visible[h]) first_seen[h] = 2 * C.block_m;
    }
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float y = ptx::exp2_approximate(fmaf(s[4 * i + e], scale, pick(numbers.of[i], e % 2)));
        s[4 * i + e] = edge && 8 * i + e % 2 < first_seen[e / 2] ? 0.0f : y;
      }
    }
  }

  // dP to dS in place.
  FCSA_DEVICE void score_gradients(const Numbers& numbers) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      const unsigned* words = p[i / 2] + i % 2 * 2;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float2 pair = ptx::unpack<T.dtype>(words[e / 2]);
        const float probability = kUnpacks ? pick(pair, e % 2) : s[4 * i + e];
        const float minus_delta = pick(numbers.of[i], e % 2);
        dp[4 * i + e] = probability * (kShift == 0 ? dp[4 * i + e] + minus_delta
                                                   : fmaf(dp[4 * i + e], C.unshift(T), minus_delta));
      }
    }
  }

  FCSA_DEVICE static void pack(unsigned (&words)[kSlices][4], const float (&x)[C.block_m / 2]) {
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        words[slice][i] = ptx::pack<T.dtype>(x[8 * slice + 2 * i], x[8 * slice + 2 * i + 1]);
  }

  // For dQ: rows of queries, the 64 keys of a warpgroup are a panel.
  FCSA_DEVICE void store_scores() {
    hopper::barrier_wait(shared.scores_free(to.at), to.parity ^ 1u);
    const unsigned panel = shared.scores_tile(to.at) + warpgroup * C.block_m * 128;
    const unsigned row = (lane / 16 * 8 + lane % 8) * 128u + (2 * warp + lane / 8 % 2) * 16u;
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice)
      hopper::store_matrices_transposed(panel + slice * 16 * 128 + hopper::swizzled<128>(row), ds[slice]);
    hopper::fence_async();
    arrive(shared.scores_full(to.at));
    to.advance();
  }

  // ---- the walk

  FCSA_DEVICE void advance() {
    at.advance();
    if (++tile == work.first_tile + work.tiles) tile = work.first_tile;
    if (tile != work.start) return;
    ++head;
    if constexpr (T.head_scale)
      if (head < (work.kv_head + 1) * group()) take_scale();
  }

  // All threads have read numbers.
  FCSA_DEVICE void release(const Ring<C.stages>& done) const {
    hopper::barrier_arrive(shared.q_free(done.at));
    if (lane == 0) hopper::barrier_arrive(shared.dout_free(done.at));
  }

  FCSA_DEVICE void finish_sums() {
    hopper::pin(dv);
    hopper::pin(dk);
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice) {
      hopper::pin(p[slice]);
      hopper::pin(ds[slice]);
    }
  }

  // When S is there, of which at most `pending` later groups are under way.
  template <int pending>
  FCSA_DEVICE void take_scores(int whole) {
    const Numbers numbers = take_numbers(0);
    hopper::wgmma_wait<pending>();
    hopper::pin(s);
    if (tile < whole) {
      probabilities<true>(numbers);
    } else {
      probabilities<false>(numbers);
    }
    pack(p, s);
  }

  // Likewise dP.
  template <int pending>
  FCSA_DEVICE void take_gradients() {
    const Numbers numbers = take_numbers(1);
    hopper::wgmma_wait<pending>();
    hopper::pin(dp);
    score_gradients(numbers);
  }

  // dS to where dQ has it from, and to the operand of dK.
  FCSA_DEVICE void put_score_gradients() {
    pack(ds, dp);
    store_scores();
    if constexpr (T.head_scale) {
#pragma unroll
      for (float& x : dp) x *= factor;
      pack(ds, dp);
    }
  }

  // From S, which is under way, to dV and dK, which are under way at the end.
  FCSA_DEVICE void step(int whole) {
    if constexpr (C.early) issue_gradients();
    take_scores<C.early>(whole);
    if constexpr (!C.early) issue_gradients();
    issue_sums(dv, p, shared.dout_tile(at.at));
    take_gradients<1>();
    put_score_gradients();
    issue_sums(dk, ds, shared.q_tile(at.at));
  }

  // The first tile of a head of which all queries see all keys of this warp.
  FCSA_DEVICE int first_whole() const {
    if (hides) return work.first_tile + work.tiles;
    if constexpr (!T.causal) return 0;
    return (max(0, work.first_key + warp_row() + 15 - shift()) + C.block_m - 1) / C.block_m;
  }

  // Registers that products are writing must not meet others where paths join (C7517): S is under way
  // whenever the loop begins, and nothing else.
  FCSA_DEVICE void walk() {
    const int whole = first_whole();
    int left = group() * work.tiles;
    issue_scores();
    for (;;) {
      step(whole);
      const Ring<C.stages> done = at;
      if (--left == 0) break;
      advance();
      if constexpr (C.queued) {
        issue_scores();
        hopper::wgmma_wait<1>();
        finish_sums();
        release(done);
      } else {
        hopper::wgmma_wait<0>();
        finish_sums();
        release(done);
        issue_scores();
      }
    }
    hopper::wgmma_wait<0>();
    finish_sums();
    release(at);
    at.advance();
  }

  // ---- the end

  FCSA_DEVICE void write() {
    const RowPlace raw(args.k, args.k_strides, work.batch, work.kv_head);
    const RowPlace to_dk(args.dk, args.dk_strides, work.batch, work.kv_head);
    const RowPlace to_dv(args.dv, args.dv_strides, work.batch, work.kv_head);
    const float last_scale = !T.head_scale ? args.scale : group() > 1 ? 1.0f : args.head_scale[work.kv_head];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int key = key_at(h);
      const bool exists = key < args.nk;
      if constexpr (kShift != 0) multiply_row(dv, h, C.unshift(T));
      write_row<T>(dv, h, to_dv.row(key), exists, !visible[h]);
      if constexpr (T.l2norm_qk) {
        project_row<T>(dk, h, raw.row(min(key, args.nk - 1)), last_scale, args.eps);
      } else {
        multiply_row(dk, h, last_scale);
      }
      write_row<T>(dk, h, to_dk.row(key), exists, !visible[h]);
    }
  }

  FCSA_DEVICE void run() {
#pragma unroll 1
    for (; open(); keys.advance()) {
      walk();
      if constexpr (!C.k_in_registers) hopper::barrier_arrive(shared.k_free(keys.at));
      if constexpr (!C.v_in_registers) arrive(shared.v_free(keys.at));
      write();
    }
  }
};

}  // namespace fcsa::kernels::wgmma
