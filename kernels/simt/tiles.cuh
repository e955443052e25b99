// Tiles of rows between global memory, whatever their storage, and shared memory in f32.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/key_factors.cuh"
#include "kernels/common/normalise.cuh"
#include "kernels/common/ptx.cuh"

namespace fcsa::kernels::simt {

FCSA_DEVICE float4 multiply(float4 a, float b) {
  return {a.x * b, a.y * b, a.z * b, a.w * b};
}

FCSA_DEVICE float dot(float4 a, float4 b, float sum) {
  sum = fmaf(a.x, b.x, sum);
  sum = fmaf(a.y, b.y, sum);
  sum = fmaf(a.z, b.z, sum);
  return fmaf(a.w, b.w, sum);
}

FCSA_DEVICE void add_product(float4& sum, float a, float4 b) {
  sum.x = fmaf(a, b.x, sum.x);
  sum.y = fmaf(a, b.y, sum.y);
  sum.z = fmaf(a, b.z, sum.z);
  sum.w = fmaf(a, b.w, sum.w);
}

template <DType dtype>
FCSA_DEVICE const char* element_pointer(const void* base, long long index) {
  return static_cast<const char*>(base) + index * element_bytes(dtype);
}

template <DType dtype>
FCSA_DEVICE float load_element(const char* from) {
  if constexpr (dtype == DType::f32) return __ldg(reinterpret_cast<const float*>(from));
  return ptx::unpack<dtype>(__ldg(reinterpret_cast<const unsigned short*>(from))).x;
}

// Every row that exists counts.
struct AllRows {
  FCSA_DEVICE bool operator()(int) const { return true; }
};

// Keys that a mask shows.
template <Traits T>
struct ShownKeys {
  const unsigned char* mask;

  FCSA_DEVICE ShownKeys(const Args& args, int batch)
      : mask(T.key_mask ? args.key_mask + batch * args.key_mask_stride : nullptr) {}
  FCSA_DEVICE bool operator()(int key) const {
    if constexpr (T.key_mask) return __ldg(mask + key) != 0;
    return true;
  }
};

// Rows [first, first + rows) of a [n, head_dim] tensor to shared memory as f32; rows at or past n, and those
// that `counts(row)` says don't, become zeros and are not read. f32 goes by cp.async and is complete after
// the matching wait; 16-bit storage is converted on the way.
template <DType dtype, int head_dim, int rows, int threads, typename Counts = AllRows>
FCSA_DEVICE void load_tile(float* tile, int pitch, const char* base, long long row_stride, int first, int n,
                           const Counts& counts = {}) {
  constexpr int kElements = Piece<dtype>::kElements;
  constexpr int kPieces = head_dim / kElements;
  // Addresses and words in flight take registers, of which O leaves few where rows are long.
  constexpr int kUnroll = head_dim > 128 ? 4 : 8;
#pragma unroll kUnroll
  for (int begin = 0; begin < rows * kPieces; begin += threads) {
    const int piece = begin + static_cast<int>(threadIdx.x);
    if ((rows * kPieces) % threads != 0 && piece >= rows * kPieces) break;
    const int row = piece / kPieces, channel = piece % kPieces * kElements;
    const bool valid = first + row < n && counts(first + row);
    const long long source_row = valid ? first + row : 0;
    const char* from = base + (source_row * row_stride + channel) * element_bytes(dtype);
    float* to = tile + row * pitch + channel;
    if constexpr (dtype == DType::f32) {
      ptx::copy_async_16(to, from, valid);
    } else {
      const uint4 words = valid ? *reinterpret_cast<const uint4*>(from) : uint4{0, 0, 0, 0};
      const Piece<dtype> x = unpack_piece<dtype>(words);
      *reinterpret_cast<float4*>(to) = {x.at[0], x.at[1], x.at[2], x.at[3]};
      *reinterpret_cast<float4*>(to + 4) = {x.at[4], x.at[5], x.at[6], x.at[7]};
    }
  }
}

template <DType dtype>
FCSA_DEVICE void store_element(char* to, float value) {
  if constexpr (dtype == DType::f32) {
    *reinterpret_cast<float*>(to) = value;
  } else {
    *reinterpret_cast<unsigned short*>(to) = static_cast<unsigned short>(ptx::pack<dtype>(value, 0.0f));
  }
}

template <DType dtype>
FCSA_DEVICE void store_4(char* to, float4 value) {
  if constexpr (dtype == DType::f32) {
    *reinterpret_cast<float4*>(to) = value;
  } else {
    *reinterpret_cast<uint2*>(to) = {ptx::pack<dtype>(value.x, value.y), ptx::pack<dtype>(value.z, value.w)};
  }
}

}  // namespace fcsa::kernels::simt
