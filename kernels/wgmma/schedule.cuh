// Which tile a block works on, where things are in shared memory, and turns through the stages.
#pragma once

#include "kernels/common/hopper.cuh"
#include "kernels/common/interface.h"
#include "kernels/wgmma/config.h"

namespace fcsa::kernels::wgmma {

// A place in a ring of stages, and the parity of the barriers' phase there.
template <int stages, bool pairs>
struct Cursor {
  int stage = 0;
  unsigned parity = 0;

  FCSA_DEVICE void advance() { *this = next(); }
  FCSA_DEVICE Cursor next() const {
    return stage + 1 == stages ? Cursor{0, parity ^ 1u} : Cursor{stage + 1, parity};
  }
};

// Likewise, and whether the pair of rounds is an odd one.
template <int stages>
struct Cursor<stages, true> {
  int stage = 0;
  unsigned parity = 0, odd_pair = 0;

  FCSA_DEVICE void advance() { *this = next(); }
  FCSA_DEVICE Cursor next() const {
    return stage + 1 == stages ? Cursor{0, parity ^ 1u, odd_pair ^ parity}
                               : Cursor{stage + 1, parity, odd_pair};
  }
};
template <Traits T, ForwardConfig C>
using KeyCursor = Cursor<C.stages, T.key_mask>;

// Of tiles of the bias; nothing where there is none.
template <bool bias, int stages>
struct OptionalCursor {};
template <int stages>
struct OptionalCursor<true, stages> : Cursor<stages, false> {};
template <Traits T, ForwardConfig C>
using BiasCursor = OptionalCursor<T.bias != Bias::none, C.bias_stages>;

// Shared memory of a block. Addresses are those of the shared window.
template <Traits T, ForwardConfig C>
struct SharedLayout {
  unsigned q, bias, k, v, ones, factors, barriers, tickets, tasks;

  FCSA_DEVICE explicit SharedLayout(unsigned start) {
    q = (start + 1023u) & ~1023u;
    bias = q + C.q_buffers * C.warpgroups * ForwardConfig::q_bytes(T);
    k = bias + C.bias_stages * C.bias_bytes(T);
    v = k + C.stages * C.tile_bytes(T);
    ones = v + C.stages * C.tile_bytes(T);
    factors = ones + C.ones_bytes(T);
    barriers = factors + C.factor_slots(T) * C.factor_bytes(T);
    tickets = barriers + 8 * (C.barriers() + C.barriers() % 2);
    tasks = tickets + 8 * (C.stages + C.stages % 2);
  }
  FCSA_DEVICE unsigned q_of(int buffer, int warpgroup) const {
    return q + (buffer * C.warpgroups + warpgroup) * ForwardConfig::q_bytes(T);
  }
  FCSA_DEVICE unsigned k_tile(int stage) const { return k + stage * C.tile_bytes(T); }
  FCSA_DEVICE unsigned v_tile(int stage) const { return v + stage * C.tile_bytes(T); }
  FCSA_DEVICE unsigned bias_tile(int stage, int warpgroup) const {
    return bias + (stage * C.warpgroups + warpgroup) * (C.bias_bytes(T) / C.warpgroups);
  }
  FCSA_DEVICE unsigned factor_tile(int slot) const { return factors + slot * C.factor_bytes(T); }
  // What is in a stage, for the warps that compute factors: batch and first key, 32 bits each; -1: no more.
  FCSA_DEVICE unsigned ticket(int stage) const { return tickets + 8 * stage; }
  // What consumers need to know of a piece of work, 32 bits each: batch, first head, first row, how many
  // tiles of keys; where keys are split, the first of them.
  FCSA_DEVICE unsigned task(int slot) const { return tasks + C.kTaskBytes * slot; }
  // With a mask: V has no values of hidden keys any more.
  FCSA_DEVICE unsigned v_clean(int stage) const { return tasks + C.kTaskBytes * C.kTaskSlots + 24 * stage; }
  // The ticket is there: where factors come of a mask alone, whose bytes take as long to arrive as K does,
  // before K is.
  static constexpr bool kEarlyTicket = T.key_mask && !C.scales_scores(T);
  FCSA_DEVICE unsigned ticket_full(int stage) const {
    return kEarlyTicket ? v_clean(stage) + 8 : k_full(stage);
  }
  // full: copied; free: read by all consumers. Factors are free when V is; with a mask two rounds later, when
  // nobody who lets a key of this round go can still be reading them.
  FCSA_DEVICE unsigned q_full(int buffer) const { return barriers + 16 * buffer; }
  FCSA_DEVICE unsigned q_free(int buffer) const { return barriers + 16 * buffer + 8; }
  FCSA_DEVICE unsigned k_full(int stage) const { return of_stage(stage, 0); }
  FCSA_DEVICE unsigned k_free(int stage) const { return of_stage(stage, 1); }
  FCSA_DEVICE unsigned v_full(int stage) const { return of_stage(stage, 2); }
  FCSA_DEVICE unsigned v_free(int stage) const { return of_stage(stage, 3); }
  FCSA_DEVICE unsigned bias_full(int stage) const {
    return tasks + C.kTaskBytes * C.kTaskSlots + (T.key_mask ? 24 * C.stages : 0) + 16 * stage;
  }
  FCSA_DEVICE unsigned bias_free(int stage) const { return bias_full(stage) + 8; }
  FCSA_DEVICE static int factor_slot(const KeyCursor<T, C>& of) {
    return T.key_mask && of.parity != 0 ? of.stage + C.stages : of.stage;
  }
  FCSA_DEVICE unsigned factors_full(int slot) const {
    return !T.key_mask || slot < C.stages ? of_stage(slot, 4) : v_clean(slot - C.stages) + 16;
  }
  FCSA_DEVICE static unsigned factors_parity(const KeyCursor<T, C>& of) {
    if constexpr (T.key_mask) return of.odd_pair;
    return of.parity;
  }

 private:
  FCSA_DEVICE unsigned of_stage(int stage, int barrier) const {
    return barriers + 16 * C.q_buffers + 40 * stage + 8 * barrier;
  }
};

// Likewise for the tiles of Q and the tasks that come with them, by the tile's number among the block's.
template <ForwardConfig C>
struct QueryCursor {
  unsigned tile = 0;

  FCSA_DEVICE int buffer() const { return static_cast<int>(tile % C.q_buffers); }
  FCSA_DEVICE unsigned parity() const { return tile / C.q_buffers % 2; }
  FCSA_DEVICE int slot() const { return static_cast<int>(tile % C.kTaskSlots); }
  FCSA_DEVICE QueryCursor before() const { return {tile - 1}; }
};

// One tile of queries and the tiles of keys that any of its rows (in any block of the cluster) sees; at least
// one, where they see none as well. Where the keys are split, this block's share of them, which may be none.
struct Work {
  int batch = 0, first_head = 0, kv_head = 0;
  int first_row = 0;                 // of this block, in rows of `packed` heads
  int first_tile = 0, end_tile = 0;  // tiles of keys first_tile to end_tile - 1
};

// The work of a block, in the order in which all blocks together go through it. Heads are worked on in
// groups, so that their keys stay in the L2 cache; with a bias a head's batches are worked on together, so
// that those which share it read it once. A persistent grid shares the work out beforehand, which is
// fair only where pieces are alike: causal tiles are worked on in pairs, the longest of a head with the
// shortest and so on, and after all pairs those that are left in the middle of their heads (before them it
// was 5% slower at 11 tiles of a head, H200); or from the longest to the shortest. Nothing but the round is
// kept from tile to tile: registers are dearer than computing the rest again.
template <Traits T, ForwardConfig C>
class Schedule {
 public:
  FCSA_DEVICE Schedule(const Args& args, int rank) : args_(args), rank_(rank) {}

  FCSA_DEVICE int packed() const { return C.packed(args_); }

  // The next tile; false when there is none left.
  FCSA_DEVICE bool next(Work& work) {
    const int workers = static_cast<int>(gridDim.x) / C.cluster_blocks();
    const int worker = static_cast<int>(blockIdx.x) / C.cluster_blocks();
    int row_blocks = static_cast<int>(C.row_blocks(args_));
    int head_tiles = static_cast<int>(C.head_tiles(args_));
    // Unknown to the compiler, which would keep reciprocals of divisors in registers from tile to tile.
    asm volatile("" : "+r"(row_blocks), "+r"(head_tiles));
    const int units = kPairs ? row_blocks / 2 : row_blocks;
    for (;;) {
      const int index = (kPairs ? round_ / 2 : round_) * workers + worker;
      const bool second = kPairs && round_ % 2 == 1;
      ++round_;
      if (const int left = index - units * head_tiles; left >= 0) {
        if (!kPairs || row_blocks % 2 == 0 || left >= head_tiles) return false;
        if (second) continue;
        place(units, left, work);
        return true;
      }
      const int group = C.head_group != 0 ? min(C.head_group, head_tiles) : head_tiles;
      const int first = index / (units * group) * group, inside = index - first * units;
      const int heads = min(group, head_tiles - first), unit = inside / heads;
      const int block = !T.causal || second ? unit : row_blocks - 1 - unit;
      place(block, first + inside % heads, work);
      return true;
    }
  }

 private:
  static constexpr bool kPairs = C.pairs(T);

  FCSA_DEVICE void place(int block, int head_tile, Work& work) const {
    const int heads_of_batch = args_.heads / packed();
    if constexpr (T.bias != Bias::none) {
      work.batch = head_tile % args_.batch;
      work.first_head = head_tile / args_.batch * packed();
    } else {
      work.batch = head_tile / heads_of_batch;
      work.first_head = head_tile % heads_of_batch * packed();
    }
    work.kv_head = work.first_head / (args_.heads / args_.kv_heads);
    const int first_row = block * C.cluster * C.block_m();
    work.first_row = first_row + (C.cluster > 1 ? rank_ * C.block_m() : 0);
    int keys = args_.nk;
    if constexpr (T.causal) {
      const int last_row = first_row + C.cluster * C.block_m() - 1;
      const int last_query = min(args_.nq - 1, C.pack_heads ? last_row / packed() : last_row);
      keys = min(args_.nk, max(0, last_query + 1 + args_.nk - args_.nq));
    }
    const int tiles = max(1, (keys + C.block_n - 1) / C.block_n);
    work.first_tile = C.split > 1 ? tiles * rank_ / C.split : 0;
    work.end_tile = C.split > 1 ? tiles * (rank_ + 1) / C.split : tiles;
  }

  const Args& args_;
  int rank_, round_ = 0;
};

}  // namespace fcsa::kernels::wgmma
