// Tuned parameters of the simt family, and everything that follows from them.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/normalise.h"
#include "kernels/common/sizes.h"

namespace fcsa::kernels::simt {

// A block works on a tile of query rows. Its warps own whole rows, so P passes from S = Q K^T to P V inside a
// warp. The 32 lanes form a grid of lanes_m x lanes_n; a lane holds a micro-tile of thread_m rows by thread_n
// keys of S, and of the same rows by its share of the channels of O.
struct ForwardConfig {
  int warps = 4;
  int lanes_m = 4;
  int thread_m = 8;
  int thread_n = 4;
  int stages = 2;         // K and V tiles in flight
  int unroll = 2;         // of the loop over channels, in steps of 4
  int norm_prepass = 1;   // 1: 1/|k| by a kernel of its own, 0: by every block for every tile
  int min_blocks = 2;     // blocks a multiprocessor should hold: caps the registers
  int longest_first = 1;  // causal: blocks with the most keys start first

  FCSA_HD constexpr int lanes_n() const { return 32 / lanes_m; }
  FCSA_HD constexpr int warp_rows() const { return lanes_m * thread_m; }
  FCSA_HD constexpr int block_m() const { return warps * warp_rows(); }
  FCSA_HD constexpr int block_n() const { return lanes_n() * thread_n; }
  FCSA_HD constexpr int threads() const { return warps * 32; }

  // Row pitches in shared memory, in floats. +4 puts neighbouring rows of Q and K 4 banks apart: the 16-byte
  // reads of 8 lanes hit all 32 banks. +8 does so for the rows of P that lanes_m = 4 groups of lanes write.
  FCSA_HD static constexpr int qk_pitch(int head_dim) { return head_dim + 4; }
  FCSA_HD constexpr int p_pitch() const { return block_n() + 8; }
  // O is held in float4s that stride over lanes_n: V rows are padded to a multiple of that.
  FCSA_HD constexpr int v_pitch(int head_dim) const {
    return static_cast<int>(ceil_div(head_dim, 4LL * lanes_n())) * 4 * lanes_n();
  }

  FCSA_HD constexpr int smem_bytes(const Traits& traits) const {
    const int q = block_m() * qk_pitch(traits.head_dim);
    const int k = stages * block_n() * qk_pitch(traits.head_dim);
    const int v = stages * block_n() * v_pitch(traits.head_dim);
    const int p = block_m() * p_pitch();
    const int norms = stages * block_n();
    return 4 * (q + k + v + p + norms);
  }

  // Registers that the accumulators of S and O and the operands of one step need at least.
  FCSA_HD constexpr int register_estimate(const Traits& traits) const {
    return thread_m * (thread_n + v_pitch(traits.head_dim) / lanes_n() + 4) + 40;
  }

  // Whether the forward kernel works on raw q and k, and whether it finds the norms of k in the workspace.
  FCSA_HD static constexpr bool normalises(const Traits& traits) {
    return traits.l2norm_qk && !normalises_first(traits);
  }
  FCSA_HD constexpr bool prepass(const Traits& traits) const { return norm_prepass && normalises(traits); }

  static constexpr int kNormThreads = 256;

  // Kernel 0: forward. Kernel 1: key_norms, one thread per key, into the workspace [batch, kv_heads, nk] f32.
  // Kernel 2: normalise, after which there is nothing left for key_norms.
  FCSA_HD constexpr LaunchPlan plan(const Traits& traits, const Args& args) const {
    if (is_empty(args)) return empty_plan(traits, false);
    LaunchPlan plan;
    if (normalises_first(traits)) {
      plan.steps[plan.count++] = normalise_launch(2, traits, args);
      plan.workspace_bytes = normalised_tensors(traits, args).bytes;
    }
    if (prepass(traits)) {
      const long long keys = static_cast<long long>(args.batch) * args.kv_heads * args.nk;
      Launch& norms = plan.steps[plan.count++];
      norms.kernel = 1;
      norms.grid_x = static_cast<unsigned>(ceil_div(keys, kNormThreads));
      norms.threads = kNormThreads;
      plan.workspace_bytes = keys * 4;
    }
    Launch& forward = plan.steps[plan.count++];
    forward.kernel = 0;
    forward.grid_x = static_cast<unsigned>(ceil_div(args.nq, block_m()) * args.heads * args.batch);
    forward.threads = static_cast<unsigned>(threads());
    forward.smem_bytes = static_cast<unsigned>(smem_bytes(traits));
    return plan;
  }
};

}  // namespace fcsa::kernels::simt
