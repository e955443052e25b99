// Vectors of floats, written with the vector extensions of GCC and clang, and the storage types that they
// are loaded from and stored to. Everything lives in a namespace named after the instruction set, and the
// vector width is a parameter, not a guess.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/visibility.h"

#ifndef FCSA_CPU_ISA
#define FCSA_CPU_ISA native
#endif

#ifndef FCSA_CPU_INLINE
#define FCSA_CPU_INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#define FCSA_CPU_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FCSA_CPU_UNROLL _Pragma("GCC unroll 64")
#endif
#endif

#pragma GCC diagnostic push
// Vectors are passed between functions that are inlined: their calling convention doesn't matter.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace fcsa::kernels::cpu::FCSA_CPU_ISA {

template <int Floats>
struct VectorTypes;
template <>
struct VectorTypes<4> {
  typedef float Vector __attribute__((vector_size(16)));
  typedef int Ints __attribute__((vector_size(16)));
  typedef unsigned Bits __attribute__((vector_size(16)));
  typedef unsigned short Halves __attribute__((vector_size(8)));
  typedef unsigned char Bytes __attribute__((vector_size(4)));
};
template <>
struct VectorTypes<8> {
  typedef float Vector __attribute__((vector_size(32)));
  typedef int Ints __attribute__((vector_size(32)));
  typedef unsigned Bits __attribute__((vector_size(32)));
  typedef unsigned short Halves __attribute__((vector_size(16)));
  typedef unsigned char Bytes __attribute__((vector_size(8)));
};
template <>
struct VectorTypes<16> {
  typedef float Vector __attribute__((vector_size(64)));
  typedef int Ints __attribute__((vector_size(64)));
  typedef unsigned Bits __attribute__((vector_size(64)));
  typedef unsigned short Halves __attribute__((vector_size(32)));
  typedef unsigned char Bytes __attribute__((vector_size(16)));
};

template <typename To>
FCSA_CPU_INLINE To load(const void* from) {
  To value;
  __builtin_memcpy(&value, from, sizeof(value));
  return value;
}

template <typename Value>
FCSA_CPU_INLINE void store(void* to, const Value& value) {
  __builtin_memcpy(to, &value, sizeof(value));
}

template <typename To, typename From>
FCSA_CPU_INLINE To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To value;
  __builtin_memcpy(&value, &from, sizeof(value));
  return value;
}

// Stored elements to floats and back, one vector at a time, rounding to nearest even.
template <DType Type, int W>
FCSA_CPU_INLINE typename VectorTypes<W>::Vector load_elements(const void* from) {
  using Vector = typename VectorTypes<W>::Vector;
  using Bits = typename VectorTypes<W>::Bits;
  if constexpr (Type == DType::f32) {
    return load<Vector>(from);
  } else {
    const Bits raw = __builtin_convertvector(load<typename VectorTypes<W>::Halves>(from), Bits);
    if constexpr (Type == DType::bf16) {
      return bits_as<Vector>(raw << 16);
    } else {
      // Moved to the place of an f32's exponent and mantissa the value is 2^112 too small, subnormals
      // included; infinities and NaN need the largest exponent.
      const Bits magnitude = (raw & 0x7fffu) << 13;
      const Vector value = bits_as<Vector>(magnitude) * 0x1p112f;
      const Bits special = bits_as<Bits>(magnitude >= 0x0f800000u) & 0x7f800000u;
      return bits_as<Vector>(bits_as<Bits>(value) | special | (raw & 0x8000u) << 16);
    }
  }
}

template <DType Type, int W>
FCSA_CPU_INLINE void store_elements(void* to, const typename VectorTypes<W>::Vector& value) {
  using Vector = typename VectorTypes<W>::Vector;
  using Bits = typename VectorTypes<W>::Bits;
  using Halves = typename VectorTypes<W>::Halves;
  if constexpr (Type == DType::f32) {
    store(to, value);
  } else {
    const Bits raw = bits_as<Bits>(value);
    const Bits magnitude = raw & 0x7fffffffu;
    const Bits nan = bits_as<Bits>(magnitude > 0x7f800000u);
    if constexpr (Type == DType::bf16) {
      const Bits rounded = (raw + 0x7fffu + (raw >> 16 & 1u)) >> 16;
      store(to, __builtin_convertvector((nan & (raw >> 16 | 0x40u)) | (~nan & rounded), Halves));
    } else {
      const Bits overflow = bits_as<Bits>(magnitude >= 0x47800000u);
      const Bits subnormal = bits_as<Bits>(magnitude < 0x38800000u);
      const Bits normal = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
      // The spacing of f32 at 0.5 is 2^-24, that of f16 subnormals: the addition rounds.
      const Bits small = bits_as<Bits>(bits_as<Vector>(magnitude & subnormal) + 0.5f) - 0x3f000000u;
      const Bits half =
          (overflow & (0x7c00u | (nan & 0x200u))) | (subnormal & small) | (~overflow & ~subnormal & normal);
      store(to, __builtin_convertvector(half | (raw >> 16 & 0x8000u), Halves));
    }
  }
}

template <int W>
FCSA_CPU_INLINE float sum_of(const typename VectorTypes<W>::Vector& value) {
  float lanes[W];
  store(lanes, value);
  for (int half = W / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

template <typename Vector>
FCSA_CPU_INLINE Vector larger(const Vector& a, const Vector& b) {
  return a > b ? a : b;
}

// score += bias * factor, and minus infinity where the bias is that, whatever the score was.
template <int W>
FCSA_CPU_INLINE void add_bias_vector(const typename VectorTypes<W>::Vector& bias, float factor,
                                     typename VectorTypes<W>::Vector& score) {
  using Vector = typename VectorTypes<W>::Vector;
  using Bits = typename VectorTypes<W>::Bits;
  const auto hidden = bits_as<Bits>(bias) == 0xff800000u;
  score = hidden ? Vector{} - __builtin_inff() : score + bias * factor;
}

template <int W>
FCSA_CPU_INLINE bool any(const typename VectorTypes<W>::Ints& lanes) {
  long long words[W / 2];
  store(words, lanes);
  for (int i = 1; i < W / 2; ++i) words[0] |= words[i];
  return words[0] != 0;
}

inline constexpr int kLanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// All ones in the lanes whose keys are in the range, where the first lane has key `first`.
template <int W>
FCSA_CPU_INLINE typename VectorTypes<W>::Ints lanes_in(const Range& keys, long long first) {
  const auto lanes = load<typename VectorTypes<W>::Ints>(kLanes);
  return (lanes >= static_cast<int>(keys.first - first)) & (lanes < static_cast<int>(keys.end - first));
}

inline constexpr float kLog2E = 1.4426950408889634f;

// exp2(x) * 2^-offset for `magic` = kMagic - offset, where x - offset is at least -126: 2 parts in 10^7.
// Adding the magic number leaves round(x) - offset in the low bits; the polynomial is the minimax one for
// |fraction| <= 1/2.
inline constexpr float kMagic = 12582912.0f;
template <int W>
FCSA_CPU_INLINE typename VectorTypes<W>::Vector exp2_of(const typename VectorTypes<W>::Vector& x,
                                                        float magic) {
  using Vector = typename VectorTypes<W>::Vector;
  using Bits = typename VectorTypes<W>::Bits;
  const Vector shifted = x + magic;
  const Vector f = x - (shifted - magic);
  Vector p = f * 0x1.5c08e4p-10f + 0x1.3d0c52p-7f;
  p = p * f + 0x1.c6b6e4p-5f;
  p = p * f + 0x1.ebf918p-3f;
  p = p * f + 0x1.62e428p-1f;
  p = p * f + 1.0f;
  return bits_as<Vector>(bits_as<Bits>(p) + (bits_as<Bits>(shifted) << 23));
}

}  // namespace fcsa::kernels::cpu::FCSA_CPU_ISA

#pragma GCC diagnostic pop
