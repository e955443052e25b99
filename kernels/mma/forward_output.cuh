// How O gets out: sums over the warps and blocks that have different keys, and rows to memory: members of
// Forward.
#pragma once

#include "kernels/mma/forward_block.cuh"

namespace fcsa::kernels::mma {

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::gather() {
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if constexpr (C.tensor_sums) {
        row_sum[m][h] = tensor_sum[m][2 * h];
      } else {
        row_sum[m][h] += __shfl_xor_sync(0xffffffffu, row_sum[m][h], 1);
        row_sum[m][h] += __shfl_xor_sync(0xffffffffu, row_sum[m][h], 2);
      }
    }
#pragma unroll
  for (int half = C.warps_n / 2; half >= 1; half /= 2) {
    if (warp_n >= half && warp_n < 2 * half) send(warp_n - half);
    __syncthreads();
    if (warp_n < half) receive(warp_n);
    __syncthreads();
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::send(int index) const {
  unsigned to = slot(index);
  const auto put = [&](float x) {
    ptx::store_shared(to, __float_as_uint(x));
    to += 128;
  };
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      put(row_sum[m][h]);
      put(row_max[m][h]);
    }
#pragma unroll
    for (int c = 0; c < kChannelTiles; ++c)
#pragma unroll
      for (int i = 0; i < 4; ++i) put(o[m][c][i]);
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::receive(int index) {
  unsigned from = slot(index);
  const auto get = [&] {
    const float x = ptx::load_shared(from);
    from += 128;
    return x;
  };
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
    float mine[2] = {1, 1}, theirs[2] = {1, 1};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float sum = get(), top = get();
      if constexpr (!kFixed) {
        const float both = fmaxf(row_max[m][h], top), reference = both == minus_infinity() ? 0.0f : both;
        mine[h] = ptx::exp2_approximate(above<T>(row_max[m][h], reference));
        theirs[h] = ptx::exp2_approximate(above<T>(top, reference));
        row_max[m][h] = both;
      }
      row_sum[m][h] = row_sum[m][h] * mine[h] + sum * theirs[h];
    }
#pragma unroll
    for (int c = 0; c < kChannelTiles; ++c)
#pragma unroll
      for (int i = 0; i < 4; ++i) o[m][c][i] = o[m][c][i] * mine[i / 2] + get() * theirs[i / 2];
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::write_part() const {
  const auto space = C.workspace(T, args);
  char* workspace = static_cast<char*>(args.workspace);
  const long long before = 1LL * blockIdx.y * args.batch * args.heads * args.nq;
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = row_at(m, h);
      if (row >= args.nq * packed) continue;
      const long long index = before + output_row(row);
      float* to = reinterpret_cast<float*>(workspace + space.partial_o) + index * T.head_dim + 2 * t;
#pragma unroll
      for (int c = 0; c < kChannelTiles; ++c)
        *reinterpret_cast<float2*>(to + 8 * c) = {o[m][c][2 * h], o[m][c][2 * h + 1]};
      if (t == 0)
        reinterpret_cast<float2*>(workspace + space.partial_sums)[index] = {row_sum[m][h], row_max[m][h]};
    }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::share_part() const {
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const unsigned to = shared + (row_at(m, h) - first_row) * ForwardConfig::part_pitch(T);
      const auto store_pair = [&](int word, float x, float y) {
        ptx::store_shared(to + 4 * word, __float_as_uint(x));
        ptx::store_shared(to + 4 * word + 4, __float_as_uint(y));
      };
#pragma unroll
      for (int c = 0; c < kChannelTiles; ++c) store_pair(8 * c + 2 * t, o[m][c][2 * h], o[m][c][2 * h + 1]);
      if (t == 0) store_pair(T.head_dim, row_sum[m][h], row_max[m][h]);
    }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::sum_parts() const {
  constexpr int kLanes = T.head_dim / 4;
  const int pieces = min(C.block_m(), args.nq * packed - first_row) * kLanes;
  const int share = (pieces + C.cluster - 1) / C.cluster, first = static_cast<int>(blockIdx.y) * share;
  for (int piece = first + threadIdx.x; piece < min(first + share, pieces); piece += kThreads) {
    const int row = piece / kLanes, channel = piece % kLanes * 4;
    PartialRow total;
    float2 sums[C.cluster];
#pragma unroll
    for (int part = 0; part < C.cluster; ++part) {
      sums[part] = ptx::load_cluster_2(ptx::cluster_address(part_word(row, T.head_dim), part));
      if constexpr (!kFixed) total.top = fmaxf(total.top, sums[part].y);
    }
#pragma unroll
    for (int part = 0; part < C.cluster; ++part) {
      const float4 x = ptx::load_cluster_4(ptx::cluster_address(part_word(row, channel), part));
      total.template add<T>(x, sums[part]);
    }
    write_row<T>(args, output_row(first_row + row), channel, total);
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::write_rows() const {
  constexpr int kPitch = ForwardConfig::row_bytes(T) + 16;
  const int warp_first = warp_m * C.warp_rows();
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = row_at(m, h);
      const float sum = row_sum[m][h], inverse = sum > 0 ? 1.0f / sum : 0.0f;
      const float top = kFixed ? offset : row_max[m][h];
      if (t == 0 && row < args.nq * packed)
        args.lse[output_row(row)] = sum > 0 ? lse_of<T>(args, head_of(row), sum, top) : minus_infinity();
      const unsigned to = shared + (row - first_row) * kPitch + 2 * t * kElement;
#pragma unroll
      for (int c = 0; c < kChannelTiles; ++c) {
        const float x = o[m][c][2 * h] * inverse, y = o[m][c][2 * h + 1] * inverse;
        if constexpr (kF32) {
          ptx::store_shared(to + 8 * c * kElement, __float_as_uint(x));
          ptx::store_shared(to + 8 * c * kElement + 4, __float_as_uint(y));
        } else {
          ptx::store_shared(to + 8 * c * kElement, ptx::pack<T.dtype>(x, y));
        }
      }
    }
  __syncwarp();
  const Strides& strides = args.o_strides;
#pragma unroll 2
  for (int piece = lane; piece < C.warp_rows() * Layout::kPieces; piece += 32) {
    const int tile_row = warp_first + piece / Layout::kPieces, column = piece % Layout::kPieces;
    const int row = first_row + tile_row;
    if (row >= args.nq * packed) continue;
    const long long index = batch * strides.batch + head_of(row) * strides.head + query_of(row) * strides.row;
    *reinterpret_cast<float4*>(static_cast<char*>(args.o) + index * kElement + 16 * column) =
        ptx::load_shared_4(shared + tile_row * kPitch + 16 * column);
  }
}

}  // namespace fcsa::kernels::mma
