// The end of a pass: gradients of the owned rows, through their normalisation, to global memory.
#pragma once

#include "kernels/simt/backward_pass.cuh"

namespace fcsa::kernels::simt {

// Rows of a gradient: those of a block, `first` and on, of the n of a head.
struct GradientRows {
  char* base;        // of the head
  long long stride;  // elements
  int first, n;
};

template <DType dtype>
FCSA_DEVICE GradientRows gradient_rows(void* tensor, const Strides& strides, int batch, int head) {
  char* base = static_cast<char*>(tensor);
  return {base + (batch * strides.batch + head * strides.head) * element_bytes(dtype), strides.row, 0, 0};
}

// What a normalised row was made of.
struct Origin {
  HeadRows raw;
  const float4* records;  // of the head
  float eps;
};

template <Traits T, PassShape S>
struct Projection {
  using P = Pass<T, S>;
  const P& pass;
  GradientRows to;

  FCSA_DEVICE char* place(int row, int channel) const {
    return to.base + ((to.first + row) * to.stride + channel) * element_bytes(T.dtype);
  }

  // As they are.
  FCSA_DEVICE void write(const typename P::Sums& sums) const {
#pragma unroll
    for (int i = 0; i < P::kRows; ++i) write_row(i, sums[i], 1.0f);
  }

  FCSA_DEVICE void write_row(int i, const float4 (&sums)[P::kChunks], float factor) const {
    const int row = pass.sum_row(i);
    if (to.first + row >= to.n) return;
#pragma unroll
    for (int c = 0; c < P::kChunks; ++c)
      if (pass.has_channel(c)) store_4<T.dtype>(place(row, pass.channel(c)), multiply(sums[c], factor));
  }

  // Sums B = dS y of the normalised x^ in x1: dx = scale / |x| (B - x^ (x^ . B)). Returns the sum of x^ . B
  // over the rows of this lane, the same for all lanes of a row.
  FCSA_DEVICE float write_projected(typename P::Sums& sums, const Origin& origin, float scale) const {
    float total = 0;
#pragma unroll
    for (int i = 0; i < P::kRows; ++i) {
      const float along = product_with_own(i, sums[i]);
      const int row = to.first + pass.sum_row(i);
      if (row < to.n) total += along;
      if constexpr (BackwardConfig::normalises(T)) {
        subtract_own(i, along, sums[i]);
        write_row(i, sums[i], scale * (row < to.n ? __ldg(&origin.records[row].y) : 0.0f));
      } else if constexpr (!normalises_first(T)) {
        write_row(i, sums[i], scale);
      } else {
        put_aside(i, sums[i]);
      }
    }
    if constexpr (normalises_first(T)) write_groups(origin, scale);
    return total;
  }

 private:
  FCSA_DEVICE const float4& own_piece(int i, int c) const {
    return *reinterpret_cast<const float4*>(pass.x1 + pass.sum_row(i) * P::kPitch + pass.channel(c));
  }

  FCSA_DEVICE float product_with_own(int i, const float4 (&sums)[P::kChunks]) const {
    float product = 0;
#pragma unroll
    for (int c = 0; c < P::kChunks; ++c)
      if (pass.has_channel(c)) product = dot(own_piece(i, c), sums[c], product);
#pragma unroll
    for (int lane = 1; lane < S.channel_lanes; lane *= 2)
      product += __shfl_xor_sync(0xffffffffu, product, lane);
    return product;
  }

  FCSA_DEVICE void subtract_own(int i, float along, float4 (&sums)[P::kChunks]) const {
#pragma unroll
    for (int c = 0; c < P::kChunks; ++c)
      if (pass.has_channel(c)) add_product(sums[c], -along, own_piece(i, c));
  }

  // Groups may be of any size: sums go through x2, of which a warp has its own rows, and a lane takes a
  // group.
  FCSA_DEVICE void put_aside(int i, const float4 (&sums)[P::kChunks]) const {
#pragma unroll
    for (int c = 0; c < P::kChunks; ++c)
      if (pass.has_channel(c))
        *reinterpret_cast<float4*>(pass.x2 + pass.sum_row(i) * P::kPitch + pass.channel(c)) = sums[c];
  }

  FCSA_DEVICE void write_groups(const Origin& origin, float scale) const {
    __syncwarp();
    for (int item = threadIdx.x % 32; item < S.warp_rows() * T.groups; item += 32) {
      const int row = pass.warp_row + item / T.groups, first = item % T.groups * kGroup;
      if (to.first + row < to.n)
        project_group(row_pointer<T.dtype>(origin.raw, to.first + row) + first * element_bytes(T.dtype),
                      pass.x2 + row * P::kPitch + first, origin.eps, scale);
    }
    __syncwarp();
    constexpr int kPieces = T.head_dim / 4;
    for (int i = threadIdx.x % 32; i < S.warp_rows() * kPieces; i += 32) {
      const int row = pass.warp_row + i / kPieces, channel = i % kPieces * 4;
      if (to.first + row < to.n)
        store_4<T.dtype>(place(row, channel),
                         *reinterpret_cast<const float4*>(pass.x2 + row * P::kPitch + channel));
    }
  }

  static constexpr int kGroup = T.head_dim / T.groups;

  FCSA_DEVICE static float raw_element(const char* raw, int i) {
    return load_element<T.dtype>(raw + i * element_bytes(T.dtype));
  }

  // From the raw channels, so that x^ isn't rounded to the dtype.
  FCSA_DEVICE static void project_group(const char* raw, float* sums, float eps, float scale) {
    float squares = 0, along = 0, largest = 0;
    for (int i = 0; i < kGroup; ++i) largest = fmaxf(largest, fabsf(sums[i]));
    if (largest == 0) return;  // nobody sees the row, or it sees nothing: whatever it holds
#pragma unroll 4
    for (int i = 0; i < kGroup; ++i) {
      const float x = raw_element(raw, i);
      squares = fmaf(x, x, squares);
    }
    const float inverse = inverse_norm(squares, eps);
#pragma unroll 4
    for (int i = 0; i < kGroup; ++i) along = fmaf(raw_element(raw, i) * inverse, sums[i], along);
    const float factor = under_eps(squares, eps) ? 0.0f : scale * inverse;
#pragma unroll 4
    for (int i = 0; i < kGroup; ++i) sums[i] = factor * fmaf(raw_element(raw, i) * inverse, -along, sums[i]);
  }
};

}  // namespace fcsa::kernels::simt
