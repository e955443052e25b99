// Tuned parameters of the backward pass of the cpu family, and everything that follows from them.
#pragma once

#include "kernels/common/backward.h"
#include "kernels/common/sizes.h"

namespace fcsa::kernels::cpu {

// Work is cut into blocks of block_rows() query rows and block_keys() keys of one head. Of a block first come
// S = Q K^T and dP = dO V^T, in register tiles of score_rows x score_vectors vectors of keys, which become P
// and dS in the task's scratch; then dV += P^T dO, dK += dS^T Q and dQ += dS K, in register tiles of sum_rows
// (keys, or query rows for dQ) x sum_vectors vectors of channels.
//
// A task stays with one block of keys after the other, whose operands it normalises and transposes once and
// whose dK and dV it keeps, and walks over the query rows of all heads that share the keys. How dQ, which all
// keys add to, comes about is a matter of how many tasks it takes to occupy the cores:
//   key_splits >= 1  Five products. The blocks of keys of a head are dealt out to so many tasks, and each
//   adds
//                    up its own dQ, f32: in dq itself where that has f32 and there is one task, else in the
//                    workspace. The finishing step adds them together.
//   key_splits == 0  Seven products. Every block of keys is a task of its own, and dQ comes from a second
//   walk
//                    with a task for every block of query rows, which computes S and dP again.
struct BackwardConfig {
  int vector_floats = 16;
  int score_rows = 6;
  int score_vectors = 4;
  int sum_rows = 6;
  int sum_vectors = 4;
  int row_groups = 8;  // register tiles of query rows in a block
  int key_steps = 2;   // register tiles of keys in a block
  int unroll = 4;      // steps of the inner loops
  int key_splits = 1;

  FCSA_HD constexpr int key_step() const { return score_vectors * vector_floats; }
  FCSA_HD constexpr int block_rows() const { return row_groups * score_rows; }
  FCSA_HD constexpr int block_keys() const { return key_steps * key_step(); }
  FCSA_HD constexpr int sum_channels() const { return sum_vectors * vector_floats; }

  // Registers that an inner loop keeps occupied: the accumulators, one vector operand each and a broadcast
  // one.
  FCSA_HD constexpr int score_registers() const { return (score_rows + 1) * score_vectors + 1; }
  FCSA_HD constexpr int sum_registers() const { return (sum_rows + 1) * sum_vectors + 1; }

  // Whole register tiles of sums that cover a block; what they have beyond it is never looked at.
  FCSA_HD constexpr int padded_rows() const {
    return static_cast<int>(ceil_div(block_rows(), sum_rows)) * sum_rows;
  }
  FCSA_HD constexpr int padded_keys() const {
    return static_cast<int>(ceil_div(block_keys(), sum_rows)) * sum_rows;
  }
  // Pitch of P and dS in floats: one vector more than a block, so that the rows of a register tile, which are
  // read together, don't fall into the same set of the cache.
  FCSA_HD constexpr int pitch() const { return aligned(padded_keys()) + vector_floats; }

  // Scratch of a task, in floats. Every part is a multiple of 64 bytes.
  FCSA_HD static constexpr int aligned(int floats) { return (floats + 15) / 16 * 16; }
  FCSA_HD constexpr int row_floats(const Traits& traits) const {  // of Q, dO and dQ each
    return aligned(padded_rows() * traits.head_dim);
  }
  FCSA_HD constexpr int key_floats(const Traits& traits) const {  // of K, K^T, V^T, dK and dV each
    return aligned(padded_keys() * traits.head_dim);
  }
  FCSA_HD constexpr int pair_floats() const { return aligned(padded_rows() * pitch()); }
  FCSA_HD constexpr int scratch_bytes(const Traits& traits) const {
    return 4 * (3 * row_floats(traits) + 5 * key_floats(traits) + 2 * pair_floats() +
                2 * aligned(padded_rows()) + aligned(block_keys()));
  }

  FCSA_HD constexpr bool sums_in_place(const Traits& traits) const {
    return key_splits == 1 && traits.dtype == DType::f32;
  }

  // What the workspace holds, as byte offsets: for every query row delta = dO . O and the inverse norm of
  // each of its groups; for every block of query rows its part of the gradient of the scale; the sums of dQ.
  // f32 with one split: 8 bytes a query row. 16-bit types or more splits: key_splits copies of dQ in f32 too.
  struct Workspace {
    long long delta = 0, inverse = 0, dscale = 0, dq = 0, bytes = 0;
    long long dq_floats = 0;  // of one split
  };
  FCSA_HD constexpr Workspace workspace(const Traits& traits, const BackwardArgs& args) const {
    const auto whole_lines = [](long long bytes) { return ceil_div(bytes, 64) * 64; };
    const long long heads = static_cast<long long>(args.batch) * args.heads, rows = heads * args.nq;
    Workspace w;
    w.inverse = w.delta + whole_lines(4 * rows);
    w.dscale = w.inverse + (traits.l2norm_qk ? whole_lines(4 * rows * traits.groups) : 0);
    w.dq = w.dscale + whole_lines(8 * heads * row_blocks(args));
    w.dq_floats = rows * traits.head_dim;
    w.bytes = w.dq + (sums_in_place(traits) ? 0 : 4 * w.dq_floats * key_splits);
    return w;
  }

  FCSA_HD constexpr long long row_blocks(const Args& args) const { return ceil_div(args.nq, block_rows()); }
  FCSA_HD constexpr long long key_blocks(const Args& args) const { return ceil_div(args.nk, block_keys()); }
  FCSA_HD constexpr long long key_tasks(const Args& args) const {  // of one key/value head
    return key_splits == 0 || key_splits > key_blocks(args) ? key_blocks(args) : key_splits;
  }
  // The gradient of a bias that every head of every batch has for itself is written along with dK and dV.
  // What is shared takes a task for every block, which computes S and dP of all that share it again.
  FCSA_HD static constexpr bool shares_bias(const BackwardArgs& args) {
    return args.bias_batch != args.batch || args.bias_heads != args.heads;
  }
  FCSA_HD constexpr long long dbias_tasks(const BackwardArgs& args) const {
    if (!args.wants_dbias || !shares_bias(args)) return 0;
    return args.bias_batch * args.bias_heads * row_blocks(args) * key_blocks(args);
  }

  // What the kernel template requires of a configuration.
  FCSA_HD constexpr bool is_valid(const Traits& traits) const {
    return (vector_floats == 4 || vector_floats == 8 || vector_floats == 16) && score_rows > 0 &&
           score_vectors > 0 && sum_rows > 0 && sum_vectors > 0 && row_groups > 0 && key_steps > 0 &&
           unroll > 0 && key_splits >= 0 && traits.head_dim % sum_channels() == 0 &&
           traits.head_dim % unroll == 0;
  }

  // Kernel 0: prepare_gradients. 1: key_gradients, and the sums of dQ. 2: query_gradients.
  // 3: shared_gradients, those of the bias and the scale, which several heads and batches add to.
  FCSA_HD constexpr LaunchPlan plan(const Traits& traits, const BackwardArgs& args) const {
    if (is_empty(args)) return empty_plan(traits, true);
    const long long heads = static_cast<long long>(args.batch) * args.heads;
    LaunchPlan plan;
    const auto add = [&](long long tasks) {
      Launch& step = plan.steps[plan.count];
      step.kernel = plan.count++;
      step.grid_x = static_cast<unsigned>(tasks);
      step.smem_bytes = static_cast<unsigned>(scratch_bytes(traits));
    };
    add(heads * row_blocks(args));
    add(static_cast<long long>(args.batch) * args.kv_heads * key_tasks(args));
    add(heads * row_blocks(args));
    const long long shared = dbias_tasks(args) + (args.wants_dscale ? args.heads : 0);
    if (shared > 0) {
      add(shared);
      plan.steps[plan.count - 1].smem_bytes += static_cast<unsigned>(4 * pair_floats());
    }
    plan.workspace_bytes = workspace(traits, args).bytes;
    return plan;
  }
};

}  // namespace fcsa::kernels::cpu
