// Tuned parameters of the wgmma family, and everything that follows from them.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/normalise.h"
#include "kernels/common/sizes.h"

namespace fcsa::kernels::wgmma {

// What a warpgroup queues behind what. kApart: P V of a tile ends before S of the next begins. kQueued: S of
// the next is queued behind P V, so the tensor cores don't wait for the CUDA cores in between. kExponentials:
// S of the next tile is computed before P V of this one, under which the next one's exponentials run.
enum Overlap : int { kApart = 0, kQueued = 1, kExponentials = 2 };

// Where the norms of K come in: K over its norms is left in the workspace, by a kernel beforehand, or by all
// blocks of a persistent grid together while they work (normalised_keys.cuh); or 1/|k| is a factor of each
// column of S, which the warps of the producer that have nothing to copy compute for each tile.
// On an H200 (bf16, 16,384 tokens, D = 128, full; over attention alone): by the producer 6 to 9% at N = 512,
// 12 to 15% at 1k, 16% at 2k, 18% at 4k; together 24, 10, 6.5, 2.5%, about 15 us whatever N, besides 3 to
// start and to clear the counts; by a kernel 37 us. The 15 us stay the same when they are spread over the
// whole kernel: it may be the energy of 134 MB, since the GPU is at its power limit. The producer's costs
// squares (9% at 1k) and loads of factors (6%: a warp loads each for all its rows at a time, 8 times over),
// both of shared memory, which wgmma needs; half as many squares cost half as much.
// What was tried beside these: docs/notes/2026-11-29_wgmma_forward.md.
enum KeyNorms : int { kPrepass = 0, kProducer = 1, kTogether = 2 };

// What tells ptxas that all lanes of a warp have the same addresses of operands. Where it holds them in
// uniform registers, a product needs an addition there; elsewhere two moves (R2UR) and three additions, which
// is a sixth of the loop's instructions, and it does the one or the other for no visible reason. kReduced: a
// reduction over the warp makes them uniform in any case (two for each tile of keys). kSynced: a barrier of
// the warpgroup before each walk over the keys, which is enough for some. On an H200, against kUntold:
// D = 96, full, two tiles at a time, reduced 7% faster (without Consumer::kHalves, which is as good there);
// D = 64, four warpgroups, N = 512, full, reduced or, with norms, synced 6%; D = 32, full, reduced 2%. Where
// ptxas does it by itself (most causal kernels), reduced is up to 4% slower.
enum Uniform : int { kUntold = 0, kReduced = 1, kSynced = 2 };

// A block works on tiles of block_m() rows of queries and walks over their keys, block_n at a time, from the
// last to the first. One warpgroup copies (the producer); each of the others (the consumers) has 64 rows.
struct ForwardConfig {
  // In the order of the table in family.cpp: initialisers name them in this order.
  int warpgroups = 2;  // consumers
  int block_n = 128;
  int stages = 2;  // K and V tiles in flight
  int overlap = kExponentials;
  int slice = 0;      // keys whose P V is issued as soon as their P is there; 0: all of a tile at once
  int ping_pong = 0;  // 1: warpgroups issue their products in turn
  // 0: Q is read from shared memory by every product. 1, with a third stage in place of Q's second buffer: 2
  // to 5% faster at D = 128 (H200, N = 512 to 4k), with norms 4 to 8%.
  int q_in_registers = 0;
  int q_buffers = 1;      // tiles of Q in flight
  int scale_queries = 1;  // 1/|q| and the scale go 1: into Q, which is rounded again, 0: into S
  int key_norms = kProducer;
  int producer_registers = 40;  // of a thread; norms need enough for several loads under way
  int persistent = 1;           // 1: one block for each multiprocessor takes tile after tile
  int min_blocks = 1;           // blocks a multiprocessor should hold
  int cluster = 1;              // blocks of consecutive tiles that share what they copy of K and V
  int split = 1;                // blocks that share the keys of one tile, and add up through a cluster
  int tma_store = 0;    // O leaves 1: through Q's place in shared memory, by the TMA, 0: from registers
  int pack_heads = 0;   // 1: rows of a tile are those of all query heads that share a key/value head
  int head_group = 0;   // heads whose tiles are worked on at the same time; 0: all
  int polynomial = 0;   // of 8 exponentials, how many by polynomial on the CUDA cores instead of the MUFU
  int tensor_sums = 0;  // 1: row sums by the tensor cores, as 8 more columns of V, all ones; 0: CUDA cores
  int paired = 1;  // causal: a long and a short tile of a head are one piece of work, all of which are alike
  int uniform = kUntold;
  int bias_stages = 1;  // tiles of the bias in flight

  static constexpr int kRows = 64;  // of a warpgroup: m of wgmma
  FCSA_HD constexpr int block_m() const { return kRows * warpgroups; }
  FCSA_HD constexpr int threads() const { return 128 * (warpgroups + 1); }

  // Registers: what the block has is divided again between the producer and the consumers (setmaxnreg, in
  // steps of 8), except where a thread can have as many as it can name anyway.
  FCSA_HD constexpr int launch_registers() const {
    const int most = 65536 / (min_blocks * threads()) / 8 * 8;
    return most < 256 ? most : 256;
  }
  FCSA_HD constexpr bool reallocates() const { return launch_registers() < 256; }
  FCSA_HD constexpr int consumer_registers() const {
    const int most = (launch_registers() * (warpgroups + 1) - producer_registers) / warpgroups / 8 * 8;
    return !reallocates() ? 255 : most < 240 ? most : 240;
  }
  FCSA_HD constexpr int output_columns(const Traits& t) const { return t.head_dim + (tensor_sums ? 8 : 0); }
  // What the accumulators and operands of a consumer need at least: S and P, and where they aren't used at
  // the same time P takes the place of S.
  FCSA_HD constexpr int register_estimate(const Traits& t) const {
    const int s = block_n / 2, p = overlap == kApart ? 0 : block_n / 4;
    return output_columns(t) / 2 + s + p + (q_in_registers ? t.head_dim / 4 : 0) + 22;
  }

  // Shared memory. Tiles are made of panels: as many channels as one swizzled row holds.
  FCSA_HD static constexpr int panel_channels(const Traits& t) {
    return t.head_dim % 64 == 0 ? 64 : t.head_dim % 32 == 0 ? 32 : 16;
  }
  FCSA_HD static constexpr int panel_row_bytes(const Traits& t) { return 2 * panel_channels(t); }
  FCSA_HD static constexpr int panels(const Traits& t) { return t.head_dim / panel_channels(t); }
  FCSA_HD constexpr int panel_bytes(const Traits& t) const { return block_n * panel_row_bytes(t); }
  FCSA_HD constexpr int tile_bytes(const Traits& t) const { return block_n * 2 * t.head_dim; }
  FCSA_HD static constexpr int q_bytes(const Traits& t) { return kRows * 2 * t.head_dim; }  // of a warpgroup
  FCSA_HD static constexpr bool normalises(const Traits& t) { return t.l2norm_qk && !normalises_first(t); }
  FCSA_HD constexpr bool normalises_keys(const Traits& t) const {  // in the workspace
    return normalises(t) && key_norms != kProducer;
  }
  FCSA_HD constexpr bool shares_keys(const Traits& t) const {
    return normalises(t) && key_norms == kTogether;
  }
  FCSA_HD constexpr bool scales_scores(const Traits& t) const {  // by 1/|k|
    return normalises(t) && key_norms == kProducer;
  }
  FCSA_HD constexpr bool uses_factors(const Traits& t) const { return t.key_mask || scales_scores(t); }
  // Of a key: 1/|k|, and with a mask what no logit of it exceeds: -inf where it is hidden or past the end.
  FCSA_HD constexpr int factor_floats(const Traits& t) const {
    return (t.key_mask ? 1 : 0) + (scales_scores(t) ? 1 : 0);
  }
  FCSA_HD constexpr int factor_bytes(const Traits& t) const {
    return uses_factors(t) ? block_n * factor_floats(t) * 4 : 0;
  }
  // With a mask those of a tile have a place before the tile that was in the stage has been read to its end:
  // the bytes of a mask take as long to arrive as a tile.
  FCSA_HD constexpr int factor_slots(const Traits& t) const { return t.key_mask ? 2 * stages : stages; }
  // The columns of ones are a panel of their own behind the V tiles, of the keys of one product.
  FCSA_HD constexpr int ones_bytes(const Traits& t) const {
    return tensor_sums ? 16 * panel_row_bytes(t) : 0;
  }
  // With keys split: a row of a block's part, O, its sum and its maximum in f32, where Q, K and V were.
  FCSA_HD static constexpr int part_pitch(const Traits& t) { return 4 * t.head_dim + 16; }
  FCSA_HD constexpr int part_bytes(const Traits& t) const { return block_m() * part_pitch(t); }
  // A tile of the bias, for each warpgroup in panels of as many keys as one swizzled row holds.
  FCSA_HD static constexpr int bias_element_bytes(const Traits& t) {
    return t.bias == Bias::none ? 0 : t.bias == Bias::f32 ? 4 : 2;
  }
  FCSA_HD constexpr int bias_row_bytes(const Traits& t) const {  // of a panel
    const int bytes = block_n * bias_element_bytes(t);
    return bytes % 128 == 0 ? 128 : bytes % 64 == 0 ? 64 : 32;
  }
  FCSA_HD constexpr int bias_panels(const Traits& t) const {
    return block_n * bias_element_bytes(t) / bias_row_bytes(t);
  }
  FCSA_HD constexpr int bias_bytes(const Traits& t) const {
    return block_m() * block_n * bias_element_bytes(t);
  }
  // Whether the TMA copies the bias; elsewhere the warpgroups do it themselves, which is slow.
  FCSA_HD static constexpr bool copies_bias(const Traits& t, const Args& args) {
    if (t.bias == Bias::none || args.bias_strides.row <= 0) return false;
    const Strides& s = args.bias_strides;
    const long long batch = args.bias_batch == 1 ? 0 : s.batch, head = args.bias_heads == 1 ? 0 : s.head;
    if ((args.bias_batch > 1 && batch <= 0) || (args.bias_heads > 1 && head <= 0)) return false;
    return (bias_element_bytes(t) * (s.row | batch | head)) % 16 == 0 &&
           reinterpret_cast<unsigned long long>(args.bias) % 16 == 0;
  }
  FCSA_HD constexpr int tiles_bytes(const Traits& t) const {
    return q_buffers * warpgroups * q_bytes(t) + bias_stages * bias_bytes(t) + 2 * stages * tile_bytes(t);
  }
  FCSA_HD constexpr int barriers() const { return 2 * q_buffers + 5 * stages; }
  // Tasks that a warp may still read: those whose Q is in flight, the one before, which is being written, and
  // one more, since a warp may be behind the one that frees Q for its warpgroup.
  static constexpr int kTaskSlots = 4, kTaskBytes = 32;
  FCSA_HD constexpr int smem_bytes(const Traits& t) const {
    const int alignment = 1024;  // of swizzled tiles
    return alignment + tiles_bytes(t) + factor_slots(t) * factor_bytes(t) + ones_bytes(t) +
           8 * (barriers() + barriers() % 2 + stages + stages % 2) + kTaskBytes * kTaskSlots +
           (t.key_mask ? 24 * stages : 0) + (t.bias != Bias::none ? 16 * bias_stages : 0);
  }

  // Workspace: tensors normalised by groups; or K over its norms [batch, kv_heads, nk, head_dim], 16 bits,
  // and how many slices of each head are there [batch, kv_heads], 32 bits.
  struct Workspace {
    long long keys = 0, counts = 0, bytes = 0;
  };
  FCSA_HD constexpr Workspace workspace(const Traits& t, const Args& args) const {
    Workspace w;
    if (normalises_first(t)) {
      w.keys = normalised_tensors(t, args).k;
      w.counts = normalised_tensors(t, args).bytes;
    } else if (normalises_keys(t)) {
      w.counts = ceil_div(2LL * args.batch * args.kv_heads * args.nk * t.head_dim, 256) * 256;
    }
    w.bytes = w.counts + (shares_keys(t) ? 4LL * args.batch * args.kv_heads : 0);
    return w;
  }

  FCSA_HD constexpr int cluster_blocks() const { return cluster * split; }

  // Query heads whose rows share a tile, which has to hold whole queries of all of them; tiles of rows of
  // each; what one block (or cluster) works on at a time.
  FCSA_HD constexpr int packed(const Args& args) const {
    const int group = args.heads / args.kv_heads;
    return pack_heads && kRows % group == 0 ? group : 1;
  }
  FCSA_HD constexpr long long row_blocks(const Args& args) const {
    return ceil_div(1LL * args.nq * packed(args), 1LL * cluster * block_m());
  }
  FCSA_HD constexpr long long head_tiles(const Args& args) const {
    return 1LL * args.batch * (args.heads / packed(args));
  }
  FCSA_HD constexpr bool pairs(const Traits& t) const { return t.causal && paired; }
  FCSA_HD constexpr long long units(const Traits& t, const Args& args) const {  // of work, in a head
    return pairs(t) ? ceil_div(row_blocks(args), 2) : row_blocks(args);
  }
  FCSA_HD constexpr long long work_count(const Traits& t, const Args& args) const {
    return units(t, args) * head_tiles(args);
  }

  static constexpr int kSliceRows = 16;                               // keys that a warp normalises at a time
  static constexpr int kNormaliseThreads = 256, kClearThreads = 256;  // of blocks of these kernels

  FCSA_HD constexpr TensorMap row_map(const Traits& t, const Args& args, int tensor, int rows) const {
    const bool query = tensor == TensorMap::q || tensor == TensorMap::o;
    Strides s = tensor == TensorMap::q   ? args.q_strides
                : tensor == TensorMap::k ? args.k_strides
                : tensor == TensorMap::v ? args.v_strides
                                         : args.o_strides;
    const int heads = query ? args.heads : args.kv_heads, length = query ? args.nq : args.nk;
    TensorMap map;
    map.tensor = tensor;
    const bool normalised = tensor == TensorMap::q
                                ? normalises_first(t)
                                : tensor == TensorMap::k && (normalises_first(t) || normalises_keys(t));
    if (normalised) {
      map.tensor = TensorMap::workspace;
      map.first_byte = query ? normalised_tensors(t, args).q : workspace(t, args).keys;
      s = {1LL * heads * length * t.head_dim, 1LL * length * t.head_dim, t.head_dim};
    }
    const auto dimension = [&](int i, long long size, long long stride, int box) {
      map.size[i] = size;
      map.stride_bytes[i - 1] = 2 * stride;
      map.box[i] = box;
    };
    map.swizzle_bytes = panel_row_bytes(t);
    map.size[0] = t.head_dim;
    map.box[0] = panel_channels(t);
    const int group = query ? packed(args) : 1;
    if (query && pack_heads) {
      map.rank = 5;
      dimension(1, group, s.head, group);
      dimension(2, length, s.row, rows / group);
      dimension(3, heads / group, s.head * group, 1);
      dimension(4, args.batch, s.batch, 1);
    } else {
      map.rank = 4;
      dimension(1, length, s.row, rows);
      dimension(2, heads, s.head, 1);
      dimension(3, args.batch, s.batch, 1);
    }
    return map;
  }

  FCSA_HD constexpr TensorMap bias_map(const Traits& t, const Args& args) const {
    TensorMap map;
    map.tensor = TensorMap::bias;
    map.rank = 4;
    map.swizzle_bytes = bias_row_bytes(t);
    const int element = bias_element_bytes(t),
              size[4] = {element / 2 * args.nk, args.nq, args.bias_heads, args.bias_batch};
    const Strides& s = args.bias_strides;
    const long long stride[3] = {s.row, args.bias_heads == 1 ? s.row : s.head,
                                 args.bias_batch == 1 ? s.row : s.batch};
    for (int i = 0; i < 4; ++i) {
      map.size[i] = size[i];
      map.box[i] = i == 0 ? bias_row_bytes(t) / 2 : i == 1 ? kRows : 1;
      if (i > 0) map.stride_bytes[i - 1] = element * stride[i - 1];
    }
    return map;
  }

  FCSA_HD constexpr int maps(const Traits& t, const Args& args) const {
    return tma_store || copies_bias(t, args) ? 4 : 3;
  }

  // Kernels: 0 forward, 1 normalise_keys, 2 normalise, 3 clear_counts. Maps: 0 q, 1 k, 2 v, 3 o or the bias.
  FCSA_HD constexpr LaunchPlan plan(const Traits& t, const Args& args) const {
    if (is_empty(args)) return empty_plan(t, false);
    LaunchPlan plan;
    plan.workspace_bytes = workspace(t, args).bytes;
    plan.map_count = maps(t, args);
    plan.maps[0] = row_map(t, args, TensorMap::q, kRows);
    plan.maps[1] = row_map(t, args, TensorMap::k, block_n / cluster);
    plan.maps[2] = row_map(t, args, TensorMap::v, block_n / cluster);
    if (tma_store) plan.maps[3] = row_map(t, args, TensorMap::o, kRows);
    if (copies_bias(t, args)) plan.maps[3] = bias_map(t, args);
    if (normalises_first(t)) plan.steps[plan.count++] = normalise_launch(2, t, args);
    if (shares_keys(t)) {
      Launch& clear = plan.steps[plan.count++];
      clear.kernel = 3;
      clear.grid_x = static_cast<unsigned>(ceil_div(1LL * args.batch * args.kv_heads, kClearThreads));
      clear.threads = kClearThreads;
    } else if (normalises_keys(t)) {
      Launch& keys = plan.steps[plan.count++];
      keys.kernel = 1;
      keys.grid_x = static_cast<unsigned>(
          ceil_div(32LL * args.batch * args.kv_heads * ceil_div(args.nk, kSliceRows), kNormaliseThreads));
      keys.threads = kNormaliseThreads;
    }
    Launch& forward = plan.steps[plan.count++];
    forward.kernel = 0;
    forward.grid_x = static_cast<unsigned>(cluster_blocks() * work_count(t, args));
    forward.threads = static_cast<unsigned>(threads());
    forward.smem_bytes = static_cast<unsigned>(smem_bytes(t));
    forward.blocks_per_multiprocessor = persistent ? static_cast<unsigned>(min_blocks) : 0;
    forward.cooperative = shares_keys(t);
    return plan;
  }
};

}  // namespace fcsa::kernels::wgmma
