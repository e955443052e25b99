// A warpgroup that computes 64 rows of O: S = Q K^T by wgmma, P in registers, O += P V by wgmma.
#pragma once

#include "kernels/common/exp2_polynomial.cuh"
#include "kernels/common/hopper.cuh"
#include "kernels/common/key_factors.cuh"
#include "kernels/common/ptx.cuh"
#include "kernels/wgmma/schedule.cuh"

namespace fcsa::kernels::wgmma {

constexpr int kFirstTurn = 1;       // named barriers 1 to 4: whose turn it is to issue products
constexpr int kFirstWarpgroup = 8;  // 8 to 11: one warpgroup

template <Traits T, ForwardConfig C>
struct Consumer {
  using Layout = SharedLayout<T, C>;
  static constexpr bool kFixed = T.softmax == Softmax::fixed_bound;
  static constexpr bool kNormalise = ForwardConfig::normalises(T);
  static constexpr bool kScaleQueries = kNormalise && (C.scale_queries || C.q_in_registers);
  static constexpr bool kFactors = ForwardConfig::uses_factors(T);
  static constexpr int kRowBytes = ForwardConfig::panel_row_bytes(T);
  static constexpr int kPanelSteps = ForwardConfig::panel_channels(T) / 16;
  static constexpr int kSteps = T.head_dim / 16;                        // of Q K^T
  static constexpr int kSlices = C.block_n / 16;                        // of P V
  static constexpr int kGroup = C.slice == 0 ? kSlices : C.slice / 16;  // slices whose P V is issued together
  // Keys past the end, and those hidden from some rows, are found by comparing, in the tiles that have such;
  // with a mask the end is part of the factors.
  static constexpr bool kEdges = T.causal || !T.key_mask;
  // A logit may exceed the running maximum by this before O is rescaled: P stays below 2^8, and a rescaling
  // is rare.
  static constexpr float kHeadroom = 8.0f;

  const Args& args;
  const Layout shared;
  const int rank, warpgroup, warp;
  int lane, g, t;
  const float offset;
  // Of the tile whose P V is to be issued next.
  Cursor<C.stages> at;
  unsigned q_parity = 0;
  int slot = 0;  // where `rows` are kept

  // Of the current tile of queries, for the two rows of a thread.
  float row_scale[2], row_sum[2], row_max[2], rescale[2];
  bool raised;
  unsigned q[C.q_in_registers ? kSteps : 1][4];
  float s[C.block_n / 2];
  unsigned p[kSlices][4];
  float o[C.output_columns(T) / 2];  // with tensor_sums the sums of the rows come last

  FCSA_DEVICE Consumer(const Args& arguments, const Layout& layout, int cluster_rank)
      : args(arguments),
        shared(layout),
        rank(cluster_rank),
        // By a shuffle, so that the compiler knows that all lanes agree and keeps them in uniform registers.
        warpgroup(__shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128 - 1, 0)),
        warp(__shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 32 % 4, 0)),
        offset(kFixed ? bound_offset_log2(T.dtype, arguments.bound) : 0.0f) {}

  // In every block whose copies go here. K, and V without factors, are read by products alone, which end for
  // the warpgroup as a whole: one thread says so for it, or for its warp. Factors, which go with V, are read
  // by every thread, and every thread says so.
  FCSA_DEVICE void release_keys(const Cursor<C.stages>& from) const {
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

  // They are kept in shared memory, those of the tile before as well: in the loop over keys registers are
  // scarce.
  FCSA_DEVICE void park(const Work& work) {
    slot ^= 1;
    const unsigned to = shared.work_of(warpgroup, warp, slot);
    __syncwarp();
    if (lane == 0) {
      ptx::store_shared(to, static_cast<unsigned>(work.batch));
      ptx::store_shared(to + 4, static_cast<unsigned>(work.first_head));
      ptx::store_shared(to + 8, static_cast<unsigned>(work.first_row + ForwardConfig::kRows * warpgroup));
    }
    __syncwarp();
  }
  FCSA_DEVICE Rows rows(int of_slot) const {
    const unsigned from = shared.work_of(warpgroup, warp, of_slot);
    return {static_cast<int>(ptx::load_shared_word(from)), static_cast<int>(ptx::load_shared_word(from + 4)),
            static_cast<int>(ptx::load_shared_word(from + 8)), C.packed(args)};
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
  }

  // Rows of Q of this warp: where a row starts, and what the place of a piece of 16 bytes in it is combined
  // with. The pattern repeats every 8 rows.
  FCSA_DEVICE unsigned query_row(int row) const {
    return shared.q_of(warpgroup) + (16 * warp + row) * kRowBytes;
  }
  FCSA_DEVICE static unsigned permuted(int row, int piece) {
    const unsigned start = row % 8 * kRowBytes;
    return start ^ hopper::swizzled<kRowBytes>(start) ^ piece * 16;
  }
  // From the start of a row; `permutation` is that of its piece 0 or 1.
  FCSA_DEVICE static unsigned step_offset(int step, unsigned permutation) {
    return step / kPanelSteps * ForwardConfig::kRows * kRowBytes + (step % kPanelSteps * 32 ^ permutation);
  }

  // Rows of Q of this warp as ldmatrix gives them, 16 channels at a time.
  FCSA_DEVICE uint4 load_queries(int step) const {
    return ptx::load_matrices(query_row(lane % 16) + step_offset(step, permuted(lane, lane / 16)));
  }

  // scale * log2(e), and with normalisation over |q|, of the two rows of a thread: a factor of S, or of Q
  // itself, which is then rounded like normalised rows would be. `load` gives the words of a step.
  template <typename Load>
  FCSA_DEVICE void take_scale(Load load) {
    const Rows tile = rows(slot);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int head = min(tile.head_of(row_at(tile, h)), args.heads - 1);
      row_scale[h] = kLog2E * (T.head_scale ? args.head_scale[head] : args.scale);
    }
    if constexpr (!kNormalise) return;
    float squares[2] = {0, 0};
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const uint4 a = load(step);
      squares[0] = add_squares<T.dtype>(a.x, add_squares<T.dtype>(a.z, squares[0]));
      squares[1] = add_squares<T.dtype>(a.y, add_squares<T.dtype>(a.w, squares[1]));
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      squares[h] += __shfl_xor_sync(0xffffffffu, squares[h], 1);
      squares[h] += __shfl_xor_sync(0xffffffffu, squares[h], 2);
      row_scale[h] *= inverse_norm(squares[h], args.eps);
    }
  }
  FCSA_DEVICE void take_scale() {
    take_scale([&](int step) { return load_queries(step); });
  }

  FCSA_DEVICE uint4 scaled(const uint4& a) const {
    unsigned words[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 x = ptx::unpack<T.dtype>(words[i]);
      words[i] = ptx::pack<T.dtype>(x.x * row_scale[i % 2], x.y * row_scale[i % 2]);
    }
    return {words[0], words[1], words[2], words[3]};
  }

  // Q of a tile, where it is to be: scaled, in registers, or as it has arrived.
  FCSA_DEVICE void prepare_queries() {
    hopper::barrier_wait(shared.q_full(), q_parity);
    q_parity ^= 1u;
    if constexpr (!kScaleQueries && !C.q_in_registers) return;
    // While norms are computed rows are kept, where there are registers, or read again.
    constexpr bool kKeep =
        T.head_dim <= 128 &&
        C.consumer_registers() >= C.output_columns(T) / 2 + C.block_n / 4 + T.head_dim / 4 + 48;
    uint4 kept[kKeep ? kSteps : 1];
    if constexpr (kKeep)
#pragma unroll
      for (int step = 0; step < kSteps; ++step) kept[step] = load_queries(step);
    const auto load = [&](int step) { return kKeep ? kept[kKeep ? step : 0] : load_queries(step); };
    if constexpr (kScaleQueries) take_scale(load);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const uint4 a = kScaleQueries ? scaled(load(step)) : load(step);
      if constexpr (C.q_in_registers) {
        q[step][0] = a.x, q[step][1] = a.y, q[step][2] = a.z, q[step][3] = a.w;
      } else {
        hopper::store_matrices(query_row(lane % 16) + step_offset(step, permuted(lane, lane / 16)), a);
      }
    }
    if constexpr (C.q_in_registers) {
      sync_warpgroup();
      release_queries();
    } else {
      hopper::fence_async();
      sync_warpgroup();
    }
  }

  FCSA_DEVICE void release_queries() const {
    if (threadIdx.x % 128 == 0) hopper::barrier_arrive(shared.q_free());
  }

  // S = Q K^T, asynchronously.
  FCSA_DEVICE void issue_scores(const Cursor<C.stages>& keys) {
    hopper::barrier_wait(shared.k_full(keys.stage), keys.parity);
    wait_turn();
    const auto k = hopper::operand(shared.k_tile(keys.stage), kRowBytes, 16);
    const auto a = hopper::operand(shared.q_of(warpgroup), kRowBytes, 16);
    // The first product overwrites S: what was there need not be kept until then.
#pragma unroll
    for (int i = 0; i < C.block_n / 2; ++i) s[i] = 0;
    hopper::wgmma_fence();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const auto b = k + ((step / kPanelSteps * C.panel_bytes(T) + step % kPanelSteps * 32) >> 4);
      if constexpr (C.q_in_registers) {
        hopper::Wgmma<C.block_n>::template registers<T.dtype, false>(s, q[step][0], q[step][1], q[step][2],
                                                                     q[step][3], b, step > 0);
      } else {
        const int offset_bytes =
            step / kPanelSteps * ForwardConfig::kRows * kRowBytes + step % kPanelSteps * 32;
        hopper::Wgmma<C.block_n>::template smem<T.dtype>(s, a + (offset_bytes >> 4), b, step > 0);
      }
    }
    hopper::wgmma_commit();
  }

  // O += P V for `count` slices of 16 keys, asynchronously.
  template <int count>
  FCSA_DEVICE void issue_values(int first) {
    const unsigned tile = shared.v_tile(at.stage);
    // The ones are reached like a second panel of V, wherever the keys of a product are.
    const auto v = hopper::operand(tile, kRowBytes, C.tensor_sums ? shared.ones - tile : C.panel_bytes(T));
    constexpr int kStep = 16 * kRowBytes >> 4;
    constexpr long long kAdvance = C.tensor_sums ? kStep - (kStep << 16) : kStep;
    hopper::wgmma_fence();
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const unsigned(&a)[4] = p[first + i];
      hopper::Wgmma<C.output_columns(T)>::template registers<T.dtype, true>(o, a[0], a[1], a[2], a[3],
                                                                            v + (first + i) * kAdvance, 1);
    }
    hopper::wgmma_commit();
  }

  // S of a slice of a tile, whose factors are in `stage`, to logits in base 2, hidden ones -inf.
  template <bool edge>
  FCSA_DEVICE void logits(int slice, int tile, int stage) {
    int limit[2] = {0, 0};
    if constexpr (edge) {
      const Rows place = rows(slot);
#pragma unroll
      for (int h = 0; h < 2; ++h)
        limit[h] = place.key_limit(args, row_at(place, h)) - tile * C.block_n - 2 * t;
    }
#pragma unroll
    for (int i = 2 * slice; i < 2 * slice + 2; ++i) {
      float4 factor{1, -offset, 1, -offset};  // x and y of two keys
      const unsigned from = shared.factor_tile(stage) + 4 * C.factor_floats(T) * (8 * i + 2 * t);
      if constexpr (T.key_mask) {
        factor = ptx::load_shared_4(from);
      } else if constexpr (kFactors) {
        const float2 inverse = ptx::load_shared_2(from);
        factor.x = inverse.x;
        factor.z = inverse.y;
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float &x = s[4 * i + 2 * h], &y = s[4 * i + 2 * h + 1];
        const float row = kScaleQueries ? 1.0f : row_scale[h];
        x = fmaf(x, kNormalise ? row * factor.x : row, factor.y);
        y = fmaf(y, kNormalise ? row * factor.z : row, factor.w);
        if constexpr (edge) {
          if (8 * i >= limit[h]) x = minus_infinity();
          if (8 * i + 1 >= limit[h]) y = minus_infinity();
        }
      }
    }
  }

  // Logits to P in place, and the row sums.
  FCSA_DEVICE void exponentials(int slice) {
#pragma unroll
    for (int i = 8 * slice; i < 8 * slice + 8; ++i) {
      s[i] =
          i % 8 < C.polynomial ? exp2_polynomial<T.dtype != DType::bf16>(s[i]) : ptx::exp2_approximate(s[i]);
      if constexpr (!C.tensor_sums) row_sum[i / 2 % 2] += s[i];
    }
  }

  FCSA_DEVICE void pack(int slice) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      p[slice][i] = ptx::pack<T.dtype>(s[8 * slice + 2 * i], s[8 * slice + 2 * i + 1]);
  }

  // Subtracts the running maximum, raised where a logit is further above it than the headroom; then O is to
  // be rescaled.
  FCSA_DEVICE void subtract_maximum() {
    float largest[2] = {minus_infinity(), minus_infinity()};
#pragma unroll
    for (int i = 0; i < C.block_n / 2; ++i) largest[i / 2 % 2] = fmaxf(largest[i / 2 % 2], s[i]);
    raised =
        __any_sync(0xffffffffu, largest[0] > row_max[0] + kHeadroom || largest[1] > row_max[1] + kHeadroom);
    if (raised) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float top = fmaxf(row_max[h], largest[h]);
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        rescale[h] = top == minus_infinity() ? 1.0f : ptx::exp2_approximate(row_max[h] - top);
        row_max[h] = top;
        row_sum[h] *= rescale[h];
      }
    }
    // No key seen yet: keep exp2 away from inf - inf.
    const float reference[2] = {row_max[0] == minus_infinity() ? 0.0f : row_max[0],
                                row_max[1] == minus_infinity() ? 0.0f : row_max[1]};
#pragma unroll
    for (int i = 0; i < C.block_n / 2; ++i) s[i] -= reference[i / 2 % 2];
  }

  // While no product is adding to O.
  FCSA_DEVICE void rescale_output() {
    if constexpr (!kFixed) {
      if (!raised) return;
#pragma unroll
      for (int i = 0; i < C.output_columns(T) / 2; ++i) o[i] *= rescale[i / 2 % 2];
    }
  }

  // Waits for S (and at most `pending` later products), and lets K go.
  template <int pending>
  FCSA_DEVICE void take_scores(const Cursor<C.stages>& keys) {
    hopper::wgmma_wait<pending>();
    hopper::pin(s);
    if constexpr (kFactors) hopper::barrier_wait(shared.factors_full(keys.stage), keys.parity);
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
  }

  template <bool edge>
  FCSA_DEVICE void softmax(int tile, int stage) {
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice) {
      logits<edge>(slice, tile, stage);
      if constexpr (kFixed) exponentials(slice);
    }
    if constexpr (!kFixed) {
      subtract_maximum();
#pragma unroll
      for (int slice = 0; slice < kSlices; ++slice) exponentials(slice);
    }
  }

  FCSA_DEVICE void pack_all() {
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice) pack(slice);
  }

  // Two tiles at a time: S of this one and P V of the one before (to its right) are issued together, and this
  // one's exponentials run under that P V. ptxas moves many of them behind the wait for P V, among the
  // conversions. To force them in front of it (by a store that depends on the row sums and never happens) was
  // 10% to 20% slower on an H100, at head dimensions 64 and 128.
  template <bool edge>
  FCSA_DEVICE void overlapped_step(int tile) {
    const auto keys = at.next();
    issue_scores(keys);
    wait_values();
    issue_values<kSlices>(0);
    pass_turn();
    take_scores<1>(keys);
    softmax<edge>(tile, keys.stage);
    finish_values();
    rescale_output();
    pack_all();
  }

  FCSA_DEVICE void overlapped(int tile, int edge_tile) {
    take_scores<0>(at);
    softmax<kEdges>(tile, at.stage);
    pack_all();
    --tile;
    if constexpr (kEdges)
      for (; tile >= edge_tile; --tile) overlapped_step<true>(tile);
    for (; tile >= 0; --tile) overlapped_step<false>(tile);
    if constexpr (!C.q_in_registers) release_queries();
    wait_values();
    issue_values<kSlices>(0);
  }

  // One tile at a time. P V is issued slice by slice while the exponentials of the next slices are computed.
  template <bool edge>
  FCSA_DEVICE void streamed_values(int tile) {
    if constexpr (!kFixed) {
      softmax<edge>(tile, at.stage);
      rescale_output();
    }
    wait_values();
#pragma unroll
    for (int first = 0; first < kSlices; first += kGroup) {
      constexpr int kLast = kSlices % kGroup == 0 ? kGroup : kSlices % kGroup;
#pragma unroll
      for (int slice = first; slice < first + kGroup && slice < kSlices; ++slice) {
        if constexpr (kFixed) {
          logits<edge>(slice, tile, at.stage);
          exponentials(slice);
        }
        pack(slice);
      }
      if (first + kGroup <= kSlices) {
        issue_values<kGroup>(first);
      } else {
        issue_values<kLast>(first);
      }
    }
  }

  template <bool edge>
  FCSA_DEVICE void streamed_step(int tile) {
    const auto keys = at.next();
    streamed_values<edge>(tile);
    if constexpr (C.overlap == kApart) finish_values();
    issue_scores(keys);
    pass_turn();
    if constexpr (C.overlap != kApart) finish_values();
    take_scores<0>(keys);
  }

  FCSA_DEVICE void streamed(int tile, int edge_tile) {
    take_scores<0>(at);
    if constexpr (kEdges)
      for (; tile >= max(edge_tile, 1); --tile) streamed_step<true>(tile);
    for (; tile >= 1; --tile) streamed_step<false>(tile);
    if constexpr (!C.q_in_registers) release_queries();
    streamed_values<kEdges>(0);
  }

  // A tile of keys that none of this warpgroup's rows sees: others of the block do.
  FCSA_DEVICE void skip() {
    hopper::barrier_wait(shared.k_full(at.stage), at.parity);
    wait_turn();
    pass_turn();
    if constexpr (kFactors) hopper::barrier_wait(shared.factors_full(at.stage), at.parity);
    wait_values();
    // Products keep the warps of a warpgroup together; here one could release a stage that comes back twice
    // before another has looked at its barrier.
    sync_warpgroup();
    release_keys(at);
    release_values();
  }

  // The tiles of keys of a tile of queries: the last that one of this warpgroup's rows sees (or the first of
  // all), and the first of which some row doesn't see all keys.
  struct Span {
    int last, edge;
  };

  // Passes over the keys that only others of the block see, and issues S of the first tile that is left.
  FCSA_DEVICE Span open(int end_tile) {
    clear();
    Span span{end_tile - 1, args.nk / C.block_n};
    if constexpr (T.causal) {
      const Rows place = rows(slot);
      const int visible = place.key_limit(args, place.first_row + ForwardConfig::kRows - 1);
      for (; span.last > 0 && span.last * C.block_n >= visible; --span.last) skip();
      span.edge = place.key_limit(args, place.first_row) / C.block_n;
    }
    issue_scores(at);
    pass_turn();
    return span;
  }

  // The next tile of queries, of which the loop over keys has to know its end only; false: there is none.
  FCSA_DEVICE bool take_next(Schedule<T, C>& schedule, int& end_tile) {
    Work work;
    if (!schedule.next(work)) return false;
    end_tile = work.end_tile;
    // Unknown to the compiler, which would keep addresses that depend on it in registers from tile to tile.
    asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
    g = lane / 4;
    t = lane % 4;
    park(work);
    prepare_queries();
    return true;
  }

  // O / row sum in 16 bits, and lse, of the two rows of a thread.
  struct Output {
    unsigned words[2][T.head_dim / 8];
    float lse[2];
  };

  FCSA_DEVICE void finish_rows(Output& output) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum;
      if constexpr (C.tensor_sums) {
        sum = o[T.head_dim / 2 + 2 * h];
      } else {
        sum = row_sum[h] + __shfl_xor_sync(0xffffffffu, row_sum[h], 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      }
      const float inverse = sum > 0 ? ptx::reciprocal_approximate(sum) : 0.0f;
      const float top = kFixed ? offset : row_max[h];
      output.lse[h] = sum > 0 ? (log2f(sum) + top) * kLn2 : minus_infinity();
#pragma unroll
      for (int i = 0; i < T.head_dim / 8; ++i)
        output.words[h][i] = ptx::pack<T.dtype>(o[4 * i + 2 * h] * inverse, o[4 * i + 2 * h + 1] * inverse);
    }
  }

  // The lanes that share a row exchange their columns so that each writes 16 bytes.
  FCSA_DEVICE void write_rows(const Rows& tile, const Output& output) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = row_at(tile, h), query = tile.query_of(row), head = tile.head_of(row);
      const bool exists = query < args.nq;
      if (t == 0 && exists)
        args.lse[(static_cast<long long>(tile.batch) * args.heads + head) * args.nq + query] = output.lse[h];
      const Strides& strides = args.o_strides;
      char* to = static_cast<char*>(args.o) +
                 2 * (tile.batch * strides.batch + head * strides.head + query * strides.row);
      constexpr int kPieces = T.head_dim / 8;
#pragma unroll
      for (int first = 0; first < kPieces; first += 4) {
        unsigned words[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) words[i] = first + i < kPieces ? output.words[h][first + i] : 0;
        const uint4 piece = transposed(words);
        if (exists && first + t < kPieces) *reinterpret_cast<uint4*>(to + 16 * (first + t)) = piece;
      }
    }
  }

  // The next tile of queries is made ready under the last P V of this one, and O is written under the first S
  // of the next. Registers that products are writing must not meet others where paths join (C7517), so these
  // are in flight on all paths or on none; and what is written under a product is a copy, since the compiler
  // doesn't see in a loop that O is complete.
  FCSA_DEVICE void run() {
    Schedule<T, C> schedule(args, rank);
    int end_tile;
    if (!take_next(schedule, end_tile)) return;
    Output output;
    for (bool first = true, more = true; more; first = false) {
      const Span span = open(end_tile);
      if constexpr (!kScaleQueries) take_scale();
      if (!first) write_rows(rows(slot ^ 1), output);
#pragma unroll
      for (int i = 0; i < C.output_columns(T) / 2; ++i) o[i] = 0;
      if constexpr (C.overlap == kExponentials) {
        overlapped(span.last, span.edge);
      } else {
        streamed(span.last, span.edge);
      }
      more = take_next(schedule, end_tile);
      finish_values();
      finish_rows(output);
    }
    write_rows(rows(slot), output);
  }

  // Of the 4 x 4 words that four neighbouring lanes hold, row `lane % 4`: word i of lane t becomes word t of
  // lane i.
  FCSA_DEVICE uint4 transposed(const unsigned (&words)[4]) const {
    const bool odd = t & 1, high = t & 2;
    const unsigned first = __shfl_xor_sync(0xffffffffu, odd ? words[0] : words[1], 1);
    const unsigned second = __shfl_xor_sync(0xffffffffu, odd ? words[2] : words[3], 1);
    const unsigned a[4] = {odd ? first : words[0], odd ? words[1] : first, odd ? second : words[2],
                           odd ? words[3] : second};
    const unsigned third = __shfl_xor_sync(0xffffffffu, high ? a[0] : a[2], 2);
    const unsigned fourth = __shfl_xor_sync(0xffffffffu, high ? a[1] : a[3], 2);
    return {high ? third : a[0], high ? fourth : a[1], high ? a[2] : third, high ? a[3] : fourth};
  }
};

}  // namespace fcsa::kernels::wgmma
