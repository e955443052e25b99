// Where things are in the shared memory of a backward block, and which keys it works on.
#pragma once

#include "kernels/common/hopper_transposed.cuh"
#include "kernels/wgmma/backward_config.h"

namespace fcsa::kernels::wgmma {

// Addresses are those of the shared window. full: copied or written; free: read by all who need it.
template <Traits T, BackwardConfig C>
struct BackwardLayout {
  unsigned k, v, q, dout, scores, dq, numbers, barriers, tasks;

  FCSA_DEVICE explicit BackwardLayout(unsigned start) {
    k = (start + 1023u) & ~1023u;
    v = k + C.key_stages * C.key_tile_bytes(T);
    q = v + C.key_stages * C.key_tile_bytes(T);
    dout = q + C.stages * C.query_tile_bytes(T);
    scores = dout + C.stages * C.query_tile_bytes(T);
    dq = scores + C.score_buffers * C.scores_bytes();
    numbers = dq + C.dq_bytes(T);
    barriers = numbers + C.stages * C.numbers_bytes();
    tasks = barriers + 8 * (C.barriers() + C.barriers() % 2);
  }
  FCSA_DEVICE unsigned k_tile(int stage) const { return k + stage * C.key_tile_bytes(T); }
  FCSA_DEVICE unsigned v_tile(int stage) const { return v + stage * C.key_tile_bytes(T); }
  FCSA_DEVICE unsigned q_tile(int stage) const { return q + stage * C.query_tile_bytes(T); }
  FCSA_DEVICE unsigned dout_tile(int stage) const { return dout + stage * C.query_tile_bytes(T); }
  FCSA_DEVICE unsigned scores_tile(int buffer) const { return scores + buffer * C.scores_bytes(); }
  FCSA_DEVICE unsigned numbers_tile(int stage) const { return numbers + stage * C.numbers_bytes(); }
  FCSA_DEVICE unsigned task(int stage) const { return tasks + C.kTaskBytes * stage; }
  FCSA_DEVICE unsigned k_full(int stage) const { return barriers + 32 * stage; }
  FCSA_DEVICE unsigned k_free(int stage) const { return k_full(stage) + 8; }
  FCSA_DEVICE unsigned v_full(int stage) const { return k_full(stage) + 16; }
  FCSA_DEVICE unsigned v_free(int stage) const { return k_full(stage) + 24; }
  FCSA_DEVICE unsigned q_full(int stage) const { return barriers + 32 * (C.key_stages + stage); }
  FCSA_DEVICE unsigned q_free(int stage) const { return q_full(stage) + 8; }
  FCSA_DEVICE unsigned dout_full(int stage) const { return q_full(stage) + 16; }
  FCSA_DEVICE unsigned dout_free(int stage) const { return q_full(stage) + 24; }
  FCSA_DEVICE unsigned scores_full(int buffer) const {
    return barriers + 32 * (C.key_stages + C.stages) + 16 * buffer;
  }
  FCSA_DEVICE unsigned scores_free(int buffer) const { return scores_full(buffer) + 8; }
};

// A place in a ring, and the parity of the barriers' phase there.
template <int size>
struct Ring {
  int at = 0;
  unsigned parity = 0;

  FCSA_DEVICE void advance() {
    if (++at < size) return;
    at = 0;
    parity ^= 1u;
  }
};

// A tile of keys and the tiles of queries of each head that see one of them.
struct KeyWork {
  int batch = -1, kv_head = 0;  // batch -1: none
  int first_key = 0;
  int first_tile = 0, tiles = 0;
  int start = 0;  // the tile that a walk begins with; after the last it goes on with the first
};

// Heads are worked on in groups, so that their queries and dQ stay in the L2 cache; of a group's tiles first
// those of the first keys, which have the longest walks where causal.
template <Traits T, BackwardConfig C>
FCSA_DEVICE KeyWork key_work(const Args& args, int index) {
  const int key_tiles = C.key_tiles(args), all = args.batch * args.kv_heads;
  KeyWork work;
  if (index >= key_tiles * all) return work;
  const int most = C.head_group == 0 ? all : min(C.head_group, all);
  const int first = index / (most * key_tiles) * most, size = min(most, all - first);
  const int inside = index - first * key_tiles, flat = first + inside % size;
  work.batch = flat / args.kv_heads;
  work.kv_head = flat % args.kv_heads;
  work.first_key = inside / size * C.block_n();
  const int queries = C.query_tiles(args);
  if constexpr (T.causal)
    work.first_tile = min(queries - 1, max(0, work.first_key - (args.nk - args.nq)) / C.block_m);
  work.tiles = queries - work.first_tile;
  // Blocks of a head that add to dQ of the same queries at the same time wait for each other in the L2 cache.
  // Causal walks begin apart by themselves.
  work.start = work.first_tile;
  if constexpr (!T.causal) work.start += static_cast<int>(1LL * (inside / size) * work.tiles / key_tiles);
  return work;
}

// Which a block works on one after the other. A static share alternates in direction, so that none has the
// longest walks of all rounds.
template <Traits T, BackwardConfig C>
struct KeySchedule {
  int round = 0;
  int asked = 0;  // on demand: the answer, which is waited for when it is used

  FCSA_DEVICE static unsigned* counter(const BackwardArgs& args) {
    return reinterpret_cast<unsigned*>(static_cast<char*>(args.workspace) + C.workspace(T, args).counter);
  }
  FCSA_DEVICE void ask(const BackwardArgs& args) {
    if constexpr (C.schedule == kOnDemand) asked = static_cast<int>(gridDim.x + atomicAdd(counter(args), 1u));
  }
  FCSA_DEVICE KeyWork next(const BackwardArgs& args) {
    const int workers = static_cast<int>(gridDim.x), worker = static_cast<int>(blockIdx.x);
    int index = worker;
    if (round > 0) {
      if constexpr (C.schedule == kOneEach) return {};
      if constexpr (C.schedule == kOnDemand) index = asked;
      if constexpr (C.schedule == kInTurn)
        index = round * workers + (T.causal && round % 2 == 1 ? workers - 1 - worker : worker);
    }
    ++round;
    ask(args);
    return key_work<T, C>(args, index);
  }
};

}  // namespace fcsa::kernels::wgmma
