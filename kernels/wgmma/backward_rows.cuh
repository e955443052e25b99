// Rows of gradients on their way from accumulators to memory, with the gradient of the normalisation.
#pragma once

#include "kernels/common/key_factors.cuh"
#include "kernels/common/normalise.cuh"
#include "kernels/wgmma/backward_config.h"

namespace fcsa::kernels::wgmma {

// Where rows of a tensor of 16-bit elements are.
struct RowPlace {
  char* first;
  long long row_bytes;

  FCSA_DEVICE RowPlace(const void* tensor, const Strides& s, int batch, int head)
      : first(const_cast<char*>(static_cast<const char*>(tensor)) + 2 * (batch * s.batch + head * s.head)),
        row_bytes(2 * s.row) {}
  FCSA_DEVICE char* row(int index) const { return first + index * row_bytes; }
};

FCSA_DEVICE float sum_of_four(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// Rows g and g + 8 of 16 in the accumulators of a warp (a[4 i + 2 h], columns 8 i + 2 t). `raw` is the row of
// q or k that a row is the gradient of. With A the sum over dS x, x normalised, and r = 1 / |raw|,
//   gradient = scale r (A - raw r^2 (raw . A))
// by groups of channels; and zero where |raw| < eps. Returns r raw . A in all lanes of the row.
template <Traits T>
FCSA_DEVICE float project_row(float (&a)[T.head_dim / 2], int half, const char* raw, float scale, float eps) {
  constexpr int kGroups = T.groups, kTiles = T.head_dim / 8 / kGroups;
  const int t = static_cast<int>(threadIdx.x) % 4;
  const unsigned* words = reinterpret_cast<const unsigned*>(raw) + t;
  float dots = 0;
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    float dot = 0, squares = 0;
#pragma unroll
    for (int i = group * kTiles; i < (group + 1) * kTiles; ++i) {
      const unsigned word = __ldg(words + 4 * i);
      const float2 x = ptx::unpack<T.dtype>(word);
      dot = fmaf(x.x, a[4 * i + 2 * half], fmaf(x.y, a[4 * i + 2 * half + 1], dot));
      squares = add_squares<T.dtype>(word, squares);
    }
    dot = sum_of_four(dot);
    squares = sum_of_four(squares);
    const float r = inverse_norm(squares, eps);
    const bool zero = squares < eps * eps;
    const float factor = zero ? 0.0f : scale * r, along = zero ? 0.0f : r * r * dot;
#pragma unroll
    for (int i = group * kTiles; i < (group + 1) * kTiles; ++i) {
      const float2 x = ptx::unpack<T.dtype>(__ldg(words + 4 * i));
      a[4 * i + 2 * half] = factor * fmaf(-along, x.x, a[4 * i + 2 * half]);
      a[4 * i + 2 * half + 1] = factor * fmaf(-along, x.y, a[4 * i + 2 * half + 1]);
    }
    dots += r * dot;
  }
  return dots;
}

// raw . a, for rows without normalisation.
template <Traits T>
FCSA_DEVICE float dot_row(const float (&a)[T.head_dim / 2], int half, const char* raw) {
  const unsigned* words = reinterpret_cast<const unsigned*>(raw) + threadIdx.x % 4;
  float dot = 0;
#pragma unroll
  for (int i = 0; i < T.head_dim / 8; ++i) {
    const float2 x = ptx::unpack<T.dtype>(__ldg(words + 4 * i));
    dot = fmaf(x.x, a[4 * i + 2 * half], fmaf(x.y, a[4 * i + 2 * half + 1], dot));
  }
  return sum_of_four(dot);
}

template <int n>
FCSA_DEVICE void multiply_row(float (&a)[n], int half, float factor) {
#pragma unroll
  for (int i = 0; i < n / 4; ++i) {
    a[4 * i + 2 * half] *= factor;
    a[4 * i + 2 * half + 1] *= factor;
  }
}

// Of the 4 x 4 words that four neighbouring lanes hold, row `lane % 4`: word i of lane t becomes word t of
// lane i.
FCSA_DEVICE uint4 transposed_in_four(const unsigned (&words)[4], int t) {
  unsigned out[4];
  const bool odd = t & 1, high = t & 2;
  unsigned w[4];
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const unsigned give = odd ? words[i] : words[i + 1];
    const unsigned got = __shfl_xor_sync(0xffffffffu, give, 1);
    w[i] = odd ? got : words[i];
    w[i + 1] = odd ? words[i + 1] : got;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const unsigned give = high ? w[i] : w[i + 2];
    const unsigned got = __shfl_xor_sync(0xffffffffu, give, 2);
    out[i] = high ? got : w[i];
    out[i + 2] = high ? w[i + 2] : got;
  }
  return {out[0], out[1], out[2], out[3]};
}

// The row to memory, 16 bytes a lane, or zeros where it is hidden. All lanes of the warp.
template <Traits T>
FCSA_DEVICE void write_row(const float (&a)[T.head_dim / 2], int half, char* to, bool exists, bool hidden) {
  constexpr int kPieces = T.head_dim / 8;
  const int t = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int first = 0; first < kPieces; first += 4) {
    unsigned words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = 4 * (first + i < kPieces ? first + i : 0) + 2 * half;
      words[i] = hidden ? 0u : ptx::pack<T.dtype>(a[at], a[at + 1]);
    }
    const uint4 piece = transposed_in_four(words, t);
    if (exists && first + t < kPieces) *reinterpret_cast<uint4*>(to + 16 * (first + t)) = piece;
  }
}

}  // namespace fcsa::kernels::wgmma
