// The warpgroups of a backward block that own no keys: one computes dQ of each tile of queries from dS in
// shared memory and adds it to the sums in the workspace, of the other a thread starts all copies.
#pragma once

#include "kernels/common/reduce.cuh"
#include "kernels/wgmma/backward_layout.cuh"

namespace fcsa::kernels::wgmma {

FCSA_DEVICE int group_size(const Args& args) {
  return static_cast<int>(static_cast<unsigned>(args.heads) / static_cast<unsigned>(args.kv_heads));
}

template <Traits T, BackwardConfig C>
struct Copier {
  static constexpr int kPanels = C.panels(T), kChannels = C.panel_channels(T);
  static constexpr int kRowBytes = C.panel_row_bytes(T);

  const BackwardArgs& args;
  const TensorMaps& maps;
  const BackwardLayout<T, C> shared;

  // A tile of the keys' or of the queries' side, from row `first` on.
  template <int rows>
  FCSA_DEVICE void copy_rows(unsigned address, const void* map, unsigned barrier, int first, int head,
                             int batch) const {
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel)
      hopper::copy_box(address + panel * rows * kRowBytes, map, barrier, panel * kChannels, first, head,
                       batch);
  }

  FCSA_DEVICE void copy_queries(const KeyWork& work, int head, int tile, const char* numbers,
                                const Ring<C.stages>& to) const {
    const unsigned full = shared.q_full(to.at), dout_full = shared.dout_full(to.at);
    hopper::barrier_wait(shared.q_free(to.at), to.parity ^ 1u);
    hopper::barrier_expect(full, C.query_tile_bytes(T) + C.numbers_bytes());
    copy_rows<C.block_m>(shared.q_tile(to.at), maps.map[0], full, tile * C.block_m, head, work.batch);
    hopper::copy_bytes(shared.numbers_tile(to.at), numbers, full, C.numbers_bytes());
    hopper::barrier_wait(shared.dout_free(to.at), to.parity ^ 1u);
    hopper::barrier_expect(dout_full, C.query_tile_bytes(T));
    copy_rows<C.block_m>(shared.dout_tile(to.at), maps.map[3], dout_full, tile * C.block_m, head, work.batch);
  }

  // With K goes what the others need to know of the tile of keys, which may be none.
  FCSA_DEVICE void copy_keys(const KeyWork& work, const Ring<C.key_stages>& to) const {
    const unsigned task = shared.task(to.at), full = shared.k_full(to.at);
    hopper::barrier_wait(shared.k_free(to.at), to.parity ^ 1u);
    ptx::store_shared(task, static_cast<unsigned>(work.batch));
    ptx::store_shared(task + 4, static_cast<unsigned>(work.kv_head));
    ptx::store_shared(task + 8, static_cast<unsigned>(work.first_key));
    ptx::store_shared(task + 12, static_cast<unsigned>(work.first_tile));
    ptx::store_shared(task + 16, static_cast<unsigned>(work.tiles));
    ptx::store_shared(task + 20, static_cast<unsigned>(work.start));
    if (work.batch < 0) {
      hopper::barrier_arrive(full);
      return;
    }
    hopper::barrier_expect(full, C.key_tile_bytes(T));
    copy_rows<C.block_n()>(shared.k_tile(to.at), maps.map[1], full, work.first_key, work.kv_head, work.batch);
  }
  FCSA_DEVICE void copy_values(const KeyWork& work, const Ring<C.key_stages>& to) const {
    const unsigned full = shared.v_full(to.at);
    hopper::barrier_wait(shared.v_free(to.at), to.parity ^ 1u);
    hopper::barrier_expect(full, C.key_tile_bytes(T));
    copy_rows<C.block_n()>(shared.v_tile(to.at), maps.map[2], full, work.first_key, work.kv_head, work.batch);
  }

  FCSA_DEVICE void run() const {
    KeySchedule<T, C> schedule;
    Ring<C.key_stages> keys;
    Ring<C.stages> to;
#pragma unroll 1
    for (;; keys.advance()) {
      const KeyWork work = schedule.next(args);
      copy_keys(work, keys);
      if (work.batch < 0) return;
      const int group = group_size(args), first_head = work.kv_head * group;
      const char* numbers =
          static_cast<const char*>(args.workspace) + C.workspace(T, args).numbers +
          1LL * (work.batch * args.heads + first_head) * C.query_tiles(args) * C.numbers_bytes();
      bool values = false;
#pragma unroll 1
      for (int head = first_head; head < first_head + group; ++head) {
#pragma unroll 1
        for (int i = 0, tile = work.start; i < work.tiles; ++i, ++tile, to.advance()) {
          if (tile == work.first_tile + work.tiles) tile = work.first_tile;
          copy_queries(work, head, tile, numbers + tile * C.numbers_bytes(), to);
          if (!values) copy_values(work, keys);
          values = true;
        }
        numbers += C.query_tiles(args) * C.numbers_bytes();
      }
    }
  }
};

template <Traits T, BackwardConfig C>
struct Adder {
  static constexpr int kChannels = C.panel_channels(T), kRowBytes = C.panel_row_bytes(T);
  static constexpr int kWidth = C.dq_width(T), kSlices = T.head_dim / kWidth;
  static constexpr int kScoresRowBytes = 128;  // 64 keys of a query

  const BackwardArgs& args;
  const BackwardLayout<T, C> shared;
  int warp, lane;

  FCSA_DEVICE Adder(const BackwardArgs& a, const BackwardLayout<T, C>& layout)
      : args(a),
        shared(layout),
        warp(static_cast<int>(threadIdx.x) / 32 % 4),
        lane(static_cast<int>(threadIdx.x) % 32) {}

  // dQ of 64 queries and kWidth channels, over all keys of the block.
  FCSA_DEVICE void multiply(float (&dq)[kWidth / 2], unsigned scores, unsigned k_slice) const {
    const auto a = hopper::operand(scores, kScoresRowBytes, 16);
    const auto b = hopper::operand(k_slice, kRowBytes, C.block_n() * kRowBytes);
#pragma unroll
    for (int i = 0; i < kWidth / 2; ++i) dq[i] = 0;
    hopper::wgmma_fence();
#pragma unroll
    for (int step = 0; step < C.block_n() / 16; ++step)
      hopper::TransposedWgmma<kWidth>::template smem<T.dtype>(
          dq, a + ((step / 4 * C.block_m * kScoresRowBytes + step % 4 * 32) >> 4),
          b + step * (16 * kRowBytes >> 4), step > 0);
    hopper::wgmma_commit();
    hopper::wgmma_wait<0>();
    hopper::pin(dq);
  }

  FCSA_DEVICE void add_tile(float* sums, int buffer, unsigned k) const {
#pragma unroll 1
    for (int m = 0; m < C.block_m / 64; ++m) {
#pragma unroll 1
      for (int slice = 0; slice < kSlices; ++slice) {
        float dq[kWidth / 2];
        multiply(dq, shared.scores_tile(buffer) + m * 64 * kScoresRowBytes,
                 k + slice * (kWidth / kChannels) * C.block_n() * kRowBytes);
        if (m + 1 == C.block_m / 64 && slice + 1 == kSlices && lane == 0)
          hopper::barrier_arrive(shared.scores_free(buffer));
        add(sums + m * 64 * T.head_dim + slice * kWidth * 16, dq);
      }
    }
  }

  FCSA_DEVICE void add(float* to, const float (&dq)[kWidth / 2]) const {
    if constexpr (C.dq_bulk) {
      constexpr int kWarpBytes = C.dq_bytes(T) / 4;
      const unsigned place = shared.dq + warp * kWarpBytes;
      if (lane == 0) hopper::wait_until_stores_have_read();
      __syncwarp();
#pragma unroll
      for (int i = 0; i < kWidth / 8; ++i)
        hopper::store_shared_words(place + 512 * i + 16 * lane,
                                   {__float_as_uint(dq[4 * i]), __float_as_uint(dq[4 * i + 1]),
                                    __float_as_uint(dq[4 * i + 2]), __float_as_uint(dq[4 * i + 3])});
      hopper::fence_async();
      __syncwarp();
      if (lane == 0) {
        hopper::add_bytes(to, place, kWarpBytes);
        hopper::store_commit();
      }
    } else {
#pragma unroll
      for (int i = 0; i < kWidth / 8; ++i)
        ptx::add_global_4(to + 128 * i, {dq[4 * i], dq[4 * i + 1], dq[4 * i + 2], dq[4 * i + 3]});
    }
  }

  FCSA_DEVICE void run() const {
    Ring<C.score_buffers> from;
    Ring<C.key_stages> keys;
#pragma unroll 1
    for (;; keys.advance()) {
      hopper::barrier_wait(shared.k_full(keys.at), keys.parity);
      const unsigned task = shared.task(keys.at), k = shared.k_tile(keys.at);
      const int batch = static_cast<int>(ptx::load_shared_word(task));
      if (batch < 0) break;
      const int group = group_size(args);
      const int first_head = static_cast<int>(ptx::load_shared_word(task + 4)) * group;
      const int first_tile = static_cast<int>(ptx::load_shared_word(task + 12));
      const int tiles = static_cast<int>(ptx::load_shared_word(task + 16));
      const int start = static_cast<int>(ptx::load_shared_word(task + 20));
#pragma unroll 1
      for (int head = first_head; head < first_head + group; ++head) {
        const long long row = 1LL * (batch * args.heads + head) * C.padded_queries(args) + 16 * warp;
        float* sums = reinterpret_cast<float*>(static_cast<char*>(args.workspace) + C.workspace(T, args).dq) +
                      row * T.head_dim + 4 * lane;
#pragma unroll 1
        for (int i = 0, tile = start; i < tiles; ++i, ++tile, from.advance()) {
          if (tile == first_tile + tiles) tile = first_tile;
          hopper::barrier_wait(shared.scores_full(from.at), from.parity);
          add_tile(sums + 1LL * tile * C.block_m * T.head_dim, from.at, k);
        }
      }
      hopper::barrier_arrive(shared.k_free(keys.at));  // all threads have read the task
    }
    if (C.dq_bulk && lane == 0) hopper::wait_until_stores_have_read();  // shared memory must last until then
  }
};

}  // namespace fcsa::kernels::wgmma
