// Tuned parameters of the cpu family, and everything that follows from them.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/sizes.h"

namespace fcsa::kernels::cpu {

// A task works on block_rows() query rows of one head and walks over the keys, block_keys() at a time. Both
// products are made of register tiles: S = Q K^T of qk_rows x qk_vectors vectors of keys, O += P V of pv_rows
// x pv_vectors vectors of channels. P passes from the one to the other through the task's scratch. K is
// normalised and transposed beforehand, once, into the workspace: [head][key_step keys][channel][key].
struct ForwardConfig {
  int vector_floats = 16;
  int qk_rows = 6;
  int qk_vectors = 4;
  int pv_rows = 6;
  int pv_vectors = 4;
  int row_groups = 16;  // register tiles of rows in a task
  int key_steps = 2;    // register tiles of keys in a block
  int unroll = 4;       // steps of the inner loops
  int pack_v = 1;       // f32 without a mask: 1 copies V next to K, 0 reads it in place

  FCSA_HD constexpr int key_step() const { return qk_vectors * vector_floats; }
  FCSA_HD constexpr int block_rows() const { return row_groups * qk_rows; }
  FCSA_HD constexpr int block_keys() const { return key_steps * key_step(); }

  // With a mask always: the copy has zeros in place of what is hidden.
  FCSA_HD constexpr bool packs_v(const Traits& traits) const {
    return pack_v || traits.dtype != DType::f32 || traits.key_mask;
  }
  FCSA_HD constexpr int pv_channels() const { return pv_vectors * vector_floats; }

  // Registers that an inner loop keeps occupied: the accumulators, one vector operand each and a broadcast
  // one.
  FCSA_HD constexpr int qk_registers() const { return (qk_rows + 1) * qk_vectors + 1; }
  FCSA_HD constexpr int pv_registers() const { return (pv_rows + 1) * pv_vectors + 1; }

  // Pitch of P in floats: one vector more than a block, so that the rows of a register tile, which are read
  // together, don't fall into the same set of the cache.
  FCSA_HD constexpr int p_pitch() const { return block_keys() + vector_floats; }

  // Scratch of a task, in floats. Every part is a multiple of 64 bytes.
  FCSA_HD static constexpr int aligned(int floats) { return (floats + 15) / 16 * 16; }
  FCSA_HD constexpr int q_floats(const Traits& traits) const {
    return aligned(block_rows() * traits.head_dim);
  }
  FCSA_HD constexpr int p_floats() const { return aligned(block_rows() * p_pitch()); }
  FCSA_HD constexpr int sum_floats() const { return aligned(block_rows() * vector_floats); }
  FCSA_HD constexpr int maximum_floats() const { return aligned(block_rows()); }
  FCSA_HD constexpr int visible_floats() const { return aligned(block_keys()); }
  FCSA_HD constexpr int scratch_bytes(const Traits& traits) const {
    return 4 * (2 * q_floats(traits) + p_floats() + sum_floats() + maximum_floats() + visible_floats());
  }

  // Keys that a task of the preparing step packs: enough to be worth a task.
  FCSA_HD constexpr int pack_keys() const { return static_cast<int>(ceil_div(128, key_step())) * key_step(); }
  FCSA_HD constexpr int pack_scratch_bytes(const Traits& traits) const {
    return 4 * vector_floats * traits.head_dim;
  }
  FCSA_HD constexpr long long padded_keys(int nk) const { return ceil_div(nk, key_step()) * key_step(); }
  // Floats of packed K (and of packed V) of all heads.
  FCSA_HD constexpr long long packed_floats(const Traits& traits, const Args& args) const {
    return static_cast<long long>(args.batch) * args.kv_heads * padded_keys(args.nk) * traits.head_dim;
  }

  // What the kernel template requires of a configuration.
  FCSA_HD constexpr bool is_valid(const Traits& traits) const {
    return (vector_floats == 4 || vector_floats == 8 || vector_floats == 16) && qk_rows > 0 &&
           qk_vectors > 0 && pv_rows > 0 && pv_vectors > 0 && row_groups > 0 && key_steps > 0 && unroll > 0 &&
           traits.head_dim % pv_channels() == 0 && traits.head_dim % unroll == 0 &&
           block_rows() % pv_rows == 0;
  }

  // Kernel 0: prepare. Kernel 1: forward.
  FCSA_HD constexpr LaunchPlan plan(const Traits& traits, const Args& args) const {
    if (is_empty(args)) return empty_plan(traits, false);
    LaunchPlan plan;
    plan.count = 2;
    Launch& prepare = plan.steps[0];
    prepare.kernel = 0;
    prepare.grid_x = static_cast<unsigned>(ceil_div(args.nk, pack_keys()) * args.kv_heads * args.batch);
    prepare.smem_bytes = static_cast<unsigned>(pack_scratch_bytes(traits));
    Launch& forward = plan.steps[1];
    forward.kernel = 1;
    forward.grid_x = static_cast<unsigned>(ceil_div(args.nq, block_rows()) * args.heads * args.batch);
    forward.smem_bytes = static_cast<unsigned>(scratch_bytes(traits));
    plan.workspace_bytes = 4 * packed_floats(traits, args) * (packs_v(traits) ? 2 : 1);
    return plan;
  }
};

}  // namespace fcsa::kernels::cpu
