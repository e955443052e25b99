// A warpgroup that computes 64 rows of O: S = Q K^T by wgmma, P in registers, O += P V by wgmma.
#pragma once

#include "kernels/common/exp2_polynomial.cuh"
#include "kernels/common/hopper.cuh"
#include "kernels/common/logits.cuh"
#include "kernels/common/partial_row.cuh"
#include "kernels/common/ptx.cuh"
#include "kernels/wgmma/schedule.cuh"

namespace fcsa::kernels::wgmma {

constexpr int kFirstTurn = 1;       // named barriers 1 to 4: whose turn it is to issue products
constexpr int kConsumers = 5;       // all warpgroups that compute
constexpr int kFirstWarpgroup = 8;  // 8 to 11: one warpgroup

template <Traits T, ForwardConfig C>
struct Consumer {
  using Layout = SharedLayout<T, C>;
  static constexpr bool kFixed = T.softmax == Softmax::fixed_bound;
  static constexpr bool kNormalise = ForwardConfig::normalises(T);
  static constexpr bool kScaleQueries = kNormalise && (C.scale_queries || C.q_in_registers);
  static constexpr bool kFactors = C.uses_factors(T);
  static constexpr bool kBias = T.bias != Bias::none;
  // The scale is multiplied in where the maximum is subtracted, an instruction less for each logit.
  static constexpr bool kLateScale = !kFixed && !kBias && !kScaleQueries && !C.scales_scores(T);
  static constexpr int kRowBytes = ForwardConfig::panel_row_bytes(T);
  static constexpr int kPanelSteps = ForwardConfig::panel_channels(T) / 16;
  static constexpr int kSteps = T.head_dim / 16;                        // of Q K^T
  static constexpr int kSlices = C.block_n / 16;                        // of P V
  static constexpr int kGroup = C.slice == 0 ? kSlices : C.slice / 16;  // slices whose P V is issued together
  // Keys past the end, and those hidden from some rows, are found by comparing, in the tiles that have such;
  // with a mask the end is part of the factors.
  static constexpr bool kEdges = T.causal || !T.key_mask;
  // Where no row sees the second half of the first tile of keys of a walk, its P V leaves that out: causal 2
  // to 4% faster at D = 128 (H200), and not only by what is left out: with the code for it ptxas finds that
  // addresses are uniform (see Uniform), which is why full walks, whose keys end somewhere too, have it as
  // well (2 to 5%). S of half the width as well was slower than without any of it: registers don't suffice.
  static constexpr bool kHalves =
      kEdges && C.overlap == kExponentials && C.split == 1 && (C.block_n > ForwardConfig::kRows);
  static constexpr int kHalf = (kSlices + 1) / 2;  // in slices
  // With a mask tiles are left out: which one is in a stage, its ticket says.
  static constexpr bool kTickets = T.key_mask && (T.causal || T.bias != Bias::none);
  // A logit may exceed the running maximum by this before O is rescaled: P stays below 2^8, and a rescaling
  // is rare.
  static constexpr float kHeadroom = 8.0f;

  const Args& args;
  const TensorMaps& maps;
  const Layout shared;
  const int rank, warpgroup, warp;
  int lane, g, t;
  const float offset;
  // Of the tile whose P V is to be issued next.
  KeyCursor<T, C> at;
  // Of the tile whose softmax comes next.
  [[no_unique_address]] BiasCursor<T, C> bias_at;
  QueryCursor<C> queries{~0u};  // the current tile of queries
  int first_tile = 0;           // of keys, where these are split: tiles are counted from it
  bool half = false;            // of the first tile of keys is seen
  int first_key = 0;            // with tickets: of the tile whose softmax comes next

  // Of the current tile of queries, for the two rows of a thread.
  float row_scale[2], row_sum[2], row_max[2], rescale[2];
  bool raised;
  unsigned q[C.q_in_registers ? kSteps : 1][4];
  float s[C.block_n / 2];
  unsigned p[kSlices][4];
  float o[C.output_columns(T) / 2];  // with tensor_sums the sums of the rows come last

  FCSA_DEVICE Consumer(const Args& arguments, const TensorMaps& tensor_maps, const Layout& layout,
                       int cluster_rank)
      : args(arguments),
        maps(tensor_maps),
        shared(layout),
        rank(cluster_rank),
        // By a shuffle, so that the compiler knows that all lanes agree and keeps them in uniform registers.
        warpgroup(__shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128 - 1, 0)),
        warp(__shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32 % 4, 0)),
        offset(kFixed ? bound_offset_log2(T.dtype, arguments.bound) : 0.0f) {}

  // In every block whose copies go here. K, and V without factors, are read by products alone, which end for
  // the warpgroup as a whole: one thread says so for it, or for its warp. Factors, which go with V, are read
  // by every thread, and every thread says so.
  FCSA_DEVICE void release_keys(const KeyCursor<T, C>& from) const {
    release(shared.k_free(from.stage), threadIdx.x % 128);
  }
  FCSA_DEVICE void release_values() {
    const unsigned barrier = shared.v_free(at.stage);
    if constexpr (!kFactors) {
      __syncwarp();
      release(barrier, threadIdx.x % 32);
    } else if constexpr (C.cluster > 1) {
#pragma unroll
      for (int block = 0; block < C.cluster; ++block) hopper::barrier_arrive_remote(barrier, block);
    } else {
      hopper::barrier_arrive(barrier);
    }
    at.advance();
  }
  FCSA_DEVICE static void release(unsigned barrier, unsigned thread) {
    if constexpr (C.cluster > 1) {
      if (thread < C.cluster) hopper::barrier_arrive_remote(barrier, thread);
    } else {
      if (thread == 0) hopper::barrier_arrive(barrier);
    }
  }
  FCSA_DEVICE void sync_warpgroup() const {
    hopper::named_barrier_sync(kFirstWarpgroup + warpgroup, 128);
  }

  // Turns of the warpgroups at the tensor cores, so that one's products run under the others' exponentials.
  FCSA_DEVICE void wait_turn() const {
    if constexpr (C.ping_pong) hopper::named_barrier_sync(kFirstTurn + warpgroup, 256);
  }
  FCSA_DEVICE void pass_turn() const {
    if constexpr (C.ping_pong) hopper::named_barrier_arrive(kFirstTurn + (warpgroup + 1) % C.warpgroups, 256);
  }

  // Rows of a tile of queries: [first_row, first_row + 64) of the rows of `packed` heads from first_head on.
  struct Rows {
    int batch, first_head, first_row, packed;

    FCSA_DEVICE int query_of(int row) const { return C.pack_heads ? row / packed : row; }
    FCSA_DEVICE int head_of(int row) const { return C.pack_heads ? first_head + row % packed : first_head; }
    FCSA_DEVICE int key_limit(const Args& args, int row) const {  // keys from here on are hidden
      return T.causal ? min(args.nk, max(0, query_of(row) + 1 + args.nk - args.nq)) : args.nk;
    }
  };

  // Not kept: in the loop over keys registers are scarce.
  FCSA_DEVICE Rows rows(const QueryCursor<C>& of) const {
    const uint4 task = ptx::load_shared_words(shared.task(of.slot()));
    return {static_cast<int>(task.x), static_cast<int>(task.y),
            static_cast<int>(task.z) + ForwardConfig::kRows * warpgroup, C.packed(args)};
  }
  FCSA_DEVICE int row_at(const Rows& tile, int half) const {
    return tile.first_row + 16 * warp + 8 * half + g;
  }

  FCSA_DEVICE void clear() {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      row_sum[h] = 0;
      row_max[h] = minus_infinity();
    }
#pragma unroll
    for (int i = 0; i < C.output_columns(T) / 2; ++i) o[i] = 0;
  }

  // Rows of Q of this warp: where a row starts, and what the place of a piece of 16 bytes in it is combined
  // with. The pattern repeats every 8 rows.
  FCSA_DEVICE unsigned query_row(int row, const QueryCursor<C>& of) const {
    return shared.q_of(of.buffer(), warpgroup) + (16 * warp + row) * kRowBytes;
  }
  FCSA_DEVICE static unsigned permuted(int row, int piece) {
    const unsigned start = row % 8 * kRowBytes;
    return start ^ hopper::swizzled<kRowBytes>(start) ^ piece * 16;
  }
  // From the start of a row; `permutation` is that of its piece 0 or 1.
  FCSA_DEVICE static unsigned step_offset(int step, unsigned permutation) {
    return step / kPanelSteps * ForwardConfig::kRows * kRowBytes + (step % kPanelSteps * 32 ^ permutation);
  }

  // Where a lane has its part of 16 channels of the rows of this warp for ldmatrix and stmatrix.
  FCSA_DEVICE unsigned matrices(int step, const QueryCursor<C>& of) const {
    return query_row(lane % 16, of) + step_offset(step, permuted(lane, lane / 16));
  }
  FCSA_DEVICE uint4 load_queries(int step) const {
    return ptx::load_matrices(matrices(step, queries));
  }

  // scale * log2(e), and with normalisation over |q|, of the two rows of a thread: a factor of S, or of Q
  // itself, which is then rounded like normalised rows would be. `load` gives the words of a step.
  template <typename Load>
  FCSA_DEVICE void take_scale(Load load);
  FCSA_DEVICE void take_scale();

  FCSA_DEVICE uint4 scaled(const uint4& a) const;

  // Q of a tile, where it is to be: scaled, in registers, or as it has arrived.
  FCSA_DEVICE void prepare_queries();

  FCSA_DEVICE void release_queries(const QueryCursor<C>& of) const {
    if (threadIdx.x % 128 == 0) hopper::barrier_arrive(shared.q_free(of.buffer()));
  }
  // All scores of the current tile of queries are there.
  FCSA_DEVICE void leave_queries() const {
    if constexpr (!C.q_in_registers && !C.tma_store) release_queries(queries);
  }

  // The descriptor of an operand, in uniform registers where `uniform` says so.
  FCSA_DEVICE static unsigned long long uniform(unsigned long long operand);

  // S = Q K^T, asynchronously.
  FCSA_DEVICE void issue_scores(const KeyCursor<T, C>& keys);

  // V of the current tile, and of 16 of its keys.
  FCSA_DEVICE unsigned long long values() const;
  FCSA_DEVICE static unsigned long long slice_of(unsigned long long v, int slice);

  // O += P V for `count` slices of 16 keys, asynchronously.
  template <int count>
  FCSA_DEVICE void issue_values(unsigned long long v, int first);

  // What a slice needs of its keys, two keys of a thread, twice: what S is multiplied with and what is added
  // to it, and what logits may be at most by the mask. Loaded a slice ahead, the first while S is computed:
  // products are issued between slices, and the compiler doesn't move loads across those.
  struct Factors {
    float4 of[2];
    float2 most[2];
  };
  Factors factors;
  FCSA_DEVICE Factors load_factors(int slice, int slot) const;

  // The bias of the tile whose softmax comes next, in shared memory. load_bias: of two keys of a thread.
  FCSA_DEVICE void wait_bias(int tile);
  FCSA_DEVICE void copy_bias(int tile) const;
  FCSA_DEVICE float2 load_bias(int key, int half) const;
  FCSA_DEVICE void release_bias();

  // S of a slice of a tile, whose factors are those loaded last, to logits, hidden ones -inf.
  template <bool edge>
  FCSA_DEVICE void logits(int slice, int tile, int slot);

  // Logits to P in place, and the row sums.
  FCSA_DEVICE void exponentials(int slice);

  FCSA_DEVICE void pack(int slice) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      p[slice][i] = ptx::pack<T.dtype>(s[8 * slice + 2 * i], s[8 * slice + 2 * i + 1]);
  }

  // S of rows whose scale is not positive, so that it and its scale's magnitude (or 1) give the logits: the
  // largest logit is then that of the largest S.
  FCSA_DEVICE void make_scale_positive();

  // Subtracts the running maximum, raised where a logit is further above it than the headroom; then O is to
  // be rescaled.
  FCSA_DEVICE void subtract_maximum();

  // While no product is adding to O.
  FCSA_DEVICE void rescale_output();

  FCSA_DEVICE void wait_factors(const KeyCursor<T, C>& keys) const {
    hopper::barrier_wait(shared.factors_full(shared.factor_slot(keys)), shared.factors_parity(keys));
  }

  // Waits for S (and at most `pending` later products), and lets K go.
  template <int pending>
  FCSA_DEVICE void take_scores(const KeyCursor<T, C>& keys) {
    if constexpr (kFactors) wait_factors(keys);
    factors = load_factors(0, shared.factor_slot(keys));
    hopper::wgmma_wait<pending>();
    hopper::pin(s);
    release_keys(keys);
  }

  FCSA_DEVICE void finish_values() {
    hopper::wgmma_wait<0>();
    hopper::pin(o);
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice) hopper::pin(p[slice]);
    release_values();
  }

  FCSA_DEVICE void wait_values() const {
    hopper::barrier_wait(shared.v_full(at.stage), at.parity);
    if constexpr (T.key_mask) hopper::barrier_wait(shared.v_clean(at.stage), at.parity);
  }

  template <bool edge>
  FCSA_DEVICE void softmax(int tile, int slot);

  FCSA_DEVICE void pack_all() {
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice) pack(slice);
  }

  // Two tiles at a time: S of this one and P V of the one before (to its right) are issued together, and this
  // one's exponentials run under that P V. ptxas moves many of them behind the wait for P V, among the
  // conversions. To force them in front of it (by a store that depends on the row sums and never happens) was
  // 10% to 20% slower on an H100, at head dimensions 64 and 128.
  template <bool edge, int slices = kSlices>  // of the tile before
  FCSA_DEVICE void overlapped_step(int tile) {
    const auto keys = at.next();
    if constexpr (kTickets && kBias) read_ticket(keys);
    issue_scores(keys);
    wait_values();
    issue_values<slices>(values(), 0);
    pass_turn();
    take_scores<1>(keys);
    softmax<edge>(tile, shared.factor_slot(keys));
    finish_values();
    rescale_output();
    pack_all();
  }

  // With tickets, while K is there.
  FCSA_DEVICE void read_ticket(const KeyCursor<T, C>& keys) {
    hopper::barrier_wait(shared.k_full(keys.stage), keys.parity);
    first_key = static_cast<int>(ptx::load_shared_word(shared.ticket(keys.stage) + 4));
  }
  // Whether some row of this warpgroup doesn't see all keys of the tile whose softmax comes next.
  FCSA_DEVICE bool has_edge() const {
    const Rows place = rows(queries);
    return first_key + C.block_n > place.key_limit(args, place.first_row);
  }
  FCSA_DEVICE bool next_has_edge() {
    read_ticket(at.next());
    return has_edge();
  }

  FCSA_DEVICE void overlapped(int tile, int edge_tile) {
    take_scores<0>(at);
    softmax<kEdges>(tile, shared.factor_slot(at));
    pack_all();
    finish_store();
    if (kHalves && half && tile > 0) {
      if constexpr (kTickets) read_ticket(at.next());
      overlapped_step<kEdges, kHalf>(--tile);
    }
    --tile;
    if constexpr (kTickets) {
      for (; tile >= 0 && next_has_edge(); --tile) overlapped_step<true>(tile);
    } else if constexpr (kEdges) {
      for (; tile >= edge_tile; --tile) overlapped_step<true>(tile);
    }
    for (; tile >= 0; --tile) overlapped_step<false>(tile);
    leave_queries();
    wait_values();
    issue_values<kSlices>(values(), 0);
  }

  // One tile at a time. P V is issued slice by slice while the exponentials of the next slices are computed.
  template <bool edge>
  FCSA_DEVICE void streamed_values(int tile) {
    if constexpr (!kFixed) {
      softmax<edge>(tile, shared.factor_slot(at));
      rescale_output();
    }
    wait_values();
    // In a full walk with kUntold at each use instead, which is 5% faster at D = 32 (H200).
    constexpr bool kOnce = T.causal || C.uniform != kUntold;
    const auto once = kOnce ? values() : 0;
#pragma unroll
    for (int first = 0; first < kSlices; first += kGroup) {
      constexpr int kLast = kSlices % kGroup == 0 ? kGroup : kSlices % kGroup;
#pragma unroll
      for (int slice = first; slice < first + kGroup && slice < kSlices; ++slice) {
        if constexpr (kFixed) {
          logits<edge>(slice, tile, shared.factor_slot(at));
          exponentials(slice);
        }
        pack(slice);
      }
      const auto v = kOnce ? once : values();
      if (first + kGroup <= kSlices) {
        issue_values<kGroup>(v, first);
      } else {
        issue_values<kLast>(v, first);
      }
    }
  }

  template <bool edge>
  FCSA_DEVICE void streamed_step(int tile) {
    const auto keys = at.next();
    streamed_values<edge>(tile);
    if constexpr (C.overlap == kApart) finish_values();
    if constexpr (kTickets) read_ticket(keys);  // while K, with which its place is let go, is needed
    issue_scores(keys);
    pass_turn();
    if constexpr (C.overlap != kApart) finish_values();
    take_scores<0>(keys);
  }

  FCSA_DEVICE void streamed(int tile, int edge_tile) {
    take_scores<0>(at);
    finish_store();
    if constexpr (kTickets) {
      for (; tile >= 1 && has_edge(); --tile) streamed_step<true>(tile);
    } else if constexpr (kEdges) {
      for (; tile >= max(edge_tile, 1); --tile) streamed_step<true>(tile);
    }
    for (; tile >= 1; --tile) streamed_step<false>(tile);
    leave_queries();
    streamed_values<kEdges>(0);
  }

  // A tile of keys that none of this warpgroup's rows sees: others of the block do.
  FCSA_DEVICE void skip() {
    hopper::barrier_wait(shared.k_full(at.stage), at.parity);
    wait_turn();
    pass_turn();
    if constexpr (kFactors) wait_factors(at);
    wait_values();
    // Products keep the warps of a warpgroup together; here one could release a stage that comes back twice
    // before another has looked at its barrier.
    sync_warpgroup();
    release_keys(at);
    if constexpr (kBias)
      if (ForwardConfig::copies_bias(T, args)) {
        hopper::barrier_wait(shared.bias_full(bias_at.stage), bias_at.parity);
        release_bias();
      }
    release_values();
  }

  // The tiles of keys of a tile of queries: the last that one of this warpgroup's rows sees (or the first of
  // all), and the first of which some row doesn't see all keys.
  struct Span {
    int last, edge;
  };

  // Of the tile whose softmax comes next.
  FCSA_DEVICE int first_key_of(int tile) const {
    if constexpr (kTickets) return first_key;
    return (first_tile + tile) * C.block_n;
  }

  // Passes over the keys that only others of the block see, and issues S of the first tile that is left.
  FCSA_DEVICE Span open(int tiles) {
    int whole = args.nk, visible = args.nk;  // keys that all rows see, and that one sees
    if constexpr (kTickets) read_ticket(at);
    Span span{tiles - 1, 0};
    if constexpr (T.causal) {
      const Rows place = rows(queries);
      visible = place.key_limit(args, place.first_row + ForwardConfig::kRows - 1);
      if constexpr (kTickets) {
        for (; span.last > 0 && first_key >= visible; --span.last, read_ticket(at)) skip();
      } else {
        for (; span.last > 0 && (first_tile + span.last) * C.block_n >= visible; --span.last) skip();
      }
      whole = place.key_limit(args, place.first_row);
    }
    if constexpr (kHalves) half = first_key_of(span.last) + 16 * kHalf >= visible;
    span.edge = whole / C.block_n - first_tile;
    if constexpr (C.split > 1) span.edge = max(span.edge, 0);
    issue_scores(at);
    pass_turn();
    return span;
  }

  // The next tile of queries. Returns how many tiles of keys it has; 0: it is none, or has no keys in this
  // block.
  FCSA_DEVICE int take_next() {
    ++queries.tile;
    hopper::barrier_wait(shared.q_full(queries.buffer()), queries.parity());
    const unsigned task = shared.task(queries.slot());
    const int tiles = static_cast<int>(ptx::load_shared_word(task + 12));
    if constexpr (C.split > 1) first_tile = static_cast<int>(ptx::load_shared_word(task + 16));
    if (tiles == 0) return 0;
    // Unknown to the compiler, which would keep addresses that depend on it in registers from tile to tile.
    asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
    g = lane / 4;
    t = lane % 4;
    prepare_queries();
    return tiles;
  }

  // O / row sum in 16 bits, and lse, of the two rows of a thread.
  struct Output {
    unsigned words[2][T.head_dim / 8];
    float lse[2];
  };

  FCSA_DEVICE float total(int h) const {  // the sum of a row
    if constexpr (C.tensor_sums) return o[T.head_dim / 2 + 2 * h];
    const float sum = row_sum[h] + __shfl_xor_sync(0xffffffffu, row_sum[h], 1);
    return sum + __shfl_xor_sync(0xffffffffu, sum, 2);
  }

  FCSA_DEVICE void finish_rows(Output& output) const;

  // Of the tile of queries before the current one.
  FCSA_DEVICE void write_output();

  FCSA_DEVICE void write_sums(const Rows& tile, const Output& output) const;

  // Through the place that Q had, as which O is laid out, by the TMA.
  FCSA_DEVICE void store_rows(const Rows& tile, const Output& output) const;
  // Of the tile of queries before the current one, whose place is then free. Called when the store has had
  // the time of a product.
  FCSA_DEVICE void finish_store() const;

  // The lanes that share a row exchange their columns so that each writes 16 bytes.
  FCSA_DEVICE void write_rows(const Rows& tile, const Output& output) const;

  // Over the keys; returns with the last P V in flight.
  FCSA_DEVICE void walk(const Span& span) {
    if constexpr (C.uniform == kSynced) sync_warpgroup();
    clear();
    if constexpr (!kScaleQueries) take_scale();
    if constexpr (C.overlap == kExponentials) {
      overlapped(span.last, span.edge);
    } else {
      streamed(span.last, span.edge);
    }
  }

  // The next tile of queries is made ready under the last P V of this one, and O is written under the first S
  // of the next. Registers that products are writing must not meet others where paths join (C7517): S is in
  // flight whenever the loop begins, and O never.
  FCSA_DEVICE void run() {
    int tiles = take_next();
    if (tiles == 0) return;
    Span span = open(tiles);
    for (;;) {
      walk(span);
      tiles = take_next();
      finish_values();
      if (tiles == 0) break;
      span = open(tiles);
      write_output();
    }
    write_output();
    finish_store();
  }

  // Where keys are split: the one tile of queries of this block over its keys, left in shared memory in place
  // of Q, K and V.
  FCSA_DEVICE void run_part();
  // The part of a block without keys.
  FCSA_DEVICE void put_nothing() const;
  FCSA_DEVICE unsigned part_row(int row) const {
    return shared.q + row * ForwardConfig::part_pitch(T);
  }

  // This block's share of the rows, over the parts of all blocks of the cluster, in their order.
  FCSA_DEVICE void add_parts() const;

  // Of the 4 x 4 words that four neighbouring lanes hold, row `lane % 4`: word i of lane t becomes word t of
  // lane i.
  FCSA_DEVICE uint4 transposed(const unsigned (&words)[4]) const;
};

}  // namespace fcsa::kernels::wgmma
