// Tuned parameters of the backward pass of the mma family, and everything that follows from them.
#pragma once

#include "kernels/common/backward.h"
#include "kernels/common/normalise.h"
#include "kernels/common/sizes.h"
#include "kernels/mma/row_layout.h"

namespace fcsa::kernels::mma {

// One pass of the backward computation. A block owns rows of one side, 16 * row_tiles for every `parts` of
// its warps, whose gradients it keeps in registers, and walks over the rows of the other side, `block` at a
// time. Warps that share rows split the tile for P and dS, and the channels for the gradients. A warp takes
// `chunk` rows of its part of the tile at a time through both products that make dS.
struct PassShape {
  int warps = 4;
  int parts = 1;
  int row_tiles = 1;
  int block = 64;
  int chunk = 32;
  int stages = 2;
  int resident = 0;  // 1: fragments of the owned rows stay in registers

  FCSA_HD constexpr int threads() const { return 32 * warps; }
  FCSA_HD constexpr int warp_rows() const { return 16 * row_tiles; }
  FCSA_HD constexpr int row_groups() const { return warps / parts; }
  FCSA_HD constexpr int rows() const { return row_groups() * warp_rows(); }
};

// Where the sum over the keys for dQ is made.
enum DQ : int { kSecondPass = 0, kAtomics = 1 };

// Keys pass: a block owns keys of one key/value head and walks over the queries of all heads that read it: dK
// and dV. Queries pass: a block owns queries and walks over the keys: dQ. With kAtomics the keys pass adds
// its part of dQ to an f32 tensor in the workspace instead, and what is left of the queries pass converts
// that.
struct BackwardConfig {
  // In the order of the table in backward_space.cpp: initialisers name them in this order.
  int warps = 8;
  int parts = 1;          // warps that share keys
  int key_tiles = 1;      // tiles of 16 keys in a warp
  int block_m = 64;       // queries of a tile
  int chunk = 32;         // queries that a warp has S and dP of in registers at a time
  int stages = 2;         // tiles of Q and dO in flight
  int resident = 0;       // 1: fragments of K and V stay in registers
  int score_buffers = 1;  // for the dS and P that warps exchange; with 2, and 3 stages, one barrier a tile
  int min_blocks = 1;     // blocks a multiprocessor should hold: caps the registers
  int dq = kSecondPass;
  int dq_tiles = 1;     // atomics: tiles of 16 queries in a warp
  int query_warps = 4;  // the queries pass, and the bias
  int query_tiles = 1;
  int query_block_n = 64;
  int query_stages = 2;
  int query_resident = 0;
  int query_min_blocks = 1;
  int head_group = 16;  // heads of which blocks start together; 0: all
  int read_index = 0;   // 1: a thread reads its number again for every chunk, 0: it comes from an exchange

  FCSA_HD constexpr PassShape keys() const {
    return {warps, parts, key_tiles, block_m, chunk, stages, resident};
  }
  FCSA_HD constexpr PassShape queries() const {
    const int query_chunk = query_block_n < 64 || query_tiles > 1 ? 16 : 32;
    return {query_warps, 1, query_tiles, query_block_n, query_chunk, query_stages, query_resident};
  }

  // f16: 1/|q| and 1/|k| span too many octaves for a dS that has both, so q and k are normalised beforehand.
  FCSA_HD static constexpr bool normalised_before(const Traits& t) {
    return t.l2norm_qk && (t.groups > 1 || t.dtype == DType::f16);
  }
  // Whether norms enter S and dS as factors of rows and columns.
  FCSA_HD static constexpr bool uses_norms(const Traits& t) { return t.l2norm_qk && !normalised_before(t); }

  // Shared memory. Numbers of a row: of a query lse, delta and 1/|q|, of a key 1/|k|, and 0 or -inf where
  // there is a mask.
  FCSA_HD static constexpr int numbers(const Traits& t, bool of_keys) {
    return !of_keys ? 3 : t.key_mask ? 2 : 1;
  }
  // Rows of K and V, or of Q and dO, with their numbers.
  FCSA_HD static constexpr int rows_bytes(const Traits& t, int rows, bool of_keys) {
    return 2 * rows * row_pitch(2 * t.head_dim) + 4 * rows * numbers(t, of_keys);
  }
  // The bias of a tile, rows of queries.
  FCSA_HD static constexpr int bias_bytes(const Traits& t, const PassShape& p, bool owns_keys) {
    if (t.bias == Bias::none) return 0;
    const int element = t.bias == Bias::f32 ? 4 : 2, queries = owns_keys ? p.block : p.rows();
    return queries * row_pitch(element * (owns_keys ? p.rows() : p.block));
  }
  FCSA_HD static constexpr int stage_bytes(const Traits& t, const PassShape& p, bool owns_keys) {
    return rows_bytes(t, p.block, !owns_keys) + bias_bytes(t, p, owns_keys);
  }
  FCSA_HD static constexpr int loop_bytes(const Traits& t, const PassShape& p, bool owns_keys) {
    return rows_bytes(t, p.rows(), owns_keys) + p.stages * stage_bytes(t, p, owns_keys);
  }
  // The gradient of the bias: both sides change with every batch and head, a tile of the bias stays.
  FCSA_HD static constexpr int bias_stage_bytes(const Traits& t, const PassShape& p) {
    return rows_bytes(t, p.rows(), false) + rows_bytes(t, p.block, true);
  }
  FCSA_HD static constexpr int bias_loop_bytes(const Traits& t, const PassShape& p) {
    return p.stages * bias_stage_bytes(t, p) + bias_bytes(t, p, false);
  }
  // dS of a tile, as rows of keys, for dQ = dS K; and where warps share keys they exchange it, and P.
  FCSA_HD constexpr int exchanged() const { return parts > 1 ? 2 : dq == kAtomics ? 1 : 0; }
  FCSA_HD constexpr int scores_bytes() const {
    return score_buffers * exchanged() * keys().rows() * row_pitch(2 * block_m);
  }
  // Rows of gradients pass through it at the end, 16 for every warp; warps that share rows add up two numbers
  // of each.
  FCSA_HD static constexpr int staging_bytes(const Traits& t, const PassShape& p) {
    return p.warps * 16 * (2 * t.head_dim / p.parts + 16);
  }
  FCSA_HD static constexpr int output_bytes(const Traits& t, const PassShape& p) {
    return staging_bytes(t, p) + (p.parts > 1 ? p.warps * 16 * 8 : 0);
  }
  FCSA_HD constexpr int keys_smem_bytes(const Traits& t) const {
    const int loop = loop_bytes(t, keys(), true) + scores_bytes(), end = output_bytes(t, keys());
    return loop > end ? loop : end;
  }
  FCSA_HD constexpr int queries_smem_bytes(const Traits& t) const {
    const int loop = loop_bytes(t, queries(), false), end = output_bytes(t, queries());
    return loop > end ? loop : end;
  }

  // dQ of a tile: every warp has 16 * dq_tiles rows, and a part of their channels where that leaves warps
  // over.
  FCSA_HD constexpr int dq_parts() const {
    const int row_parts = block_m / (16 * dq_tiles);
    return warps > row_parts ? warps / row_parts : 1;
  }

  // Registers that the accumulators and operands of a thread need at least.
  FCSA_HD static constexpr int pass_registers(const Traits& t, const PassShape& p, int accumulators) {
    const int owned = p.resident ? p.row_tiles * t.head_dim / 2 : 8;
    return accumulators * p.row_tiles * t.head_dim / 2 / p.parts + p.row_tiles * (p.chunk + p.chunk / 2) +
           owned + 8;
  }
  FCSA_HD constexpr int keys_registers(const Traits& t) const { return pass_registers(t, keys(), 2); }
  FCSA_HD constexpr int queries_registers(const Traits& t) const { return pass_registers(t, queries(), 1); }
  FCSA_HD constexpr int bias_registers(const Traits& t) const {
    return pass_registers(t, queries(), 0) + queries().row_tiles * query_block_n / 2 + 24;
  }

  // Workspace: normalised q and k; of every query [batch, heads, padded_queries] f32 each: lse in base 2,
  // delta, 1/|q|, and q . A for the gradient of the scale; of every key [batch, kv_heads, padded_keys] f32:
  // 1/|k|, and 0 or -inf; with a mask the first key of every batch that it shows [batch], 32 bits; dQ in f32
  // as fragments of 16 x 8, [batch, heads, padded_queries / 16, head_dim / 8, 32, 4].
  struct Workspace {
    long long queries = 0, query_floats = 0, keys = 0, key_floats = 0, dq = 0, first_shown = 0, bytes = 0;
  };
  FCSA_HD static constexpr long long aligned(long long bytes) { return ceil_div(bytes, 256) * 256; }
  // Tiles that are loaded past the end are zero: a multiple of every tile's length.
  static constexpr int kPadding = 128;
  FCSA_HD static constexpr long long padded_queries(const Args& a) {
    return ceil_div(a.nq, kPadding) * kPadding;
  }
  FCSA_HD static constexpr long long padded_keys(const Args& a) {
    return ceil_div(a.nk, kPadding) * kPadding;
  }
  FCSA_HD constexpr Workspace workspace(const Traits& t, const Args& a) const {
    Workspace w;
    w.queries = normalised_before(t) ? aligned(normalised_tensors(t, a).bytes) : 0;
    w.query_floats = 1LL * a.batch * a.heads * padded_queries(a);
    w.keys = w.queries + 4LL * 4 * w.query_floats;
    w.key_floats = 1LL * a.batch * a.kv_heads * padded_keys(a);
    w.dq = w.keys + 2LL * 4 * w.key_floats;
    w.first_shown = w.dq + (dq == kAtomics ? 4 * w.query_floats * t.head_dim : 0);
    w.bytes = w.first_shown + (t.key_mask ? aligned(4LL * a.batch) : 0);
    return w;
  }

  static constexpr int kPrepareThreads = 256, kPrepareRows = 32;  // eight lanes a row
  // The pass over the keys normalises its own.
  FCSA_HD constexpr bool reads_key_norms(const Traits& t, const BackwardArgs& a) const {
    return uses_norms(t) && (dq == kSecondPass || a.wants_dbias);
  }
  FCSA_HD constexpr bool prepares_keys(const Traits& t, const BackwardArgs& a) const {
    return t.key_mask || reads_key_norms(t, a);
  }
  // Of rows; with a mask one for every batch follows.
  FCSA_HD constexpr long long prepare_blocks(const Traits& t, const BackwardArgs& a) const {
    const long long keys = prepares_keys(t, a) ? a.kv_heads * padded_keys(a) : 0;
    return a.batch * (a.heads * padded_queries(a) + keys) / kPrepareRows;
  }
  FCSA_HD static constexpr long long normalise_blocks(const Traits& t, const Args& a) {
    return normalised_before(t) ? normalise_launch(0, t, a).grid_x : 0;
  }
  FCSA_HD constexpr long long key_blocks(const Args& a) const {
    return ceil_div(a.nk, keys().rows()) * a.kv_heads * a.batch;
  }
  FCSA_HD constexpr long long query_blocks(const Args& a) const {
    return ceil_div(a.nq, queries().rows()) * a.heads * a.batch;
  }
  // Tiles of the bias, [bias_batch, bias_heads, row tiles, key tiles].
  FCSA_HD constexpr long long bias_blocks(const BackwardArgs& a) const {
    if (!a.wants_dbias) return 0;
    return ceil_div(a.nq, queries().rows()) * ceil_div(a.nk, queries().block) * a.bias_heads * a.bias_batch;
  }

  // Kernels: 0 prepare_backward, 1 grad_keys, 2 grad_queries, 3 grad_bias_and_scale.
  FCSA_HD constexpr LaunchPlan plan(const Traits& t, const BackwardArgs& a) const {
    if (is_empty(a)) return empty_plan(t, true);
    LaunchPlan plan;
    plan.workspace_bytes = workspace(t, a).bytes;
    plan.count = 3;
    plan.steps[0] = {.kernel = 0,
                     .grid_x = static_cast<unsigned>(normalise_blocks(t, a) + prepare_blocks(t, a) +
                                                     (t.key_mask ? a.batch : 0)),
                     .threads = kPrepareThreads};
    plan.steps[1] = {.kernel = 1,
                     .grid_x = static_cast<unsigned>(key_blocks(a)),
                     .threads = static_cast<unsigned>(keys().threads()),
                     .smem_bytes = static_cast<unsigned>(keys_smem_bytes(t))};
    plan.steps[2] = {.kernel = 2,
                     .grid_x = static_cast<unsigned>(query_blocks(a)),
                     .threads = static_cast<unsigned>(queries().threads()),
                     .smem_bytes = static_cast<unsigned>(dq == kAtomics ? output_bytes(t, queries())
                                                                        : queries_smem_bytes(t))};
    const long long bias = bias_blocks(a), scales = a.wants_dscale ? a.heads : 0;
    if (bias + scales == 0) return plan;
    plan.steps[plan.count++] = {
        .kernel = 3,
        .grid_x = static_cast<unsigned>(bias + scales),
        .threads = static_cast<unsigned>(queries().threads()),
        .smem_bytes = static_cast<unsigned>(bias != 0 ? bias_loop_bytes(t, queries()) : 0)};
    return plan;
  }
};

}  // namespace fcsa::kernels::mma
