// The pass that owns queries: dq, summed over the keys, and what a block adds to dscale. With dq_atomics the
// pass that owns keys has done the sum.
#pragma once

#include "kernels/simt/backward_projection.cuh"
#include "kernels/simt/owned_queries.cuh"

namespace fcsa::kernels::simt {

template <Traits T, BackwardConfig C>
struct GradQueries : OwnedQueries<T, C, C.queries()> {
  static constexpr PassShape S = C.queries();
  using Base = OwnedQueries<T, C, C.queries()>;
  using P = typename Base::P;
  using Base::args, Base::pass, Base::batch, Base::head, Base::first_query;

  int tile;      // of queries
  int keys_end;  // no query of this tile sees a key at or past it
  typename P::Sums dq;

  FCSA_DEVICE GradQueries(const BackwardArgs& arguments, float* shared) : Base(arguments, shared) {
    place_block();
    P::clear(dq);
  }

  FCSA_DEVICE int tiles() const { return static_cast<int>(ceil_div(args.nq, S.block_m())); }
  FCSA_DEVICE int steps() const {
    return C.dq_atomics ? 0 : static_cast<int>(ceil_div(keys_end, S.block_n()));
  }

  // Causal: the last queries see the most keys; starting with them keeps the last wave short.
  FCSA_DEVICE void place_block() {
    const int heads = args.heads * args.batch;
    tile = T.causal ? tiles() - 1 - static_cast<int>(blockIdx.x) / heads : blockIdx.x % tiles();
    const int flat_head = T.causal ? blockIdx.x % heads : blockIdx.x / tiles();
    batch = flat_head / args.heads;
    head = flat_head % args.heads;
    first_query = tile * S.block_m();
    keys_end = args.nk;
    if (T.causal)
      keys_end = min(args.nk, max(0, min(first_query + S.block_m(), args.nq) + args.nk - args.nq));
  }

  FCSA_DEVICE void load_own() {
    if constexpr (C.dq_atomics) {
      Base::load_queries();
    } else {
      Base::load_own();
    }
  }

  // Rows past the end have zeros.
  FCSA_DEVICE void read_sums() {
    const float* sums = query_sums<T, C>(args, batch, head);
#pragma unroll
    for (int i = 0; i < P::kRows; ++i) {
      const long long row = first_query + pass.sum_row(i);
      if (row >= args.nq) continue;
#pragma unroll
      for (int c = 0; c < P::kChunks; ++c)
        if (pass.has_channel(c))
          dq[i][c] = __ldg(reinterpret_cast<const float4*>(sums + row * T.head_dim + pass.channel(c)));
    }
  }

  FCSA_DEVICE void load(int step, int stage) {
    this->load_keys(stage, step * S.block_n());
  }

  FCSA_DEVICE void compute(int step, int stage) {
    if (this->hides_all(stage)) return;
    typename P::Tile s;
    this->probabilities(stage, step * S.block_n(), s);
    pass.put_aside(s);
    this->differences(stage, s);
    if constexpr (BackwardConfig::normalises(T)) {
#pragma unroll
      for (int j = 0; j < S.thread_n; ++j) {
        const float factor = key_record(pass.records_of(stage)[pass.other(j)]).inverse_norm;
#pragma unroll
        for (int i = 0; i < S.thread_m; ++i) s[i][j] *= factor;
      }
    }
    pass.share(s);
    pass.add_rows(pass.y1_of(stage), dq);
  }

  FCSA_DEVICE void write() {
    GradientRows to = gradient_rows<T.dtype>(args.dq, args.dq_strides, batch, head);
    to.first = first_query, to.n = args.nq;
    const Origin origin{head_rows<T.dtype>(args.q, args.q_strides, batch, head),
                        query_records<T, C>(args, batch, head), args.eps};
    const float along = Projection<T, S>{pass, to}.write_projected(dq, origin, Base::scale);
    if (args.wants_dscale) write_scale_sum(along);
  }

  // Sum over the block, in a fixed order, of q^ . B: what its rows add to dscale.
  FCSA_DEVICE void write_scale_sum(float along) {
#pragma unroll
    for (int lane = S.channel_lanes; lane < 32; lane *= 2) along += __shfl_xor_sync(0xffffffffu, along, lane);
    // The part of the exchange that is this warp's own.
    constexpr int kWarpPitch = S.warp_rows() * P::kExchangePitch;
    if (threadIdx.x % 32 == 0) pass.exchange[threadIdx.x / 32 * kWarpPitch] = along;
    __syncthreads();
    if (threadIdx.x != 0) return;
    float sum = 0;
    for (int warp = 0; warp < S.warps; ++warp) sum += pass.exchange[warp * kWarpPitch];
    float* sums =
        reinterpret_cast<float*>(static_cast<char*>(args.workspace) + C.workspace(T, args).scale_sums);
    sums[(1LL * head * args.batch + batch) * tiles() + tile] = sum;
  }
};

template <Traits T, BackwardConfig C>
__global__ void __launch_bounds__(C.queries().threads(), C.queries().min_blocks)
    grad_queries(const __grid_constant__ BackwardArgs args) {
#if FCSA_KERNEL_CODE
  extern __shared__ float4 shared[];
  GradQueries<T, C> block(args, reinterpret_cast<float*>(shared));
  walk<C.queries().stages>(block, block.steps());
  if constexpr (C.dq_atomics) block.read_sums();
  block.write();
#endif
}

}  // namespace fcsa::kernels::simt
