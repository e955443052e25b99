// The pass that owns keys: dk and dv, summed over the queries of all heads of the group.
#pragma once

#include "kernels/simt/add_queries.cuh"
#include "kernels/simt/backward_pass.cuh"
#include "kernels/simt/backward_projection.cuh"

namespace fcsa::kernels::simt {

template <Traits T, BackwardConfig C>
struct GradKeys {
  static constexpr PassShape S = C.keys();
  using P = Pass<T, S>;

  const BackwardArgs& args;
  P pass;
  int batch, kv_head, first_key;
  int first_tile, head_tiles;  // of queries, of each head: no query before them sees a key of this block
  unsigned visible = 0;        // bit i: the mask shows key own(i)
  typename P::Sums dk, dv;

  FCSA_DEVICE GradKeys(const BackwardArgs& arguments, float* shared) : args(arguments), pass(shared) {
    place_block();
    P::clear(dk);
    P::clear(dv);
  }

  // Causal: the first keys are seen by the most queries; starting with them keeps the last wave short.
  FCSA_DEVICE void place_block() {
    const int tiles = static_cast<int>(ceil_div(args.nk, S.block_m()));
    const int heads = args.kv_heads * args.batch;
    const int tile = T.causal ? blockIdx.x / heads : blockIdx.x % tiles;
    const int head = T.causal ? blockIdx.x % heads : blockIdx.x / tiles;
    batch = head / args.kv_heads;
    kv_head = head % args.kv_heads;
    first_key = tile * S.block_m();
    first_tile = T.causal ? max(0, first_key + args.nq - args.nk) / S.block_n() : 0;
    head_tiles = static_cast<int>(ceil_div(args.nq, S.block_n())) - first_tile;
  }

  FCSA_DEVICE int group() const { return args.heads / args.kv_heads; }
  // None where the mask hides all keys of this block. By the whole block.
  FCSA_DEVICE int steps() const {
    if constexpr (T.key_mask) {
      const ShownKeys<T> shown(args, batch);
      bool any = false;
      for (int i = threadIdx.x; i < S.block_m(); i += P::kThreads)
        any = any || (first_key + i < args.nk && shown(first_key + i));
      if (!__syncthreads_or(any)) return 0;
    }
    return group() * head_tiles;
  }
  FCSA_DEVICE int head_at(int step) const { return kv_head * group() + step / head_tiles; }
  FCSA_DEVICE int query_at(int step) const { return (first_tile + step % head_tiles) * S.block_n(); }

  FCSA_DEVICE void load_own() {
    const ShownKeys<T> shown(args, batch);
    pass.load_own(pass.x1, key_head<T>(args, batch, kv_head), first_key, args.nk, shown);
    pass.load_own(pass.x2, head_rows<T.dtype>(args.v, args.v_strides, batch, kv_head), first_key, args.nk,
                  shown);
  }

  FCSA_DEVICE void load(int step, int stage) {
    const int head = head_at(step);
    const float4* records = query_records<T, C>(args, batch, head);
    pass.load_other(
        stage,
        {query_head<T>(args, batch, head), head_rows<T.dtype>(args.dout, args.dout_strides, batch, head),
         records, query_at(step), args.nq},
        SeeingQueries<T>{records});
  }

  FCSA_DEVICE void begin() {
    const float4* records = key_records<T, C>(args, batch, kv_head);
    if constexpr (BackwardConfig::normalises(T)) pass.normalise_own(records, first_key, args.nk);
    if constexpr (T.key_mask) {
#pragma unroll
      for (int i = 0; i < S.thread_m; ++i) {
        const int key = first_key + pass.own(i);
        if (key < args.nk && __ldg(&records[key].z) != 0) visible |= 1u << i;
      }
    }
  }

  // Whether a tile has pairs that must not be seen. Queries past the end need no mask: their rows and records
  // are zero, and so is what they add. Keys past the end have sums of their own, except in dq.
  FCSA_DEVICE bool needs_mask(int first_query) const {
    const int end = first_key + S.block_m();
    return T.key_mask || (C.dq_atomics && end > args.nk) ||
           (T.causal && end > first_query + 1 + args.nk - args.nq);
  }

  FCSA_DEVICE void mask(int first_query, typename P::Tile& s) const {
#pragma unroll
    for (int j = 0; j < S.thread_n; ++j) {
      const int last_key = first_query + pass.other(j) + args.nk - args.nq;
#pragma unroll
      for (int i = 0; i < S.thread_m; ++i) {
        const int key = first_key + pass.own(i);
        const bool hidden = T.key_mask ? (visible >> i & 1) == 0 : C.dq_atomics && key >= args.nk;
        if (hidden || (T.causal && key > last_key)) s[i][j] = minus_infinity();
      }
    }
  }

  // x1 y1^T to P.
  FCSA_DEVICE void probabilities(int step, float scale, const float4* records, typename P::Tile& s) const {
    const int first_query = query_at(step);
#pragma unroll
    for (int j = 0; j < S.thread_n; ++j) {
      const QueryRecord record = query_record(records[pass.other(j)]);
      const float factor = row_factor<T>(record.inverse_norm * logit_factor<T>(scale));
#pragma unroll
      for (int i = 0; i < S.thread_m; ++i) s[i][j] = fmaf(s[i][j], factor, -record.lse);
    }
    if constexpr (T.bias != Bias::none) {
      const HeadBias<T> bias(args, batch, head_at(step));
#pragma unroll
      for (int j = 0; j < S.thread_n; ++j)
#pragma unroll
        for (int i = 0; i < S.thread_m; ++i)
          s[i][j] = with_bias(s[i][j], bias.at(first_query + pass.other(j), first_key + pass.own(i)));
    }
    if (needs_mask(first_query)) mask(first_query, s);
#pragma unroll
    for (int i = 0; i < S.thread_m; ++i)
#pragma unroll
      for (int j = 0; j < S.thread_n; ++j) s[i][j] = probability<T>(s[i][j]);
  }

  // dP to dS, with the factors of the sum over queries: inverse norms of q and scale.
  FCSA_DEVICE void differences(float scale, const float4* records, typename P::Tile& dp) const {
#pragma unroll
    for (int j = 0; j < S.thread_n; ++j) {
      const QueryRecord record = query_record(records[pass.other(j)]);
      const float factor = record.inverse_norm * scale;
#pragma unroll
      for (int i = 0; i < S.thread_m; ++i)
        dp[i][j] = score_gradient<T>(pass.aside(i, j), dp[i][j] - record.delta) * factor;
    }
  }

  FCSA_DEVICE void compute(int step, int stage) {
    const float *q = pass.y1_of(stage), *dout = pass.y2_of(stage);
    const float4* records = pass.records_of(stage);
    const float scale = scale_of<T>(args, head_at(step));
    // A scale of 0 must not hide dS from dscale, which comes out of dq.
    const float weight = C.dq_atomics && scale == 0 ? 1.0f : scale;
    typename P::Tile s;
    pass.products(pass.x1, q, s);
    probabilities(step, scale, records, s);
    pass.share(s);
    pass.add_rows(dout, dv);
    pass.products(pass.x2, dout, s);
    differences(weight, records, s);
    pass.share(s);
    if constexpr (C.dq_atomics) add_queries(step, weight, records);
    if (!C.dq_atomics || scale != 0) pass.add_rows(q, dk);
  }

  FCSA_DEVICE void add_queries(int step, float weight, const float4* records) const {
    __syncthreads();  // dS of the other warps
    QuerySums<T, S> sums(pass);
    sums.sum();
    sums.add(query_sums<T, C>(args, batch, head_at(step)), records, query_at(step), args.nq, weight);
  }

  FCSA_DEVICE void write() {
    GradientRows to = gradient_rows<T.dtype>(args.dv, args.dv_strides, batch, kv_head);
    to.first = first_key, to.n = args.nk;
    Projection<T, S>{pass, to}.write(dv);
    to = gradient_rows<T.dtype>(args.dk, args.dk_strides, batch, kv_head);
    to.first = first_key, to.n = args.nk;
    const Origin origin{head_rows<T.dtype>(args.k, args.k_strides, batch, kv_head),
                        key_records<T, C>(args, batch, kv_head), args.eps};
    Projection<T, S>{pass, to}.write_projected(dk, origin, 1.0f);
  }
};

template <Traits T, BackwardConfig C>
__global__ void __launch_bounds__(C.keys().threads(), C.keys().min_blocks)
    grad_keys(const __grid_constant__ BackwardArgs args) {
#if FCSA_KERNEL_CODE
  extern __shared__ float4 shared[];
  GradKeys<T, C> block(args, reinterpret_cast<float*>(shared));
  walk<C.keys().stages>(block, block.steps());
  block.write();
#endif
}

}  // namespace fcsa::kernels::simt
