// A block of the backward pass that owns queries of one head: S and dP of its tiles.
#pragma once

#include "kernels/simt/backward_pass.cuh"

namespace fcsa::kernels::simt {

template <Traits T, BackwardConfig C, PassShape S>
struct OwnedQueries {
  using P = Pass<T, S>;

  const BackwardArgs& args;
  P pass;
  int batch = 0, head = 0, first_query = 0;
  float scale = 0;
  float lse[S.thread_m], delta[S.thread_m];  // of own(i), zero past the end

  FCSA_DEVICE OwnedQueries(const BackwardArgs& arguments, float* shared) : args(arguments), pass(shared) {}

  FCSA_DEVICE int kv_head() const { return head / (args.heads / args.kv_heads); }

  FCSA_DEVICE SeeingQueries<T> seeing() const { return {query_records<T, C>(args, batch, head)}; }
  FCSA_DEVICE void load_queries() {
    pass.load_own(pass.x1, query_head<T>(args, batch, head), first_query, args.nq, seeing());
  }
  FCSA_DEVICE void load_own() {
    load_queries();
    pass.load_own(pass.x2, head_rows<T.dtype>(args.dout, args.dout_strides, batch, head), first_query,
                  args.nq, seeing());
  }

  FCSA_DEVICE void load_keys(int stage, int first_key) {
    pass.load_other(
        stage,
        {key_head<T>(args, batch, kv_head()), head_rows<T.dtype>(args.v, args.v_strides, batch, kv_head()),
         key_records<T, C>(args, batch, kv_head()), first_key, args.nk},
        ShownKeys<T>(args, batch));
  }

  // When the owned rows are in shared memory.
  FCSA_DEVICE void begin() {
    const float4* records = query_records<T, C>(args, batch, head);
    scale = scale_of<T>(args, head);
    if constexpr (BackwardConfig::normalises(T)) pass.normalise_own(records, first_query, args.nq);
#pragma unroll
    for (int i = 0; i < S.thread_m; ++i) {
      const int row = first_query + pass.own(i);
      const QueryRecord record = query_record(row < args.nq ? __ldg(records + row) : float4{0, 0, 0, 0});
      lse[i] = record.lse, delta[i] = record.delta;
    }
  }

  // Whether a tile has pairs that must not be seen.
  FCSA_DEVICE bool needs_mask(int first_key) const {
    const int end = first_key + S.block_n();
    return T.key_mask || end > args.nk || (T.causal && end > first_query + 1 + args.nk - args.nq);
  }

  FCSA_DEVICE void mask(int stage, int first_key, typename P::Tile& s) const {
#pragma unroll
    for (int j = 0; j < S.thread_n; ++j) {
      const int key = first_key + pass.other(j);
      const bool hidden =
          T.key_mask ? key_record(pass.records_of(stage)[pass.other(j)]).visible == 0 : key >= args.nk;
#pragma unroll
      for (int i = 0; i < S.thread_m; ++i)
        if (hidden || (T.causal && key > first_query + pass.own(i) + args.nk - args.nq))
          s[i][j] = minus_infinity();
    }
  }

  // Whether the mask hides all keys of a tile; every warp finds the same.
  FCSA_DEVICE bool hides_all(int stage) const {
    if constexpr (!T.key_mask) return false;
    bool any = false;
    for (int key = threadIdx.x % 32; key < S.block_n(); key += 32)
      any = any || key_record(pass.records_of(stage)[key]).visible != 0;
    return !__any_sync(0xffffffffu, any);
  }

  // P of a tile.
  FCSA_DEVICE void probabilities(int stage, int first_key, typename P::Tile& s) const {
    pass.products(pass.x1, pass.y1_of(stage), s);
#pragma unroll
    for (int j = 0; j < S.thread_n; ++j) {
      const float factor =
          key_record(pass.records_of(stage)[pass.other(j)]).inverse_norm * logit_factor<T>(scale);
#pragma unroll
      for (int i = 0; i < S.thread_m; ++i) s[i][j] = fmaf(s[i][j], factor, -lse[i]);
    }
    if constexpr (T.bias != Bias::none) {
      const HeadBias<T> bias(args, batch, head);
#pragma unroll
      for (int i = 0; i < S.thread_m; ++i)
#pragma unroll
        for (int j = 0; j < S.thread_n; ++j)
          s[i][j] = with_bias(s[i][j], bias.at(first_query + pass.own(i), first_key + pass.other(j)));
    }
    if (needs_mask(first_key)) mask(stage, first_key, s);
#pragma unroll
    for (int i = 0; i < S.thread_m; ++i)
#pragma unroll
      for (int j = 0; j < S.thread_n; ++j) s[i][j] = probability<T>(s[i][j]);
  }

  // dS of a tile, from P in the exchange.
  FCSA_DEVICE void differences(int stage, typename P::Tile& s) const {
    pass.products(pass.x2, pass.y2_of(stage), s);
#pragma unroll
    for (int i = 0; i < S.thread_m; ++i)
#pragma unroll
      for (int j = 0; j < S.thread_n; ++j) s[i][j] = score_gradient<T>(pass.aside(i, j), s[i][j] - delta[i]);
  }
};

}  // namespace fcsa::kernels::simt
