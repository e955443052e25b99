// How O gets out, whole or as a part that is added to those of other blocks: members of Consumer.
#pragma once

#include "kernels/wgmma/consumer.cuh"

namespace fcsa::kernels::wgmma {

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::finish_rows(Output& output) const {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float sum = total(h);
    const float inverse = sum > 0 ? ptx::reciprocal_approximate(sum) : 0.0f;
    const float top = kFixed ? offset : row_max[h];
    if constexpr (kFixed) {
      output.lse[h] = sum > 0 ? (log2f(sum) + top) * kLn2 : minus_infinity();
    } else {
      const Rows tile = rows(queries.before());
      const int head = min(tile.head_of(row_at(tile, h)), args.heads - 1);
      output.lse[h] = sum > 0 ? lse_of<T>(args, head, sum, top) : minus_infinity();
    }
#pragma unroll
    for (int i = 0; i < T.head_dim / 8; ++i)
      output.words[h][i] = ptx::pack<T.dtype>(o[4 * i + 2 * h] * inverse, o[4 * i + 2 * h + 1] * inverse);
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::write_output() {
  Output output;
  finish_rows(output);
  const Rows tile = rows(queries.before());
  write_sums(tile, output);
  if constexpr (C.tma_store) {
    store_rows(tile, output);
  } else {
    write_rows(tile, output);
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::write_sums(const Rows& tile, const Output& output) const {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = row_at(tile, h), query = tile.query_of(row), head = tile.head_of(row);
    if (t == 0 && query < args.nq)
      args.lse[(static_cast<long long>(tile.batch) * args.heads + head) * args.nq + query] = output.lse[h];
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::store_rows(const Rows& tile, const Output& output) const {
  const QueryCursor<C> before = queries.before();
#pragma unroll
  for (int step = 0; step < kSteps; ++step)
    hopper::store_matrices(matrices(step, before),
                           {output.words[0][2 * step], output.words[1][2 * step],
                            output.words[0][2 * step + 1], output.words[1][2 * step + 1]});
  hopper::fence_async();
  sync_warpgroup();
  if (threadIdx.x % 128 != 0) return;
#pragma unroll
  for (int panel = 0; panel < ForwardConfig::panels(T); ++panel) {
    const int channel = panel * ForwardConfig::panel_channels(T);
    const unsigned from = shared.q_of(before.buffer(), warpgroup) + panel * ForwardConfig::kRows * kRowBytes;
    if constexpr (C.pack_heads) {
      hopper::store_box(maps.map[3], from, channel, 0, tile.first_row / tile.packed,
                        tile.first_head / tile.packed, tile.batch);
    } else {
      hopper::store_box(maps.map[3], from, channel, tile.first_row, tile.first_head, tile.batch);
    }
  }
  hopper::store_commit();
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::finish_store() const {
  if constexpr (C.tma_store) {
    if (queries.tile == 0 || threadIdx.x % 128 != 0) return;
    hopper::wait_until_stores_have_read();
    hopper::barrier_arrive(shared.q_free(queries.before().buffer()));
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::write_rows(const Rows& tile, const Output& output) const {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = row_at(tile, h), query = tile.query_of(row), head = tile.head_of(row);
    const bool exists = query < args.nq;
    const Strides& strides = args.o_strides;
    char* to = static_cast<char*>(args.o) +
               2 * (tile.batch * strides.batch + head * strides.head + query * strides.row);
    constexpr int kPieces = T.head_dim / 8;
#pragma unroll
    for (int first = 0; first < kPieces; first += 4) {
      unsigned words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) words[i] = first + i < kPieces ? output.words[h][first + i] : 0;
      const uint4 piece = transposed(words);
      if (exists && first + t < kPieces) *reinterpret_cast<uint4*>(to + 16 * (first + t)) = piece;
    }
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::run_part() {
  const int tiles = take_next();
  if (tiles == 0) {
    put_nothing();
    return;
  }
  walk(open(tiles));
  finish_values();
  hopper::named_barrier_sync(kConsumers, 128 * C.warpgroups);
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const unsigned to = part_row(ForwardConfig::kRows * warpgroup + 16 * warp + 8 * h + g);
    const auto store_pair = [&](int word, float x, float y) {
      ptx::store_shared(to + 4 * word, __float_as_uint(x));
      ptx::store_shared(to + 4 * word + 4, __float_as_uint(y));
    };
#pragma unroll
    for (int i = 0; i < T.head_dim / 8; ++i)
      store_pair(8 * i + 2 * t, o[4 * i + 2 * h], o[4 * i + 2 * h + 1]);
    const float sum = total(h);
    if (t == 0) store_pair(T.head_dim, sum, row_max[h]);
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::put_nothing() const {
  const int thread = static_cast<int>(threadIdx.x) - 128;
  for (int word = thread; word < C.part_bytes(T) / 4; word += 128 * C.warpgroups)
    ptx::store_shared(shared.q + 4 * word, 0);
  hopper::named_barrier_sync(kConsumers, 128 * C.warpgroups);
  for (int row = thread; row < C.block_m(); row += 128 * C.warpgroups)
    ptx::store_shared(part_row(row) + 4 * T.head_dim + 4, __float_as_uint(minus_infinity()));
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Consumer<T, C>::add_parts() const {
  constexpr int kLanes = T.head_dim / 4, kThreads = 128 * C.warpgroups;  // 4 channels each
  constexpr int kShare = C.block_m() / C.split * kLanes;
  const Rows tile = rows(queries);
  const int first_row = tile.first_row - ForwardConfig::kRows * warpgroup;
#pragma unroll 1
  for (int piece = static_cast<int>(threadIdx.x) - 128; piece < kShare; piece += kThreads) {
    const int row = C.block_m() / C.split * rank + piece / kLanes, channel = piece % kLanes * 4;
    const int query = tile.query_of(first_row + row), head = tile.head_of(first_row + row);
    if (query >= args.nq) break;
    PartialRow whole;
    float2 sums[C.split];
#pragma unroll
    for (int part = 0; part < C.split; ++part) {
      sums[part] = ptx::load_cluster_2(ptx::cluster_address(part_row(row) + 4 * T.head_dim, part));
      if constexpr (!kFixed) whole.top = fmaxf(whole.top, sums[part].y);
    }
#pragma unroll
    for (int part = 0; part < C.split; ++part)
      whole.template add<T>(ptx::load_cluster_4(ptx::cluster_address(part_row(row) + 4 * channel, part)),
                            sums[part]);
    write_row<T>(args, (static_cast<long long>(tile.batch) * args.heads + head) * args.nq + query, channel,
                 whole);
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE uint4 Consumer<T, C>::transposed(const unsigned (&words)[4]) const {
  const bool odd = t & 1, high = t & 2;
  const unsigned first = __shfl_xor_sync(0xffffffffu, odd ? words[0] : words[1], 1);
  const unsigned second = __shfl_xor_sync(0xffffffffu, odd ? words[2] : words[3], 1);
  const unsigned a[4] = {odd ? first : words[0], odd ? words[1] : first, odd ? second : words[2],
                         odd ? words[3] : second};
  const unsigned third = __shfl_xor_sync(0xffffffffu, high ? a[0] : a[2], 2);
  const unsigned fourth = __shfl_xor_sync(0xffffffffu, high ? a[1] : a[3], 2);
  return {high ? third : a[0], high ? fourth : a[1], high ? a[2] : third, high ? a[3] : fourth};
}

}  // namespace fcsa::kernels::wgmma
