// Plain attention that writes its N^2 scores to memory: how its four kernels are launched and share the
// workspace.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/sizes.h"

namespace fcsa::kernels::unfused {

// Nothing is tuned.
struct Config {
  bool operator==(const Config&) const = default;
};

// In the order of KernelTemplate::kernels.
enum Kernel : int { kNormalise, kScores, kSoftmax, kOutput };

// Byte offsets into Args::workspace. q and k are the normalised tensors in the problem's dtype, dense
// [batch, heads, rows, head_dim] (absent without l2norm_qk); scores are f32 [batch, heads, nq, pitch],
// probabilities after the softmax, zero from nk to pitch.
struct Workspace {
  long long q = 0, k = 0, scores = 0, bytes = 0;
  long long pitch = 0;
};

FCSA_HD constexpr long long query_rows(const Args& args) {
  return 1LL * args.batch * args.heads * args.nq;
}
FCSA_HD constexpr long long key_rows(const Args& args) {
  return 1LL * args.batch * args.kv_heads * args.nk;
}

FCSA_HD constexpr Workspace workspace(const Traits& traits, const Args& args) {
  const long long row_bytes = traits.l2norm_qk ? 1LL * traits.head_dim * element_bytes(traits.dtype) : 0;
  Workspace w;
  w.k = w.q + ceil_div(query_rows(args) * row_bytes, 256) * 256;
  w.scores = w.k + ceil_div(key_rows(args) * row_bytes, 256) * 256;
  w.pitch = ceil_div(args.nk, 4) * 4;
  w.bytes = w.scores + query_rows(args) * w.pitch * 4;
  return w;
}

// Rows of S and of O, and keys or channels, that a GPU block computes; channels or keys staged at a time.
inline constexpr int kTile = 64;
inline constexpr int kDepth = 16;
inline constexpr int kThreads = 256;
inline constexpr int kWarps = kThreads / 32;

FCSA_HD constexpr LaunchPlan cuda_plan(const Traits& traits, const Args& args) {
  if (is_empty(args)) return empty_plan(traits, false);
  LaunchPlan plan;
  const auto add = [&](Kernel kernel, long long blocks) {
    plan.steps[plan.count++] = {
        .kernel = kernel, .grid_x = static_cast<unsigned>(blocks), .threads = kThreads};
  };
  const long long tile_rows = 1LL * args.batch * args.heads * ceil_div(args.nq, kTile);
  if (traits.l2norm_qk) add(kNormalise, ceil_div(query_rows(args) + key_rows(args), kWarps));
  add(kScores, tile_rows * ceil_div(args.nk, kTile));
  add(kSoftmax, query_rows(args));
  add(kOutput, tile_rows * ceil_div(traits.head_dim, kTile));
  plan.workspace_bytes = workspace(traits, args).bytes;
  return plan;
}

// A CPU task takes this many rows of one head against all its keys, this many keys at a time.
inline constexpr int kTaskRows = 32;
inline constexpr int kTaskKeys = 64;

FCSA_HD constexpr LaunchPlan cpu_plan(const Traits& traits, const Args& args) {
  if (is_empty(args)) return empty_plan(traits, false);
  LaunchPlan plan;
  const auto add = [&](Kernel kernel, long long tasks) {
    const unsigned scratch = (kTaskRows + kTaskKeys) * static_cast<unsigned>(traits.head_dim) * 4;
    plan.steps[plan.count++] = {
        .kernel = kernel, .grid_x = static_cast<unsigned>(tasks), .threads = 1, .smem_bytes = scratch};
  };
  const long long blocks = 1LL * args.batch * args.heads * ceil_div(args.nq, kTaskRows);
  if (traits.l2norm_qk) add(kNormalise, ceil_div(query_rows(args) + key_rows(args), kTaskRows));
  add(kScores, blocks);
  add(kSoftmax, blocks);
  add(kOutput, blocks);
  plan.workspace_bytes = workspace(traits, args).bytes;
  return plan;
}

}  // namespace fcsa::kernels::unfused
