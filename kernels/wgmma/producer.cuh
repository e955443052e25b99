// The warpgroup that copies: one thread starts the copies, the other three warps compute the factors of the
// keys that have arrived.
#pragma once

#include "kernels/common/hopper.cuh"
#include "kernels/common/key_factors.cuh"
#include "kernels/common/ptx.cuh"
#include "kernels/wgmma/schedule.cuh"

namespace fcsa::kernels::wgmma {

constexpr int kFactorWarps = 3;

template <Traits T, ForwardConfig C>
struct Producer {
  using Layout = SharedLayout<T, C>;
  static constexpr int kPanels = ForwardConfig::panels(T);
  static constexpr int kChannels = ForwardConfig::panel_channels(T);
  static constexpr int kBox = C.block_n / C.cluster;  // rows that this block copies of a tile

  static constexpr bool kComputesFactors = C.uses_factors(T) && !C.prepares_factors(T);

  const Args& args;
  const TensorMaps& maps;
  const Layout shared;
  const int rank;

  FCSA_DEVICE void wait_free(unsigned barrier, unsigned parity) const {
    if constexpr (C.cluster > 1) {
      hopper::barrier_wait_cluster(barrier, parity);
    } else {
      hopper::barrier_wait(barrier, parity);
    }
  }

  FCSA_DEVICE void copy_tile(unsigned tile, const void* map, unsigned barrier, const Work& work,
                             int first_key) const {
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel) {
      const unsigned to =
          tile + panel * C.panel_bytes(T) + rank * kBox * ForwardConfig::panel_row_bytes(T);
      const int key = first_key + rank * kBox;
      if constexpr (C.cluster > 1) {
        hopper::copy_box_multicast(to, map, barrier, (1u << C.cluster) - 1, panel * kChannels, key,
                                   work.kv_head, work.batch);
      } else {
        hopper::copy_box(to, map, barrier, panel * kChannels, key, work.kv_head, work.batch);
      }
    }
  }

  FCSA_DEVICE void copy_queries(const Work& work, int packed) const {
    hopper::barrier_expect(shared.q_full(), C.warpgroups * ForwardConfig::q_bytes(T));
#pragma unroll
    for (int w = 0; w < C.warpgroups; ++w)
#pragma unroll
      for (int panel = 0; panel < kPanels; ++panel) {
        const unsigned to =
            shared.q_of(w) + panel * ForwardConfig::kRows * ForwardConfig::panel_row_bytes(T);
        const int row = work.first_row + w * ForwardConfig::kRows;
        if constexpr (C.pack_heads) {
          hopper::copy_box(to, maps.map[0], shared.q_full(), panel * kChannels, 0, row / packed,
                           work.kv_head, work.batch);
        } else {
          hopper::copy_box(to, maps.map[0], shared.q_full(), panel * kChannels, row, work.first_head,
                           work.batch);
        }
      }
  }

  FCSA_DEVICE void copy_keys(const Work& work, int tile, const Cursor<C.stages>& at) const {
    wait_free(shared.k_free(at.stage), at.parity ^ 1u);
    if constexpr (kComputesFactors) {
      ptx::store_shared(shared.ticket(at.stage), static_cast<unsigned>(work.batch));
      ptx::store_shared(shared.ticket(at.stage) + 4, static_cast<unsigned>(tile * C.block_n));
    }
    hopper::barrier_expect(shared.k_full(at.stage), C.tile_bytes(T));
    copy_tile(shared.k_tile(at.stage), maps.map[1], shared.k_full(at.stage), work, tile * C.block_n);
  }

  FCSA_DEVICE void copy_values(const Work& work, int tile, const Cursor<C.stages>& at) const {
    wait_free(shared.v_free(at.stage), at.parity ^ 1u);
    hopper::barrier_expect(shared.v_full(at.stage), C.tile_bytes(T));
    copy_tile(shared.v_tile(at.stage), maps.map[2], shared.v_full(at.stage), work, tile * C.block_n);
    if constexpr (C.prepares_factors(T)) {
      const long long key =
          static_cast<long long>(work.batch * args.kv_heads + work.kv_head) * C.padded_keys(args) +
          tile * C.block_n;
      hopper::barrier_expect(shared.factors_full(at.stage), C.factor_bytes(T));
      hopper::copy_bytes(shared.factor_tile(at.stage),
                         static_cast<const char*>(args.workspace) + C.workspace(T, args).factors +
                             4 * C.factor_floats(T) * key,
                         C.factor_bytes(T), shared.factors_full(at.stage));
    }
  }

  // The first keys of a tile of queries are copied while the consumers still need the queries before.
  FCSA_DEVICE void copy() const {
    Schedule<T, C> schedule(args, rank);
    Cursor<C.stages> at;
    unsigned q_parity = 1;
#pragma unroll 1
    for (Work work; schedule.next(work);) {
      int tile = work.end_tile - 1;
      if (tile < 0) continue;
      copy_keys(work, tile, at);
      hopper::barrier_wait(shared.q_free(), q_parity);
      q_parity ^= 1u;
      copy_queries(work, schedule.packed());
      copy_values(work, tile, at);
      at.advance();
#pragma unroll 1
      for (--tile; tile >= 0; --tile, at.advance()) {
        copy_keys(work, tile, at);
        copy_values(work, tile, at);
      }
    }
    if constexpr (kComputesFactors) {
      wait_free(shared.k_free(at.stage), at.parity ^ 1u);
      ptx::store_shared(shared.ticket(at.stage), 0xffffffffu);
      hopper::barrier_arrive(shared.k_full(at.stage));
    }
  }

  FCSA_DEVICE void compute_factors() const {
    const int warp = static_cast<int>(threadIdx.x) / 32 - 1, lane = static_cast<int>(threadIdx.x) % 32;
    const int g = lane / 4, t = lane % 4;
    // Fragments of 16 keys and 16 channels as B of mma.m16n8k16: the row of this lane, and what its place in
    // it is to be combined with. Patterns of 8 rows repeat, so the place doesn't depend on the keys.
    constexpr int kRowBytes = ForwardConfig::panel_row_bytes(T), kSteps = kChannels / 16;
    const unsigned row = (lane % 8 + lane / 16 * 8) * kRowBytes;
    const unsigned permuted = row ^ hopper::swizzled<kRowBytes>(row) ^ lane / 8 % 2 * 16;
    for (Cursor<C.stages> at;; at.advance()) {
      wait_free(shared.v_free(at.stage), at.parity ^ 1u);
      hopper::barrier_wait(shared.k_full(at.stage), at.parity);
      const int batch = static_cast<int>(ptx::load_shared_word(shared.ticket(at.stage)));
      if (batch < 0) return;
      const int first_key = static_cast<int>(ptx::load_shared_word(shared.ticket(at.stage) + 4));
      const auto publish = [&](int key, float squares) {
        const float inverse = C.normalises(T) ? inverse_norm(squares, args.eps) : 1.0f;
        const float2 factor = key_factor<T>(args, batch, first_key + key, inverse);
        const unsigned to = shared.factor_tile(at.stage) + 4 * C.factor_floats(T) * key;
        ptx::store_shared(to, __float_as_uint(factor.x));
        if constexpr (C.factor_floats(T) == 2) ptx::store_shared(to + 4, __float_as_uint(factor.y));
      };
#pragma unroll 1
      for (unsigned key = 16 * warp; key < C.block_n; key += 16 * kFactorWarps) {
        float upper[4] = {0, 0, 0, 0}, lower[4] = {0, 0, 0, 0};
        if constexpr (C.normalises(T)) {
          const unsigned rows = shared.k_tile(at.stage) + key * kRowBytes + row;
#pragma unroll 1
          for (int step = 0; step < T.head_dim / 16; ++step) {
            const uint4 b = ptx::load_matrices(rows + step / kSteps * C.panel_bytes(T) +
                                               (step % kSteps * 32 ^ permuted));
            // The fragment of B, reordered, is that of A: the halves of K K^T that have the diagonal.
            ptx::multiply_add_16<T.dtype>(upper, {b.x, b.z, b.y, b.w}, b.x, b.y);
            ptx::multiply_add_16<T.dtype>(lower, {b.x, b.z, b.y, b.w}, b.z, b.w);
          }
        }
        if (t == g / 2) {
          publish(key + g, g % 2 ? upper[1] : upper[0]);
          publish(key + g + 8, g % 2 ? lower[3] : lower[2]);
        }
      }
      __syncwarp();
      if (lane == 0) hopper::barrier_arrive(shared.factors_full(at.stage));
    }
  }

  FCSA_DEVICE void run() const {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    if (warp == 0) {
      if (threadIdx.x == 0) copy();
    } else if constexpr (kComputesFactors) {
      compute_factors();
    }
    __syncwarp();
  }
};

}  // namespace fcsa::kernels::wgmma
