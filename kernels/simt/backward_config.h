// Tuned parameters of the backward pass of the simt family, and everything that follows from them.
#pragma once

#include "kernels/common/backward.h"
#include "kernels/common/normalise.h"
#include "kernels/common/sizes.h"

namespace fcsa::kernels::simt {

// How the threads of a block share a pass. The block owns block_m() rows, of keys or of queries, and walks
// over the rows of the other kind, block_n() at a time. Its warps own whole rows, so P and dS pass inside a
// warp from where they are computed to the products that they are factors of. For the products over channels
// (S and dP) the 32 lanes form a grid of lanes_m x lanes_n, each with a micro-tile of thread_m x thread_n;
// for the sums over the other rows (gradients of the owned rows) one of row_lanes() x channel_lanes.
struct PassShape {
  int warps = 4;
  int lanes_m = 4;
  int thread_m = 4;
  int thread_n = 4;
  int channel_lanes = 8;
  int stages = 1;      // tiles of the other rows in flight
  int min_blocks = 1;  // that a multiprocessor should hold: caps the registers
  int unroll = 2;      // of the loops over channels and over rows, in steps of 4

  FCSA_HD constexpr int lanes_n() const { return 32 / lanes_m; }
  FCSA_HD constexpr int warp_rows() const { return lanes_m * thread_m; }
  FCSA_HD constexpr int block_m() const { return warps * warp_rows(); }
  FCSA_HD constexpr int block_n() const { return lanes_n() * thread_n; }
  FCSA_HD constexpr int threads() const { return warps * 32; }
  FCSA_HD constexpr int row_lanes() const { return 32 / channel_lanes; }
  FCSA_HD constexpr int thread_rows() const { return warp_rows() / row_lanes(); }
  // Of 4 channels, of each row of a lane.
  FCSA_HD constexpr int channel_chunks(int head_dim) const {
    return static_cast<int>(ceil_div(head_dim, 4LL * channel_lanes));
  }

  // Row pitches in shared memory, in floats. +4 puts neighbouring rows 4 banks apart: the 16-byte reads of 8
  // lanes hit all 32 banks. Of P and dS as many rows are read at once as there are row_lanes.
  FCSA_HD static constexpr int pitch(int head_dim) { return head_dim + 4; }
  FCSA_HD constexpr int exchange_pitch() const { return block_n() + (row_lanes() > 4 ? 4 : 8); }
  // Neighbouring keys of P and dS that a lane moves at once.
  FCSA_HD constexpr int vector() const { return thread_n % 4 == 0 ? 4 : thread_n % 2 == 0 ? 2 : 1; }

  FCSA_HD constexpr int smem_bytes(int head_dim) const {
    const int own = 2 * block_m() * pitch(head_dim);
    const int other = 2 * stages * block_n() * pitch(head_dim);
    const int exchange = block_m() * exchange_pitch();
    const int records = 4 * stages * block_n();
    return 4 * (own + other + exchange + records);
  }

  // Registers that the sums of `gradients` tensors, a micro-tile and the operands of one step need at least.
  FCSA_HD constexpr int register_estimate(int head_dim, int gradients) const {
    const int sums = gradients * thread_rows() * channel_chunks(head_dim) * 4;
    const int operands = 4 * (thread_m > thread_rows() ? thread_m : thread_rows()) + 4;
    return sums + thread_m * thread_n + operands + 2 * thread_n + 36;
  }
};

// Two passes: one owns keys and sums dk and dv over the queries of all heads that share them, the other owns
// queries and sums dq over the keys. Both compute S and dP: seven products, and results that don't differ
// from run to run. With dq_atomics it is five: the first pass adds to dq in the workspace, atomically and in
// any order, and of the second what follows the sum is left.
struct BackwardConfig {
  int dq_atomics = 0;
  int key_warps = 4;
  int key_lanes_m = 4;
  int key_thread_m = 4;
  int key_thread_n = 4;
  int key_channel_lanes = 8;
  int key_stages = 1;
  int key_min_blocks = 1;
  int key_unroll = 2;
  int query_warps = 4;
  int query_lanes_m = 4;
  int query_thread_m = 4;
  int query_thread_n = 4;
  int query_channel_lanes = 8;
  int query_stages = 1;
  int query_min_blocks = 1;
  int query_unroll = 2;

  FCSA_HD constexpr PassShape keys() const {
    return {.warps = key_warps,
            .lanes_m = key_lanes_m,
            .thread_m = key_thread_m,
            .thread_n = key_thread_n,
            .channel_lanes = key_channel_lanes,
            .stages = key_stages,
            .min_blocks = key_min_blocks,
            .unroll = key_unroll};
  }
  FCSA_HD constexpr PassShape queries() const {
    if (dq_atomics) return {.warps = 2, .lanes_m = 8, .thread_m = 1, .thread_n = 1, .channel_lanes = 4};
    return {.warps = query_warps,
            .lanes_m = query_lanes_m,
            .thread_m = query_thread_m,
            .thread_n = query_thread_n,
            .channel_lanes = query_channel_lanes,
            .stages = query_stages,
            .min_blocks = query_min_blocks,
            .unroll = query_unroll};
  }
  // Of dbias, a tile at a time: it has no other rows to walk over. Its sums are a micro-tile too.
  FCSA_HD constexpr PassShape bias() const {
    PassShape shape = dq_atomics ? keys() : queries();
    shape.thread_m = shape.thread_m < 4 ? shape.thread_m : 4;
    shape.stages = shape.min_blocks = shape.unroll = 1;
    return shape;
  }

  // Whether the passes work on raw q and k, whose norms are in the records.
  FCSA_HD static constexpr bool normalises(const Traits& traits) {
    return traits.l2norm_qk && !normalises_first(traits);
  }

  // dbias: a tile of it is the sum over the batches and heads that share it. Where tiles are few, these are
  // split over blocks.
  struct BiasTiles {
    int shared_batches = 0, shared_heads = 0;
    int row_tiles = 0, key_tiles = 0;
    int tiles = 0;   // of all batches and heads of the bias
    int splits = 1;  // parts of shared_batches x shared_heads
    FCSA_HD constexpr int shared() const { return shared_batches * shared_heads; }
    FCSA_HD constexpr long long blocks() const { return 1LL * tiles * splits; }
  };
  FCSA_HD constexpr BiasTiles bias_tiles(const Args& args) const {
    BiasTiles b;
    b.shared_batches = args.batch / args.bias_batch;
    b.shared_heads = args.heads / args.bias_heads;
    b.row_tiles = static_cast<int>(ceil_div(args.nq, bias().block_m()));
    b.key_tiles = static_cast<int>(ceil_div(args.nk, bias().block_n()));
    b.tiles = b.row_tiles * b.key_tiles * args.bias_batch * args.bias_heads;
    const int wanted = kBiasBlocks / b.tiles;
    b.splits = wanted < 1 ? 1 : wanted < b.shared() ? wanted : b.shared();
    return b;
  }

  // Byte offsets. Records: 4 f32 for every query [batch, heads, nq] and key [batch, kv_heads, nk]. With
  // dq_atomics the sums of dq [batch, heads, nq, head_dim] f32. What each block adds to dscale [heads, batch,
  // tiles of queries] f32. Split dbias: a count of finished parts for each tile, and the parts [tile, split,
  // element of the tile] f32.
  struct Workspace {
    long long query_records = 0, key_records = 0, query_sums = 0, scale_sums = 0, bias_counts = 0,
              bias_parts = 0, bytes = 0;
  };
  FCSA_HD constexpr Workspace workspace(const Traits& traits, const BackwardArgs& args) const {
    const auto aligned = [](long long bytes) { return ceil_div(bytes, 256) * 256; };
    Workspace w;
    w.query_records = normalises_first(traits) ? aligned(normalised_tensors(traits, args).bytes) : 0;
    w.key_records = w.query_records + aligned(16 * query_rows(args));
    w.query_sums = w.key_records + aligned(16 * key_rows(args));
    w.scale_sums = w.query_sums + (dq_atomics ? aligned(4 * query_rows(args) * traits.head_dim) : 0);
    w.bias_counts = w.scale_sums + (args.wants_dscale ? aligned(4 * query_blocks(args)) : 0);
    w.bias_parts = w.bytes = w.bias_counts;
    if (!args.wants_dbias || bias_tiles(args).splits == 1) return w;
    w.bias_parts = w.bias_counts + aligned(4LL * bias_tiles(args).tiles);
    w.bytes = w.bias_parts + 4 * bias_tiles(args).blocks() * bias().block_m() * bias().block_n();
    return w;
  }

  FCSA_HD static constexpr long long query_rows(const Args& args) {
    return 1LL * args.batch * args.heads * args.nq;
  }
  FCSA_HD static constexpr long long key_rows(const Args& args) {
    return 1LL * args.batch * args.kv_heads * args.nk;
  }
  FCSA_HD constexpr long long query_blocks(const Args& args) const {
    return ceil_div(args.nq, queries().block_m()) * args.heads * args.batch;
  }
  FCSA_HD constexpr long long key_blocks(const Args& args) const {
    return ceil_div(args.nk, keys().block_m()) * args.kv_heads * args.batch;
  }

  static constexpr int kBiasBlocks = 512;  // enough to fill a device several times
  static constexpr int kPrepareThreads = NormaliseLayout::kThreads;
  static constexpr int kRecordLanes = 8;  // that share a row
  static constexpr int kRecordRows = kPrepareThreads / kRecordLanes;

  // Blocks of `prepare`: those that normalise come first, then those of queries, then those of keys.
  FCSA_HD static constexpr unsigned normalise_blocks(const Traits& traits, const Args& args) {
    return normalises_first(traits) ? normalise_launch(0, traits, args).grid_x : 0;
  }
  FCSA_HD static constexpr unsigned head_record_blocks(int rows) {
    return static_cast<unsigned>(ceil_div(rows, kRecordRows));
  }
  FCSA_HD static constexpr unsigned query_record_blocks(const Args& args) {
    return static_cast<unsigned>(args.batch * args.heads) * head_record_blocks(args.nq);
  }
  FCSA_HD static constexpr unsigned key_record_blocks(const Args& args) {
    return static_cast<unsigned>(args.batch * args.kv_heads) * head_record_blocks(args.nk);
  }

  // Kernels: 0 prepare, 1 grad_keys, 2 grad_queries, 3 grad_bias_and_scale.
  FCSA_HD constexpr LaunchPlan plan(const Traits& traits, const BackwardArgs& args) const {
    if (is_empty(args)) return empty_plan(traits, true);
    LaunchPlan plan;
    plan.workspace_bytes = workspace(traits, args).bytes;
    Launch& prepare = plan.steps[plan.count++];
    prepare.kernel = 0;
    prepare.grid_x = normalise_blocks(traits, args) + query_record_blocks(args) + key_record_blocks(args);
    prepare.threads = kPrepareThreads;
    plan.steps[plan.count++] = pass_launch(1, keys(), traits.head_dim, key_blocks(args));
    plan.steps[plan.count++] = pass_launch(2, queries(), traits.head_dim, query_blocks(args));
    if (!args.wants_dbias && !args.wants_dscale) return plan;
    const long long blocks =
        (args.wants_dbias ? bias_tiles(args).blocks() : 0) + (args.wants_dscale ? args.heads : 0);
    plan.steps[plan.count++] = pass_launch(3, bias(), traits.head_dim, blocks);
    return plan;
  }

 private:
  FCSA_HD static constexpr Launch pass_launch(int kernel, const PassShape& shape, int head_dim,
                                              long long blocks) {
    Launch launch;
    launch.kernel = kernel;
    launch.grid_x = static_cast<unsigned>(blocks);
    launch.threads = static_cast<unsigned>(shape.threads());
    launch.smem_bytes = static_cast<unsigned>(shape.smem_bytes(head_dim));
    return launch;
  }
};

}  // namespace fcsa::kernels::simt
