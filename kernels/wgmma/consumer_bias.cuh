// The bias of a tile of keys, in shared memory as the TMA lays it out: members of Consumer.
#pragma once

#include "kernels/wgmma/consumer.cuh"

namespace fcsa::kernels::wgmma {

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::wait_bias(int tile) {
  if (ForwardConfig::copies_bias(T, args)) {
    hopper::barrier_wait(shared.bias_full(bias_at.stage), bias_at.parity);
  } else {
    sync_warpgroup();  // the tile before has been read
    copy_bias(tile);
    sync_warpgroup();
  }
}

// For rows that don't start at multiples of 16 bytes, which the TMA doesn't copy: two keys at a time.
template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::copy_bias(int tile) const {
  constexpr int kPairs = C.block_n / 2, kRowBytes = C.bias_row_bytes(T);
  constexpr int kBytes = ForwardConfig::bias_element_bytes(T);
  const Rows place = rows(queries);
  const int first_key = first_key_of(tile), head = args.bias_heads == 1 ? 0 : place.first_head;
  const long long start =
      place.batch % args.bias_batch * args.bias_strides.batch + head * args.bias_strides.head + first_key;
  const auto element = [&](int query, int key) -> unsigned {
    if (first_key + key >= args.nk) return 0;
    const long long at = start + query * args.bias_strides.row + key;
    if constexpr (T.bias == Bias::f32) return __ldg(static_cast<const unsigned*>(args.bias) + at);
    return __ldg(static_cast<const unsigned short*>(args.bias) + at);
  };
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x) % 128; i < ForwardConfig::kRows * kPairs; i += 128) {
    const int row = i / kPairs, key = 2 * (i % kPairs), query = min(place.first_row + row, args.nq - 1);
    const unsigned x = element(query, key), y = element(query, key + 1);
    const unsigned to = shared.bias_tile(bias_at.stage, warpgroup) +
                        key * kBytes / kRowBytes * ForwardConfig::kRows * kRowBytes +
                        hopper::swizzled<kRowBytes>(row * kRowBytes + key * kBytes % kRowBytes);
    ptx::store_shared(to, T.bias == Bias::f32 ? x : x | y << 16);
    if constexpr (T.bias == Bias::f32) ptx::store_shared(to + 4, y);
  }
}

// Of a thread's key and the next, where its first keys of the tile are 2 t and 2 t + 1.
template <Traits T, ForwardConfig C>
FCSA_DEVICE float2 Consumer<T, C>::load_bias(int key, int half) const {
  constexpr int kRowBytes = C.bias_row_bytes(T), kBytes = ForwardConfig::bias_element_bytes(T);
  const unsigned start = (16 * warp + g) * kRowBytes;
  const unsigned place = hopper::swizzled<kRowBytes>(start) ^ 2 * kBytes * t;
  const int panel = key * kBytes / kRowBytes;
  const unsigned from = shared.bias_tile(bias_at.stage, warpgroup) +
                        (panel * ForwardConfig::kRows + 8 * half) * kRowBytes +
                        (place ^ key * kBytes % kRowBytes);
  if constexpr (T.bias == Bias::f32) return ptx::load_shared_2(from);
  return ptx::unpack<T.dtype>(ptx::load_shared_word(from));
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::release_bias() {
  if (!ForwardConfig::copies_bias(T, args)) return;
  __syncwarp();
  release(shared.bias_free(bias_at.stage), threadIdx.x % 32);
  bias_at.advance();
}

}  // namespace fcsa::kernels::wgmma
