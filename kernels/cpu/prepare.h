// The preparing step of the forward pass on a CPU: keys normalised and transposed, values converted.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/cpu/config.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vectors.h"

#pragma GCC diagnostic push
// Vectors are passed between functions that are inlined: their calling convention doesn't matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace fcsa::kernels::cpu::FCSA_CPU_ISA {

// Packs pack_keys() keys of one key/value head: K, normalised, transposed within each key_step, V as f32
// rows. Keys past the end, and those that the mask hides, are zero: whatever they hold has no influence.
template <Traits T, ForwardConfig C>
void prepare(const Args& args, long long task, void* scratch) {
  static_assert(C.is_valid(T), "the configuration doesn't fit the problem");
  constexpr int W = C.vector_floats;
  constexpr int D = T.head_dim;
  const long long chunks = ceil_div(args.nk, C.pack_keys());
  const int kv = static_cast<int>(task / chunks);
  const int batch = kv / args.kv_heads;
  const int head = kv % args.kv_heads;
  const long long padded = C.padded_keys(args.nk);
  const long long first = task % chunks * C.pack_keys();
  const long long last = first + C.pack_keys() < padded ? first + C.pack_keys() : padded;
  float* const packed_k = static_cast<float*>(args.workspace) + kv * padded * D;
  float* const packed_v = packed_k + C.packed_floats(T, args);
  float* const rows = static_cast<float*>(scratch);
  const unsigned char* const mask =
      T.key_mask && args.key_mask ? args.key_mask + batch * args.key_mask_stride : nullptr;

  for (long long key = first; key < last; key += W) {
    for (int i = 0; i < W; ++i) {
      const bool exists = key + i < args.nk && (!mask || mask[key + i] != 0);
      float* const row = rows + i * D;
      if (exists) {
        load_row<T, W>(row_of<T>(args.k, args.k_strides, batch, head, key + i), row);
        scale_row<T, W>(row, 1.0f, args.eps);
      } else {
        clear_row<T, W>(row);
      }
      if constexpr (C.packs_v(T)) {
        float* const values = packed_v + (key + i) * D;
        if (exists)
          load_row<T, W>(row_of<T>(args.v, args.v_strides, batch, head, key + i), values);
        else
          clear_row<T, W>(values);
      }
    }
    float* const to = packed_k + key / C.key_step() * C.key_step() * D + key % C.key_step();
    for (int d = 0; d < D; ++d)
      for (int i = 0; i < W; ++i) to[d * C.key_step() + i] = rows[i * D + d];
  }
}

}  // namespace fcsa::kernels::cpu::FCSA_CPU_ISA

#pragma GCC diagnostic pop
