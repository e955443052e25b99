// The warpgroup that copies: one thread starts the copies, the other three warps compute the factors of the
// keys that have arrived, or normalise this block's share of all keys (normalised_keys.cuh).
#pragma once

#include "kernels/common/hopper.cuh"
#include "kernels/common/key_factors.cuh"
#include "kernels/common/ptx.cuh"
#include "kernels/wgmma/normalised_keys.cuh"
#include "kernels/wgmma/schedule.cuh"
#include "kernels/wgmma/shown_tiles.cuh"

namespace fcsa::kernels::wgmma {

constexpr int kFactorWarps = 3;

template <Traits T, ForwardConfig C>
struct Producer {
  using Layout = SharedLayout<T, C>;
  static constexpr int kPanels = ForwardConfig::panels(T);
  static constexpr int kChannels = ForwardConfig::panel_channels(T);
  static constexpr int kBox = C.block_n / C.cluster;  // rows that this block copies of a tile

  // Loads under way at a time, within the registers of the producer.
  static constexpr int kLoads = 4;

  const Args& args;
  const TensorMaps& maps;
  const Layout shared;
  const int rank;  // in the cluster

  FCSA_DEVICE void copy_tile(unsigned tile, const void* map, unsigned barrier, const Work& work,
                             int first_key) const {
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel) {
      const int first = C.cluster > 1 ? rank * kBox : 0;
      const unsigned to = tile + panel * C.panel_bytes(T) + first * ForwardConfig::panel_row_bytes(T);
      const int key = first_key + first;
      if constexpr (C.cluster > 1) {
        hopper::copy_box_multicast(to, map, barrier, (1u << C.cluster) - 1, panel * kChannels, key,
                                   work.kv_head, work.batch);
      } else {
        hopper::copy_box(to, map, barrier, panel * kChannels, key, work.kv_head, work.batch);
      }
    }
  }

  // With Q goes the task, which says what it is. A task without tiles of keys has no Q, and none follows it.
  // Where every consumer divided its way to that, 148 us became 135 without (H200, D = 128, N = 512, 129 with
  // two buffers of Q): the divisions stood between the last product of a tile and the first of the next.
  FCSA_DEVICE void put_task(const Work& work, const QueryCursor<C>& at) const {
    hopper::barrier_wait(shared.q_free(at.buffer()), at.parity() ^ 1u);
    const unsigned task = shared.task(at.slot());
    ptx::store_shared(task, static_cast<unsigned>(work.batch));
    ptx::store_shared(task + 4, static_cast<unsigned>(work.first_head));
    ptx::store_shared(task + 8, static_cast<unsigned>(work.first_row));
    ptx::store_shared(task + 12, static_cast<unsigned>(work.end_tile - work.first_tile));
    if constexpr (C.split > 1) ptx::store_shared(task + 16, static_cast<unsigned>(work.first_tile));
  }

  FCSA_DEVICE void copy_queries(const Work& work, int packed, const QueryCursor<C>& at) const {
    const unsigned full = shared.q_full(at.buffer());
    hopper::barrier_expect(full, C.warpgroups * ForwardConfig::q_bytes(T));
#pragma unroll
    for (int w = 0; w < C.warpgroups; ++w)
#pragma unroll
      for (int panel = 0; panel < kPanels; ++panel) {
        const unsigned to =
            shared.q_of(at.buffer(), w) + panel * ForwardConfig::kRows * ForwardConfig::panel_row_bytes(T);
        const int row = work.first_row + w * ForwardConfig::kRows;
        if constexpr (C.pack_heads) {
          hopper::copy_box(to, maps.map[0], full, panel * kChannels, 0, row / packed,
                           work.first_head / packed, work.batch);
        } else {
          hopper::copy_box(to, maps.map[0], full, panel * kChannels, row, work.first_head, work.batch);
        }
      }
  }

  FCSA_DEVICE void copy_keys(const Work& work, int tile, const KeyCursor<T, C>& at) const {
    hopper::barrier_wait(shared.k_free(at.stage), at.parity ^ 1u);
    if constexpr (C.uses_factors(T)) {
      ptx::store_shared(shared.ticket(at.stage), static_cast<unsigned>(work.batch));
      ptx::store_shared(shared.ticket(at.stage) + 4, static_cast<unsigned>(tile * C.block_n));
      if constexpr (Layout::kEarlyTicket) hopper::barrier_arrive(shared.ticket_full(at.stage));
    }
    hopper::barrier_expect(shared.k_full(at.stage), C.tile_bytes(T));
    copy_tile(shared.k_tile(at.stage), maps.map[1], shared.k_full(at.stage), work, tile * C.block_n);
  }

  // Each warpgroup's rows, where the TMA can: elsewhere the warpgroups do it.
  FCSA_DEVICE void copy_bias(const Work& work, int tile, BiasCursor<T, C>& at) const {
    if constexpr (T.bias != Bias::none) {
      if (!ForwardConfig::copies_bias(T, args)) return;
      hopper::barrier_wait(shared.bias_free(at.stage), at.parity ^ 1u);
      const unsigned full = shared.bias_full(at.stage);
      hopper::barrier_expect(full, C.bias_bytes(T));
      const int head = args.bias_heads == 1 ? 0 : work.first_head, batch = work.batch % args.bias_batch;
      constexpr int kRowBytes = C.bias_row_bytes(T), kElement = ForwardConfig::bias_element_bytes(T);
#pragma unroll 1
      for (int w = 0; w < C.warpgroups; ++w)
#pragma unroll
        for (int panel = 0; panel < C.bias_panels(T); ++panel)
          hopper::copy_box(shared.bias_tile(at.stage, w) + panel * ForwardConfig::kRows * kRowBytes,
                           maps.map[3], full, (tile * C.block_n * kElement + panel * kRowBytes) / 2,
                           work.first_row + w * ForwardConfig::kRows, head, batch);
      at.advance();
    }
  }

  FCSA_DEVICE void copy_values(const Work& work, int tile, const KeyCursor<T, C>& at) const {
    hopper::barrier_wait(shared.v_free(at.stage), at.parity ^ 1u);
    hopper::barrier_expect(shared.v_full(at.stage), C.tile_bytes(T));
    copy_tile(shared.v_tile(at.stage), maps.map[2], shared.v_full(at.stage), work, tile * C.block_n);
  }

  // The first keys of a tile of queries are copied while the consumers still need the queries before.
  FCSA_DEVICE void copy() const {
    Schedule<T, C> schedule(args, rank);
    KeyCursor<T, C> at;
    BiasCursor<T, C> bias_at;
    QueryCursor<C> q_at;
    Work work;
#pragma unroll 1
    for (; schedule.next(work); ++q_at.tile) {
      if (C.split > 1 && work.first_tile == work.end_tile) break;
      int tile = work.end_tile - 1;
      if constexpr (C.shares_keys(T)) wait_for_keys<T, C>(args, work.batch * args.kv_heads + work.kv_head);
      copy_keys(work, tile, at);
      put_task(work, q_at);
      copy_queries(work, schedule.packed(), q_at);
      copy_bias(work, tile, bias_at);
      copy_values(work, tile, at);
      at.advance();
#pragma unroll 1
      for (--tile; tile >= work.first_tile; --tile, at.advance()) {
        copy_keys(work, tile, at);
        copy_bias(work, tile, bias_at);
        copy_values(work, tile, at);
      }
    }
    finish(work, at, q_at);
  }

  // Tells the consumers, and the warps that compute factors, that there is no more.
  FCSA_DEVICE void finish(Work& work, const KeyCursor<T, C>& at, const QueryCursor<C>& q_at) const {
    if constexpr (C.split > 1) {
      work.end_tile = work.first_tile;  // its rows are to be written all the same
    } else {
      work = {};
    }
    put_task(work, q_at);
    hopper::barrier_arrive(shared.q_full(q_at.buffer()));
    if constexpr (C.uses_factors(T)) {
      hopper::barrier_wait(shared.k_free(at.stage), at.parity ^ 1u);
      ptx::store_shared(shared.ticket(at.stage), 0xffffffffu);
      hopper::barrier_arrive(shared.ticket_full(at.stage));
    }
  }

  // As copy(), by a whole warp: with a mask, of which tiles that it hides are not copied, nor computed. Where
  // it hides all of them one is, so that there is a task.
  FCSA_DEVICE void copy_shown() const {
    const bool copies = threadIdx.x == 0;
    Schedule<T, C> schedule(args, rank);
    ShownTiles<T, C> tiles_shown(args);
    KeyCursor<T, C> at;
    BiasCursor<T, C> bias_at;
    QueryCursor<C> q_at;
    Work work;
#pragma unroll 1
    for (; schedule.next(work); ++q_at.tile) {
      tiles_shown.take(work.batch);
      int group = (work.end_tile - 1) / 32, tiles = 0;
#pragma unroll 1
      for (int g = work.first_tile / 32; g < group; ++g) tiles += __popc(tiles_shown.of(work, g));
      unsigned shown = work.first_tile < work.end_tile ? tiles_shown.of(work, group) : 0;
      tiles += __popc(shown);
      if (C.split > 1 && tiles == 0) break;
      const bool none = tiles == 0;
      if (none) tiles = 1;
      const int packed = schedule.packed();
#pragma unroll 1
      for (int left = tiles; left > 0; --left, at.advance()) {
        while (!none && shown == 0) shown = tiles_shown.of(work, --group);
        const int bit = 31 - __clz(shown), tile = none ? work.first_tile : 32 * group + bit;
        shown &= ~(1u << (bit & 31));
        if (copies) {
          copy_keys(work, tile, at);
          if (left == tiles) {
            Work task = work;
            task.end_tile = task.first_tile + tiles;
            put_task(task, q_at);
            copy_queries(work, packed, q_at);
          }
          copy_bias(work, tile, bias_at);
          copy_values(work, tile, at);
        }
        __syncwarp();
      }
    }
    if (copies) finish(work, at, q_at);
  }

  // Sum of squares of half of every panel of a row of K, given where its first piece is in the first panel.
  // On the CUDA cores, which have time to spare: mma.sync (the diagonal of K K^T) takes the tensor cores from
  // wgmma.
  FCSA_DEVICE float half_row_squares(unsigned row) const {
    constexpr int kPanelPieces = kChannels / 16, kPieces = kPanels * kPanelPieces;  // of a half
    constexpr int kAtOnce = kPieces % kLoads == 0 ? kLoads : 1;
    float sum[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < kPieces; i += kAtOnce) {
      uint4 words[kAtOnce];
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j)
        words[j] = ptx::load_shared_words((row ^ (i + j) % kPanelPieces * 16) +
                                          (i + j) / kPanelPieces * C.panel_bytes(T));
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        if constexpr (T.dtype == DType::bf16) {
          const float2 squares = ptx::unpack<DType::bf16>(hopper::squares_of_pairs(words[j]));
          sum[0] += squares.x;
          sum[1] += squares.y;
        } else {
          sum[0] = add_squares<T.dtype>(words[j].x, add_squares<T.dtype>(words[j].y, sum[0]));
          sum[1] = add_squares<T.dtype>(words[j].z, add_squares<T.dtype>(words[j].w, sum[1]));
        }
      }
    }
    return sum[0] + sum[1];
  }

  // Keys of a stage, in turns of 32 of which a warp has every third, a key for each lane.
  static constexpr int kMaskTurns = (C.block_n + 32 * kFactorWarps - 1) / (32 * kFactorWarps);
  FCSA_DEVICE static int first_of_turn(int turn) {
    return 32 * (static_cast<int>(threadIdx.x) / 32 - 1 + kFactorWarps * turn);
  }

  // What no logit of a key exceeds, to the consumers; and which of this warp's keys are hidden, a bit each.
  FCSA_DEVICE void put_mask(unsigned (&hidden)[kMaskTurns], int batch, int first_key, int slot) const {
    const unsigned char* mask = args.key_mask + batch * args.key_mask_stride + first_key;
    bool visible[kMaskTurns], exists[kMaskTurns];
#pragma unroll
    for (int turn = 0; turn < kMaskTurns; ++turn) {
      const int key = first_of_turn(turn) + static_cast<int>(threadIdx.x) % 32;
      exists[turn] = key < C.block_n && first_key + key < args.nk;
      visible[turn] = exists[turn] && __ldg(mask + key) != 0;
    }
#pragma unroll
    for (int turn = 0; turn < kMaskTurns; ++turn) {
      const int key = first_of_turn(turn) + static_cast<int>(threadIdx.x) % 32;
      hidden[turn] = __ballot_sync(0xffffffffu, exists[turn] && !visible[turn]);
      const unsigned to = shared.factor_tile(slot) + 4 * (C.factor_floats(T) * (key + 1) - 1);
      const float most = visible[turn] ? -minus_infinity() : minus_infinity();
      if (key < C.block_n) ptx::store_shared(to, __float_as_uint(most));
    }
  }

  // V of hidden keys becomes 0 before a consumer reads it, a stage ahead as a rule: P of 0 times infinity or
  // NaN is NaN.
  FCSA_DEVICE void clear_values(const unsigned (&hidden)[kMaskTurns], const KeyCursor<T, C>& at) const {
    constexpr int kRowBytes = ForwardConfig::panel_row_bytes(T);
    const int lane = static_cast<int>(threadIdx.x) % 32;
    bool waited = false;
#pragma unroll
    for (int turn = 0; turn < kMaskTurns; ++turn) {
      unsigned left = hidden[turn];
      if (left != 0 && !waited) hopper::barrier_wait(shared.v_full(at.stage), at.parity), waited = true;
#pragma unroll 1
      for (; left != 0; left &= left - 1) {
        const int key = first_of_turn(turn) + __ffs(static_cast<int>(left)) - 1;
        const unsigned row = shared.v_tile(at.stage) + key * kRowBytes + 4 * lane;
#pragma unroll
        for (int panel = 0; panel < kPanels; ++panel)
          if (4 * lane < kRowBytes) ptx::store_shared(row + panel * C.panel_bytes(T), 0u);
      }
    }
    if (waited) hopper::fence_async();
    hopper::barrier_arrive(shared.v_clean(at.stage));
  }

  // Norms, and with a mask what it says.
  FCSA_DEVICE void compute_factors() const {
    const int warp = static_cast<int>(threadIdx.x) / 32 - 1, lane = static_cast<int>(threadIdx.x) % 32;
    constexpr int kRowBytes = ForwardConfig::panel_row_bytes(T);
    // Two lanes share a row. The halves of a panel that they read, of 4 rows, are in different banks.
    const unsigned start = lane / 2 * kRowBytes;
    const unsigned first = hopper::swizzled<kRowBytes>(start) ^ lane % 2 * (kRowBytes / 2);
    for (KeyCursor<T, C> at;; at.advance()) {
      hopper::barrier_wait(shared.v_free(at.stage), at.parity ^ 1u);
      hopper::barrier_wait(shared.k_full(at.stage), at.parity);
      const int batch = static_cast<int>(ptx::load_shared_word(shared.ticket(at.stage)));
      if (batch < 0) return;
      const int first_key = static_cast<int>(ptx::load_shared_word(shared.ticket(at.stage) + 4));
      const int slot = shared.factor_slot(at);
      unsigned hidden[kMaskTurns];
      if constexpr (T.key_mask) put_mask(hidden, batch, first_key, slot);
#pragma unroll 1
      for (int keys = 16 * warp; keys < C.block_n; keys += 16 * kFactorWarps) {
        float squares = half_row_squares(shared.k_tile(at.stage) + keys * kRowBytes + first);
        squares += __shfl_xor_sync(0xffffffffu, squares, 1);
        const float inverse = inverse_norm(squares, args.eps);
        const int key = keys + lane / 2;
        const unsigned to = shared.factor_tile(slot) + 4 * C.factor_floats(T) * key;
        const float factor = first_key + key < args.nk ? inverse : 0.0f;
        if (lane % 2 == 0) ptx::store_shared(to, __float_as_uint(factor));
      }
      hopper::barrier_arrive(shared.factors_full(slot));
      if constexpr (T.key_mask) clear_values(hidden, at);
    }
  }

  // What the mask says of the keys of a stage. False where there are none any more.
  FCSA_DEVICE bool pass_mask_on(unsigned (&hidden)[kMaskTurns], const KeyCursor<T, C>& at) const {
    hopper::barrier_wait(shared.ticket_full(at.stage), at.parity);
    const int batch = static_cast<int>(ptx::load_shared_word(shared.ticket(at.stage)));
    if (batch < 0) return false;
    const int slot = shared.factor_slot(at);
    put_mask(hidden, batch, static_cast<int>(ptx::load_shared_word(shared.ticket(at.stage) + 4)), slot);
    hopper::barrier_arrive(shared.factors_full(slot));
    return true;
  }

  // A mask alone: a tile ahead of the values that are cleared, where that tile is under way by then.
  FCSA_DEVICE void pass_mask_on() const {
    unsigned hidden[kMaskTurns] = {}, hidden_next[kMaskTurns] = {};
    KeyCursor<T, C> at;
    bool more = pass_mask_on(hidden, at);
    while (more) {
      const KeyCursor<T, C> next = at.next();
      hopper::barrier_wait(shared.v_free(at.stage), at.parity ^ 1u);
      const bool ahead =
          __any_sync(0xffffffffu, hopper::barrier_has_passed(shared.ticket_full(next.stage), next.parity));
      if (ahead) more = pass_mask_on(hidden_next, next);
      clear_values(hidden, at);
      if (!ahead) more = pass_mask_on(hidden_next, next);
#pragma unroll
      for (int turn = 0; turn < kMaskTurns; ++turn) hidden[turn] = hidden_next[turn];
      at = next;
    }
  }

  FCSA_DEVICE void run() const {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    if (warp == 0) {
      if constexpr (T.key_mask) {
        copy_shown();
      } else if (threadIdx.x == 0) {
        copy();
      }
    } else if constexpr (C.scales_scores(T)) {
      compute_factors();
    } else if constexpr (T.key_mask) {
      pass_mask_on();
    } else if constexpr (C.shares_keys(T)) {
      normalise_further_keys<T, C>(args, warp - 1, kFactorWarps);
    }
    __syncwarp();
  }
};

}  // namespace fcsa::kernels::wgmma
