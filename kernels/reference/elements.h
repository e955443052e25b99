// Stored elements to float and back on the host, in loops that compilers vectorise.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/common/interface.h"

namespace fcsa::kernels {

inline float float_from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

inline std::uint16_t bf16_from_float(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float float_from_f16(std::uint16_t half) {
  const std::uint32_t magnitude = static_cast<std::uint32_t>(half & 0x7fffu) << 13;
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t normal = magnitude + (112u << 23);
  const std::uint32_t special = magnitude + (224u << 23);
  // A subnormal is its bits in units of 2^-24: put them behind 2^-14 and take 2^-14 away.
  const float subnormal = std::bit_cast<float>(normal + (1u << 23)) - 0x1p-14f;
  const std::uint32_t bits = magnitude < (1u << 23)     ? std::bit_cast<std::uint32_t>(subnormal)
                             : magnitude >= (31u << 23) ? special
                                                        : normal;
  return std::bit_cast<float>(bits | sign);
}

inline std::uint16_t f16_from_float(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude >= 0x47800000u)
    return static_cast<std::uint16_t>(sign | (magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u));
  if (magnitude < 0x38800000u) {
    // The spacing of f32 at 0.5 is 2^-24, that of f16 subnormals: the addition rounds.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u));
  }
  const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

// `count` consecutive elements, from the element `index` on.
inline void load_elements(DType dtype, const void* data, long long index, int count, float* to) {
  if (dtype == DType::f32) {
    std::memcpy(to, static_cast<const float*>(data) + index, static_cast<std::size_t>(count) * sizeof(float));
    return;
  }
  const auto* from = static_cast<const std::uint16_t*>(data) + index;
  if (dtype == DType::bf16) {
    for (int i = 0; i < count; ++i) to[i] = float_from_bf16(from[i]);
  } else {
    for (int i = 0; i < count; ++i) to[i] = float_from_f16(from[i]);
  }
}

inline void store_elements(DType dtype, void* data, long long index, int count, const float* from) {
  if (dtype == DType::f32) {
    std::memcpy(static_cast<float*>(data) + index, from, static_cast<std::size_t>(count) * sizeof(float));
    return;
  }
  auto* to = static_cast<std::uint16_t*>(data) + index;
  if (dtype == DType::bf16) {
    for (int i = 0; i < count; ++i) to[i] = bf16_from_float(from[i]);
  } else {
    for (int i = 0; i < count; ++i) to[i] = f16_from_float(from[i]);
  }
}

// In double precision: no f32 holds the squares of very large elements. Four sums, so that no addition waits
// for the one before.
template <typename Iterator>
double sum_of_squares(Iterator first, Iterator last) {
  double sums[4] = {};
  const auto square = [](double x) { return x * x; };
  for (; last - first >= 4; first += 4)
    for (int i = 0; i < 4; ++i) sums[i] += square(first[i]);
  for (; first != last; ++first) sums[0] += square(*first);
  return sums[0] + sums[1] + (sums[2] + sums[3]);
}

// f32 rounded to TF32 (10 bits of mantissa), ties away from zero as cvt.rna does.
inline float rounded_to_tf32(float value) {
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(value) + 0x1000u) & 0xffffe000u);
}

// The nearest value that the dtype can store.
inline float rounded_to(DType dtype, float value) {
  if (dtype == DType::bf16) return float_from_bf16(bf16_from_float(value));
  if (dtype == DType::f16) return float_from_f16(f16_from_float(value));
  return value;
}

// What a plain implementation rounds: what it stores, and what its products take as operands, which with TF32
// is less. The formula in double precision rounds nothing.
inline float as_stored(const Traits& traits, float value) {
  return rounded_to(traits.dtype, value);
}
inline double as_stored(const Traits&, double value) {
  return value;
}
inline float as_operand(const Traits& traits, float value) {
  return traits.tf32 ? rounded_to_tf32(value) : as_stored(traits, value);
}
inline double as_operand(const Traits&, double value) {
  return value;
}

}  // namespace fcsa::kernels
