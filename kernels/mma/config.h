// Tuned parameters of the mma family, and everything that follows from them.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/normalise.h"
#include "kernels/common/sizes.h"
#include "kernels/mma/row_layout.h"

namespace fcsa::kernels::mma {

// Where 1/|k| comes from: a kernel that reads K once beforehand, or the block itself, for each tile that it
// has loaded, with the CUDA cores or as the diagonal of K K^T on the tensor cores.
enum KeyNorms : int { kPrepass = 0, kCudaCores = 1, kTensorCores = 2 };

// A block works on block_m() rows of queries and walks over the keys, block_n at a time. Its warps split the
// tile into warps_m parts by rows and warps_n parts by keys; those of different keys add up their O at the
// end. A warp takes `chunk` keys at a time from S = Q K^T through exp2 to O += P V, all in registers.
// Where tiles are few, the keys of one are split over blocks, which add up through the distributed shared
// memory of their cluster, or through the workspace and a kernel of its own.
struct ForwardConfig {
  // In the order of the table in family.cpp: initialisers name them in this order.
  int cluster = 1;  // blocks of a cluster, which share the keys of one tile
  int warps_m = 4;
  int warps_n = 1;
  int row_tiles = 2;  // tiles of 16 rows in a warp
  int block_n = 64;
  int chunk = 32;
  int overlap = 0;         // 1: S of the next chunk is computed before P V of this one
  int q_in_registers = 1;  // 0: Q is read from shared memory for every chunk
  int swizzle = 1;         // rows in shared memory: 1 permuted, 0 padded by 16 bytes
  int stages = 2;          // K and V tiles in flight
  int min_blocks = 1;      // blocks a multiprocessor should hold: caps the registers
  int unroll = 1;          // chunks written out
  int key_norms = kPrepass;
  int tensor_sums = 0;    // row sums of P: 0 on the CUDA cores, 1 on the tensor cores, of P as it is rounded
  int polynomial = 0;     // of 8 exponentials, how many by polynomial on the CUDA cores instead of the MUFU
  int split_until = 0;    // keys are split over blocks until the grid has this many; 0: never
  int pack_heads = 0;     // 1: rows of a tile are those of all query heads that share a key/value head
  int longest_first = 1;  // causal: blocks with the most keys start first

  FCSA_HD constexpr int warps() const { return warps_m * warps_n; }
  FCSA_HD constexpr int threads() const { return 32 * warps(); }
  FCSA_HD constexpr int warp_rows() const { return 16 * row_tiles; }
  FCSA_HD constexpr int block_m() const { return warps_m * warp_rows(); }
  FCSA_HD constexpr int warp_keys() const { return block_n / warps_n; }

  // Shared memory: rows are permuted or padded (row_layout.h).
  FCSA_HD static constexpr int row_bytes(const Traits& t) { return t.head_dim * element_bytes(t.dtype); }
  FCSA_HD static constexpr bool can_swizzle(const Traits& t) { return can_permute(row_bytes(t)); }
  FCSA_HD constexpr int pitch(const Traits& t) const { return row_pitch(row_bytes(t), swizzle != 0); }
  FCSA_HD constexpr int tile_bytes(const Traits& t) const { return block_n * pitch(t); }
  FCSA_HD constexpr int stages_bytes(const Traits& t) const { return 2 * stages * tile_bytes(t); }
  FCSA_HD constexpr int q_bytes(const Traits& t) const { return block_m() * pitch(t); }
  // Q that goes to registers passes through the stage that is loaded last.
  FCSA_HD constexpr bool q_shares_stage(const Traits& t) const {
    return q_in_registers && stages > 1 && q_bytes(t) <= 2 * tile_bytes(t);
  }
  FCSA_HD static constexpr bool uses_factors(const Traits& t) {
    return (t.l2norm_qk && !normalises_first(t)) || t.key_mask;
  }
  FCSA_HD constexpr int factor_bytes(const Traits& t) const {
    return uses_factors(t) ? stages * block_n * 8 : 0;
  }
  // O, row sums and maxima of half of the warps that share rows.
  FCSA_HD constexpr int exchange_bytes(const Traits& t) const {
    return warps_n / 2 * block_m() * (t.head_dim + 8) * 4;
  }
  // A row of a part for the other blocks of the cluster: O, then its sum and maximum, then padding.
  FCSA_HD static constexpr int part_pitch(const Traits& t) { return (t.head_dim + 4) * 4; }
  FCSA_HD constexpr int output_bytes(const Traits& t) const {
    return block_m() * (cluster > 1 ? part_pitch(t) : row_bytes(t) + 16);
  }
  FCSA_HD constexpr int smem_bytes(const Traits& t) const {
    const int loop = stages_bytes(t) + factor_bytes(t) + (q_shares_stage(t) ? 0 : q_bytes(t));
    const int end = exchange_bytes(t) > output_bytes(t) ? exchange_bytes(t) : output_bytes(t);
    return loop > end ? loop : end;
  }

  // Registers that the accumulators and operands of a thread need at least.
  FCSA_HD constexpr int register_estimate(const Traits& t) const {
    const int o = row_tiles * t.head_dim / 2;
    const int s = row_tiles * chunk / 2 * (overlap ? 2 : 1);
    const int q = q_in_registers ? row_tiles * row_bytes(t) / 8 : 4 * row_tiles;
    return o + s + q + 32;
  }

  FCSA_HD constexpr bool prepares_factors(const Traits& t) const {
    return t.l2norm_qk && !normalises_first(t) && key_norms == kPrepass;
  }

  // Workspace: normalised tensors; a pair of factors for every key [batch, kv_heads, padded_keys] x 2 f32;
  // partial O [splits, batch, heads, nq, head_dim] f32; their row sums and maxima [splits, batch, heads, nq]
  // x 2 f32.
  struct Workspace {
    long long factors = 0, partial_o = 0, partial_sums = 0, bytes = 0;
  };
  FCSA_HD constexpr long long padded_keys(const Args& args) const {
    return ceil_div(args.nk, block_n) * block_n;
  }
  FCSA_HD constexpr Workspace workspace(const Traits& t, const Args& args) const {
    const auto aligned = [](long long bytes) { return ceil_div(bytes, 256) * 256; };
    Workspace w;
    w.factors = normalises_first(t) ? aligned(normalised_tensors(t, args).bytes) : 0;
    w.partial_o =
        w.factors + (prepares_factors(t) ? aligned(8LL * args.batch * args.kv_heads * padded_keys(args)) : 0);
    const int parts = splits(args);
    const long long rows = parts > 1 ? 1LL * parts * args.batch * args.heads * args.nq : 0;
    w.partial_sums = w.partial_o + aligned(4 * rows * t.head_dim);
    w.bytes = w.partial_sums + 8 * rows;
    return w;
  }

  // Query heads whose rows share a tile, heads of tiles, and tiles of rows of each.
  FCSA_HD constexpr int packed(const Args& args) const { return pack_heads ? args.heads / args.kv_heads : 1; }
  FCSA_HD constexpr long long row_blocks(const Args& args) const {
    return ceil_div(1LL * args.nq * packed(args), block_m());
  }
  FCSA_HD constexpr long long tile_count(const Args& args) const {
    return row_blocks(args) * (args.heads / packed(args)) * args.batch;
  }
  // Parts that the keys are split into for `combine`: whole tiles, as many as keep the grid within
  // split_until blocks, so that it fills whole waves of a device where that is a multiple of what runs at
  // once.
  FCSA_HD constexpr int splits(const Args& args) const {
    const long long key_tiles = ceil_div(args.nk, block_n), wanted = split_until / tile_count(args);
    const long long parts = wanted < key_tiles ? wanted : key_tiles;
    return parts < 1 ? 1 : parts > kMostSplits ? kMostSplits : static_cast<int>(parts);
  }
  FCSA_HD constexpr bool splits_keys() const { return split_until != 0 || cluster > 1; }

  static constexpr int kMostSplits = 256;
  static constexpr int kFactorThreads = 256, kFactorRows = 128;  // of a block of key_factors
  static constexpr int kCombineThreads = 128;

  // Kernels: 0 forward, 1 key_factors, 2 combine, 3 normalise, 4 forward_in_clusters.
  FCSA_HD constexpr LaunchPlan plan(const Traits& t, const Args& args) const {
    if (is_empty(args)) return empty_plan(t, false);
    LaunchPlan plan;
    plan.workspace_bytes = workspace(t, args).bytes;
    if (normalises_first(t)) plan.steps[plan.count++] = normalise_launch(3, t, args);
    if (prepares_factors(t)) {
      Launch& factors = plan.steps[plan.count++];
      factors.kernel = 1;
      factors.grid_x =
          static_cast<unsigned>(ceil_div(1LL * args.batch * args.kv_heads * padded_keys(args), kFactorRows));
      factors.threads = kFactorThreads;
    }
    Launch& forward = plan.steps[plan.count++];
    forward.kernel = cluster > 1 ? 4 : 0;
    forward.grid_x = static_cast<unsigned>(tile_count(args));
    forward.grid_y = static_cast<unsigned>(cluster > 1 ? cluster : splits(args));
    forward.threads = static_cast<unsigned>(threads());
    forward.smem_bytes = static_cast<unsigned>(smem_bytes(t));
    if (splits(args) > 1) {
      Launch& combine = plan.steps[plan.count++];
      combine.kernel = 2;
      combine.grid_x = static_cast<unsigned>(1LL * args.batch * args.heads * args.nq);
      combine.threads = kCombineThreads;
    }
    return plan;
  }
};

}  // namespace fcsa::kernels::mma
