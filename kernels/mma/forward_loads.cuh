// How Q, K and V, the factors of keys and the bias get into shared memory and registers: members of Forward.
#pragma once

#include "kernels/common/fragment_norms.cuh"
#include "kernels/mma/forward_block.cuh"

namespace fcsa::kernels::mma {

template <Traits T, ForwardConfig C>
template <int rows, typename Source>
FCSA_DEVICE void Forward<T, C>::load_rows(unsigned to, const Source& source) const {
  constexpr int kShare = rows * Layout::kPieces / C.warps();
  static_assert(rows * Layout::kPieces % C.warps() == 0);
  constexpr int kUnroll = kShare <= 512 ? (kShare + 31) / 32 : 2;
  const int begin = static_cast<int>(threadIdx.x) / 32 * kShare;
#pragma unroll kUnroll
  for (int i = 0; i < kShare; i += 32) {
    if (kShare % 32 != 0 && i + lane >= kShare) break;
    const int piece = begin + i + lane, row = piece / Layout::kPieces, column = piece % Layout::kPieces;
    const char* from = source(row);
    ptx::copy_async_16(to + Layout::offset(0, row, 0, column), from == nullptr ? k_base : from + 16 * column,
                       from != nullptr);
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::load_queries() const {
  load_rows<C.block_m()>(q_shared, [&](int r) -> const char* {
    const int row = first_row + r;
    if (row >= args.nq * packed) return nullptr;
    return static_cast<const char*>(args.q) +
           (batch * args.q_strides.batch + head_of(row) * args.q_strides.head +
            query_of(row) * args.q_strides.row) *
               kElement;
  });
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE auto Forward<T, C>::look_at(int tile) const -> MaskCursor {
  MaskCursor cursor{tile, {}};
  const unsigned char* mask = args.key_mask + batch * args.key_mask_stride;
#pragma unroll
  for (int w = 0; w < kMaskWords; ++w) {
    const int key = 32 * w + lane, place = tile * C.block_n + key;
    cursor.bytes[w] = key < C.block_n && tile < end_tile && place < args.nk ? __ldg(mask + place) : 0;
  }
  return cursor;
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE int Forward<T, C>::next_shown(MaskCursor& cursor, Shown& shown) const {
  while (cursor.tile < end_tile) {
    const int tile = cursor.tile;
    unsigned any = 0;
#pragma unroll
    for (int w = 0; w < kMaskWords; ++w) {
      shown.words[w] = __ballot_sync(0xffffffffu, cursor.bytes[w] != 0);
      any |= shown.words[w];
    }
    cursor = look_at(tile + 1);
    if (any != 0) return tile;
  }
  return end_tile;
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::load_tile(unsigned to, const char* base, long long row_bytes, int first,
                                          const Shown& shown) const {
  constexpr int kPieces = Layout::kPieces, kShare = C.block_n / C.warps(), kRows = 32 / kPieces;
  const char* from = base + first * row_bytes;
  if constexpr (kRows == 0 || 32 % kPieces != 0 || kShare % 8 != 0 || 8 % kRows != 0) {
    load_rows<C.block_n>(to, [&](int row) -> const char* {
      return first + row < args.nk && shown.at(row) ? from + row * row_bytes : nullptr;
    });
  } else {
    const int share = static_cast<int>(threadIdx.x) / 32 * kShare, row = lane / kPieces,
              column = lane % kPieces;
    const int end = args.nk - first - share - row;
    from += (share + row) * row_bytes + 16 * column;
    const unsigned own = shown.from(share + row);
#pragma unroll
    for (int i = 0; i < kShare; i += kRows) {
      const bool exists =
          i < end && (kShare > 32 || 32 % kShare != 0 ? shown.at(share + row + i) : own >> i & 1);
      ptx::copy_async_16(to + Layout::offset(share + i / 8 * 8, row + i % 8, 0, column), exists ? from : base,
                         exists);
      from += kRows * row_bytes;
    }
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::load_keys(Step at, const Shown& shown) const {
  const int first = at.tile * C.block_n;
  load_tile(k_stage(at.slot), k_base, args.k_strides.row * kElement, first, shown);
  load_tile(v_stage(at.slot), v_base, args.v_strides.row * kElement, first, shown);
  if constexpr (kPrepared) {
    const char* from = static_cast<const char*>(args.workspace) + C.workspace(T, args).factors +
                       ((batch * args.kv_heads + kv_head) * C.padded_keys(args) + first) * 8;
    for (int i = threadIdx.x; i < C.block_n / 2; i += kThreads)
      ptx::copy_async_16(factor_stage(at.slot) + 16 * i, from + 16 * i, true);
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::prepare_queries() {
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h)
      row_scale[m][h] = logit_factor<T>(
          T.head_scale ? args.head_scale[min(head_of(row_at(m, h)), args.heads - 1)] : args.scale);
    if constexpr (C.q_in_registers) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step) q[m][step] = shared_query_fragment(m, step);
    }
    if constexpr (kNormalise) {
      normalise_row_scale(m);
#pragma unroll
      for (int h = 0; h < 2; ++h) row_scale[m][h] = row_factor<T>(row_scale[m][h]);
      scale_queries(m);
    }
  }
  if constexpr (T.bias != Bias::none) locate_bias();
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::normalise_row_scale(int m) {
  multiply_by_inverse_norms<T.dtype, kSteps>(row_scale[m], args.eps,
                                             [&](int step) { return query_fragment(m, step); });
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::scale_queries(int m) {
  const auto scale = [&](const uint4& a) -> uint4 {
    return {scaled(a.x, row_scale[m][0]), scaled(a.y, row_scale[m][1]), scaled(a.z, row_scale[m][0]),
            scaled(a.w, row_scale[m][1])};
  };
  if constexpr (C.q_in_registers) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) q[m][step] = scale(q[m][step]);
  } else {
    // The warps of other keys read what the first one writes, after the next barrier; so they must not be
    // reading now.
    if constexpr (C.warps_n > 1) __syncthreads();
    if (warp_n != 0) return;
    const int first = warp_m * C.warp_rows() + 16 * m;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const uint4 a = scale(shared_query_fragment(m, step));
      __syncwarp();
      const unsigned to = q_shared + 4 * t;
      ptx::store_shared(to + Layout::offset(first, g, 2 * step, 0), a.x);
      ptx::store_shared(to + Layout::offset(first + 8, g, 2 * step, 0), a.y);
      ptx::store_shared(to + Layout::offset(first, g, 2 * step, 1), a.z);
      ptx::store_shared(to + Layout::offset(first + 8, g, 2 * step, 1), a.w);
      __syncwarp();
    }
  }
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::locate_bias() {
  const Strides& s = args.bias_strides;
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = min(row_at(m, h), args.nq * packed - 1);
      bias_row[m][h] = batch % args.bias_batch * s.batch +
                       (args.bias_heads == 1 ? 0 : head_of(row)) * s.head + query_of(row) * s.row;
    }
  constexpr int kBytes = T.bias == Bias::f32 ? 4 : kElement;
  bias_pairs = (s.batch | s.head | s.row) % 2 == 0 &&
               reinterpret_cast<unsigned long long>(args.bias) % (2 * kBytes) == 0;
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE float2 Forward<T, C>::bias_at(int m, int half, int key) const {
  constexpr bool kWide = kF32 || T.bias == Bias::f32;
  if (key >= args.nk) return {0, 0};
  const long long index = bias_row[m][half] + key;
  float2 bias{0, 0};
  if constexpr (kWide) {
    const float* from = static_cast<const float*>(args.bias) + index;
    if (bias_pairs && key + 1 < args.nk) {
      bias = __ldg(reinterpret_cast<const float2*>(from));
    } else {
      bias = {__ldg(from), key + 1 < args.nk ? __ldg(from + 1) : 0.0f};
    }
  } else {
    const unsigned short* from = static_cast<const unsigned short*>(args.bias) + index;
    unsigned word;
    if (bias_pairs && key + 1 < args.nk) {
      word = __ldg(reinterpret_cast<const unsigned*>(from));
    } else {
      word = __ldg(from) | (key + 1 < args.nk ? static_cast<unsigned>(__ldg(from + 1)) << 16 : 0u);
    }
    bias = ptx::unpack<T.dtype>(word);
  }
  constexpr float kFactor = kLog2E / logit_unit(T);
  return {bias.x * kFactor, bias.y * kFactor};
}

template <Traits T, ForwardConfig C>
FCSA_DEVICE void Forward<T, C>::publish_own_factors(Step at) const {
  constexpr int kShare = C.block_n / C.warps();
  const int first = static_cast<int>(threadIdx.x) / 32 * kShare;
  const auto publish = [&](int key, float inverse) {
    const float2 factor = key_factor<T>(args, batch, at.tile * C.block_n + key, inverse);
    ptx::store_shared(factor_stage(at.slot) + 8 * key, __float_as_uint(factor.x));
    ptx::store_shared(factor_stage(at.slot) + 8 * key + 4, __float_as_uint(factor.y));
  };
  if constexpr (!kNormalise) {
    for (int i = lane; i < kShare; i += 32) publish(first + i, 1.0f);
  } else {
    __syncwarp();  // the other lanes' copies
#pragma unroll
    for (int key = 0; key < kShare; key += 16) {
      float squares[2] = {0, 0}, upper[4] = {0, 0, 0, 0}, lower[4] = {0, 0, 0, 0};
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        const uint4 b = key_fragment(k_stage(at.slot), first + key, step);
        if constexpr (C.key_norms == kTensorCores) {
          // The two halves of K K^T that have the diagonal: the fragment of B, reordered, is that of A.
          ptx::multiply_add_16<T.dtype>(upper, {b.x, b.z, b.y, b.w}, b.x, b.y);
          ptx::multiply_add_16<T.dtype>(lower, {b.x, b.z, b.y, b.w}, b.z, b.w);
        } else {
          squares[0] = add_squares<T.dtype>(b.x, add_squares<T.dtype>(b.y, squares[0]));
          squares[1] = add_squares<T.dtype>(b.z, add_squares<T.dtype>(b.w, squares[1]));
        }
      }
      if constexpr (C.key_norms == kTensorCores) {
        squares[0] = g % 2 ? upper[1] : upper[0];
        squares[1] = g % 2 ? lower[3] : lower[2];
      } else {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          squares[h] += __shfl_xor_sync(0xffffffffu, squares[h], 1);
          squares[h] += __shfl_xor_sync(0xffffffffu, squares[h], 2);
        }
      }
      if (t == g / 2) {
        publish(first + key + g, inverse_norm(squares[0], args.eps));
        publish(first + key + g + 8, inverse_norm(squares[1], args.eps));
      }
    }
  }
}

}  // namespace fcsa::kernels::mma
