// Tuned parameters of the backward pass of the wgmma family, and everything that follows from them.
#pragma once

#include "kernels/common/backward_maps.h"
#include "kernels/common/normalise.h"
#include "kernels/common/sizes.h"

namespace fcsa::kernels::wgmma {

// How blocks come to their tiles of keys: one block for each; one block for each multiprocessor, which takes
// every so manyth; or such a block asks for the next whenever it is done.
enum BlockOrder : int { kOneEach = 0, kInTurn = 1, kOnDemand = 2 };

// A block owns a tile of keys, 64 for each of its consumer warpgroups, and walks over the queries of all
// heads that read them, block_m at a time. Consumers compute S and dP transposed (rows are keys), so that P
// and dS are operands in registers of the products for dV and dK, which stay in registers. dS goes to shared
// memory as well, from where another warpgroup has it for dQ = dS K, which it adds to an f32 tensor in the
// workspace straight from its registers. A thread of the last warpgroup starts all copies.
struct BackwardConfig {
  // In the order of the table in backward_space.cpp: initialisers name them in this order.
  int warpgroups = 2;      // consumers
  int block_m = 64;        // queries of a tile
  int key_stages = 1;      // tiles of K and V in flight: 2 hide the beginning of a walk
  int stages = 2;          // tiles of Q and dO in flight
  int score_buffers = 2;   // places for dS
  int k_in_registers = 0;  // of consumers; 0: read from shared memory by every product
  int v_in_registers = 0;
  int early = 1;          // 1: dP is issued right behind S, 0: behind P, in front of dV
  int queued = 1;         // S of the next tile is 1: queued behind dK, 0: issued when dK is done
  int dq_columns = 64;    // channels of a product for dQ, at most
  int dq_registers = 64;  // of a thread of the warpgroup that computes dQ
  int dq_bulk = 0;        // dQ is added 1: by the TMA, through shared memory, 0: straight from registers
  int schedule = kOnDemand;
  int head_group = 4;  // heads whose tiles of keys are worked on at the same time; 0: all

  static constexpr int kRows = 64;           // of a warpgroup: m of wgmma
  static constexpr int kCopyRegisters = 32;  // of a thread of the warpgroup that copies
  FCSA_HD constexpr int block_n() const { return kRows * warpgroups; }
  FCSA_HD constexpr int threads() const { return 128 * (warpgroups + 2); }

  // q over its norms, rounded, is left in the workspace by what stands before; K is normalised in shared
  // memory, once for each block. With groups of channels a kernel does both beforehand. So no norm is in dS,
  // whose range f16 would not hold, and none in the inner loop: as factors of S and dS they took 18% at D =
  // 64 and 12% at D = 128 (H200, 4k).
  FCSA_HD static constexpr bool normalises_queries(const Traits& t) {
    return t.l2norm_qk && !normalises_first(t);
  }

  // f16: P is 2^14 times as large as it is, so that small ones keep their bits.
  FCSA_HD static constexpr int shift(const Traits& t) { return t.dtype == DType::f16 ? 14 : 0; }
  FCSA_HD static constexpr float unshift(const Traits& t) {
    return t.dtype == DType::f16 ? 1.0f / 16384 : 1.0f;
  }

  // Registers of a thread: what the block has is divided again between the warpgroups (setmaxnreg, in steps
  // of 8).
  FCSA_HD constexpr int launch_registers() const { return 65536 / threads() / 8 * 8; }
  FCSA_HD constexpr int consumer_registers() const {
    const int most =
        (launch_registers() * (warpgroups + 2) - kCopyRegisters - dq_registers) / warpgroups / 8 * 8;
    return most < 240 ? most : 240;
  }
  // What accumulators and operands need at least: dK and dV, S and dP, P and dS in 16 bits where they don't
  // take the place of those, K and V.
  FCSA_HD constexpr int register_estimate(const Traits& t) const {
    const int owned = (k_in_registers + v_in_registers) * t.head_dim / 4;
    return t.head_dim + owned + (early ? block_m * 5 / 4 : block_m) + (queued == 0 ? 16 : 24);
  }
  FCSA_HD constexpr int dq_register_estimate(const Traits& t) const { return dq_width(t) / 2 + 28; }
  // Channels of a product for dQ: whole panels that divide them.
  FCSA_HD constexpr int dq_width(const Traits& t) const {
    int width = t.head_dim;
    while (width > dq_columns && width > panel_channels(t)) {
      width -= panel_channels(t);
      while (t.head_dim % width != 0) width -= panel_channels(t);
    }
    return width;
  }

  // Shared memory. Tiles are made of panels: as many channels as one swizzled row holds.
  FCSA_HD static constexpr int panel_channels(const Traits& t) {
    return t.head_dim % 64 == 0 ? 64 : t.head_dim % 32 == 0 ? 32 : 16;
  }
  FCSA_HD static constexpr int panel_row_bytes(const Traits& t) { return 2 * panel_channels(t); }
  FCSA_HD static constexpr int panels(const Traits& t) { return t.head_dim / panel_channels(t); }
  FCSA_HD constexpr int key_tile_bytes(const Traits& t) const { return block_n() * 2 * t.head_dim; }
  FCSA_HD constexpr int query_tile_bytes(const Traits& t) const { return block_m * 2 * t.head_dim; }
  FCSA_HD constexpr int scores_bytes() const { return block_n() * 2 * block_m; }
  // Of 64 queries and the channels of a product, in f32.
  FCSA_HD constexpr int dq_bytes(const Traits& t) const { return dq_bulk ? 64 * 4 * dq_width(t) : 0; }
  // Numbers of a tile of queries: -lse of each in base 2 and shifted, then -delta of each, shifted back.
  FCSA_HD constexpr int numbers_bytes() const { return 2 * 4 * block_m; }
  FCSA_HD constexpr int barriers() const { return 4 * key_stages + 4 * stages + 2 * score_buffers; }
  static constexpr int kTaskBytes = 32;
  FCSA_HD constexpr int smem_bytes(const Traits& t) const {
    const int alignment = 1024;  // of swizzled tiles
    return alignment + 2 * key_stages * key_tile_bytes(t) + 2 * stages * query_tile_bytes(t) +
           score_buffers * scores_bytes() + stages * numbers_bytes() + dq_bytes(t) +
           8 * (barriers() + barriers() % 2) + kTaskBytes * key_stages;
  }

  // Workspace: normalised q, and with groups k; numbers of the queries, tile by tile [batch, heads,
  // query_tiles]; q . A of every query for the gradient of the scale; how many tiles of keys have been given
  // out; dQ in f32 as fragments of 16 x 8, [batch, heads, padded_queries / 16, head_dim / 8, 32, 4].
  struct Workspace {
    long long numbers = 0, dots = 0, counter = 0, dq = 0, bytes = 0;
  };
  FCSA_HD static constexpr long long aligned(long long bytes) { return ceil_div(bytes, 256) * 256; }
  FCSA_HD constexpr int query_tiles(const Args& a) const { return static_cast<int>(ceil_div(a.nq, block_m)); }
  FCSA_HD constexpr long long padded_queries(const Args& a) const { return 1LL * query_tiles(a) * block_m; }
  FCSA_HD constexpr Workspace workspace(const Traits& t, const BackwardArgs& a) const {
    const long long rows = 1LL * a.batch * a.heads * padded_queries(a);
    Workspace w;
    w.numbers = normalises_first(t)     ? aligned(normalised_tensors(t, a).bytes)
                : normalises_queries(t) ? aligned(2LL * a.batch * a.heads * a.nq * t.head_dim)
                                        : 0;
    w.dots = w.numbers + aligned(8 * rows);
    w.counter = w.dots + (a.wants_dscale ? aligned(4 * rows) : 0);
    w.dq = w.counter + 256;
    w.bytes = w.dq + 4 * rows * t.head_dim;
    return w;
  }

  FCSA_HD constexpr int key_tiles(const Args& a) const { return static_cast<int>(ceil_div(a.nk, block_n())); }
  FCSA_HD constexpr long long work_count(const Args& a) const {
    return 1LL * key_tiles(a) * a.kv_heads * a.batch;
  }

  FCSA_HD constexpr TensorMap row_map(const Traits& t, const BackwardArgs& args, int tensor, int rows) const {
    const bool query = tensor == TensorMap::q || tensor == kDoutTensor;
    Strides s = tensor == TensorMap::q   ? args.q_strides
                : tensor == kDoutTensor  ? args.dout_strides
                : tensor == TensorMap::k ? args.k_strides
                                         : args.v_strides;
    const int heads = query ? args.heads : args.kv_heads, length = query ? args.nq : args.nk;
    TensorMap map;
    map.tensor = tensor;
    if ((tensor == TensorMap::q && t.l2norm_qk) || (tensor == TensorMap::k && normalises_first(t))) {
      map.tensor = TensorMap::workspace;
      map.first_byte = query ? 0 : normalised_tensors(t, args).k;
      s = {1LL * heads * length * t.head_dim, 1LL * length * t.head_dim, t.head_dim};
    }
    const auto dimension = [&](int i, long long size, long long stride, int box) {
      map.size[i] = size;
      map.stride_bytes[i - 1] = 2 * stride;
      map.box[i] = box;
    };
    map.swizzle_bytes = panel_row_bytes(t);
    map.rank = 4;
    map.size[0] = t.head_dim;
    map.box[0] = panel_channels(t);
    dimension(1, length, s.row, rows);
    dimension(2, heads, s.head, 1);
    dimension(3, args.batch, s.batch, 1);
    return map;
  }

  static constexpr int kRowThreads = 256, kRowLanes = 8;  // of blocks that work on rows, lanes that share one
  static constexpr int kConvertThreads = 128, kConvertRows = 64;
  FCSA_HD constexpr long long prepare_blocks(const BackwardArgs& a) const {
    return ceil_div(1LL * a.batch * a.heads * padded_queries(a), kRowThreads / kRowLanes);
  }
  FCSA_HD static constexpr long long normalise_blocks(const Traits& t, const Args& a) {
    return normalises_first(t) ? normalise_launch(0, t, a).grid_x : 0;
  }

  // Kernels: 0 prepare_backward, 1 backward, 2 convert_queries, 3 grad_scale. Maps: 0 q, 1 k, 2 v, 3 dout.
  FCSA_HD constexpr LaunchPlan plan(const Traits& t, const BackwardArgs& a) const {
    if (is_empty(a)) return empty_plan(t, true);
    LaunchPlan plan;
    plan.workspace_bytes = workspace(t, a).bytes;
    plan.map_count = 4;
    plan.maps[0] = row_map(t, a, TensorMap::q, block_m);
    plan.maps[1] = row_map(t, a, TensorMap::k, block_n());
    plan.maps[2] = row_map(t, a, TensorMap::v, block_n());
    plan.maps[3] = row_map(t, a, kDoutTensor, block_m);
    plan.count = 3;
    plan.steps[0].kernel = 0;
    plan.steps[0].grid_x = static_cast<unsigned>(normalise_blocks(t, a) + prepare_blocks(a));
    plan.steps[0].threads = kRowThreads;
    plan.steps[1].kernel = 1;
    plan.steps[1].grid_x = static_cast<unsigned>(work_count(a));
    plan.steps[1].threads = static_cast<unsigned>(threads());
    plan.steps[1].smem_bytes = static_cast<unsigned>(smem_bytes(t));
    plan.steps[1].blocks_per_multiprocessor = schedule == kOneEach ? 0 : 1;
    plan.steps[2].kernel = 2;
    plan.steps[2].grid_x = static_cast<unsigned>(ceil_div(a.nq, kConvertRows) * a.heads * a.batch);
    plan.steps[2].threads = kConvertThreads;
    if (!a.wants_dscale) return plan;
    plan.count = 4;
    plan.steps[3].kernel = 3;
    plan.steps[3].grid_x = static_cast<unsigned>(a.heads);
    plan.steps[3].threads = kRowThreads;
    return plan;
  }
};

}  // namespace fcsa::kernels::wgmma
