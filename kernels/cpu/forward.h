// Forward pass on a CPU: f32 arithmetic on f32, bf16 and f16 storage, written with the vector extensions of
// GCC and clang. Self-contained (no standard headers) and pasted once per instruction set into emitted
// headers: everything lives in a namespace named after the instruction set, and the vector width is a
// parameter, not a guess.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/cpu/config.h"

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

template <int W>
FCSA_CPU_INLINE bool any(const typename VectorTypes<W>::Ints& lanes) {
  long long words[W / 2];
  store(words, lanes);
  for (int i = 1; i < W / 2; ++i) words[0] |= words[i];
  return words[0] != 0;
}

inline constexpr int kLanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

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

// 1 / max(|row|, eps), or 1. The squares of very large and very small rows leave the range of f32.
template <Traits T, int W>
FCSA_CPU_INLINE float inverse_norm(const float* row, float eps) {
  using Vector = typename VectorTypes<W>::Vector;
  if constexpr (!T.l2norm_qk) return 1.0f;
  Vector squares = {};
  for (int d = 0; d < T.head_dim; d += W) {
    const Vector x = load<Vector>(row + d);
    squares += x * x;
  }
  const float sum = sum_of<W>(squares);
  if (sum > 1e-20f && sum < 1e37f) [[likely]]
    return 1.0f / __builtin_sqrtf(sum);
  double exact = 0;
  for (int d = 0; d < T.head_dim; ++d) exact += static_cast<double>(row[d]) * static_cast<double>(row[d]);
  const double norm = __builtin_sqrt(exact);
  return static_cast<float>(1.0 / (norm > static_cast<double>(eps) ? norm : static_cast<double>(eps)));
}

template <Traits T>
FCSA_CPU_INLINE const char* row_of(const void* tensor, const Strides& strides, int batch, int head,
                                   long long row) {
  const long long element = batch * strides.batch + head * strides.head + row * strides.row;
  return static_cast<const char*>(tensor) + element * element_bytes(T.dtype);
}

// Packs pack_keys() keys of one key/value head: K / |K| transposed within each key_step, V as f32 rows. Keys
// past the end are zero.
template <Traits T, ForwardConfig C>
void prepare(const Args& args, long long task, void* scratch) {
  static_assert(C.is_valid(T), "the configuration doesn't fit the problem");
  constexpr int W = C.vector_floats;
  constexpr int D = T.head_dim;
  constexpr int kBytes = element_bytes(T.dtype);
  using Vector = typename VectorTypes<W>::Vector;
  const long long chunks = ceil_div(args.nk, C.pack_keys());
  const int kv = static_cast<int>(task / chunks);
  const int batch = kv / args.kv_heads;
  const int head = kv % args.kv_heads;
  const long long padded = C.padded_keys(args.nk);
  const long long first = task % chunks * C.pack_keys();
  const long long last = first + C.pack_keys() < padded ? first + C.pack_keys() : padded;
  float* const packed_k = static_cast<float*>(args.workspace) + kv * padded * D;
  float* const packed_v = packed_k + C.packed_floats(T, args);
  float* const rows = static_cast<float*>(scratch);

  for (long long key = first; key < last; key += W) {
    for (int i = 0; i < W; ++i) {
      float* const row = rows + i * D;
      const bool exists = key + i < args.nk;
      const char* const k = row_of<T>(args.k, args.k_strides, batch, head, exists ? key + i : 0);
      for (int d = 0; d < D; d += W) store(row + d, load_elements<T.dtype, W>(k + d * kBytes));
      const float factor = exists ? inverse_norm<T, W>(row, args.eps) : 0.0f;
      for (int d = 0; d < D; d += W) store(row + d, exists ? load<Vector>(row + d) * factor : Vector{});
      if constexpr (C.packs_v(T.dtype)) {
        const char* const v = row_of<T>(args.v, args.v_strides, batch, head, exists ? key + i : 0);
        float* const to = packed_v + (key + i) * D;
        for (int d = 0; d < D; d += W)
          store(to + d, exists ? load_elements<T.dtype, W>(v + d * kBytes) : Vector{});
      }
    }
    float* const to = packed_k + key / C.key_step() * C.key_step() * D + key % C.key_step();
    for (int d = 0; d < D; ++d)
      for (int i = 0; i < W; ++i) to[d * C.key_step() + i] = rows[i * D + d];
  }
}

// A block of query rows of one head: where it is, and its scratch.
struct Block {
  int batch, head, kv_head;
  long long first_row;
  int rows;         // that exist
  long long shift;  // row i of the tensor sees the keys up to i + shift
  int nk;
  const unsigned char* mask;  // of this batch; null: every key is visible
  float magic;                // of exp2_of
  float* q;                   // [block_rows][head_dim], times scale * log2(e) / |q|
  float* o;                   // [block_rows][head_dim]
  float* p;                   // [block_rows][p_pitch]
  float* sum;                 // [block_rows][vector_floats]
  float* maximum;             // [block_rows], base 2
  int* visible;               // [block_keys], all ones: the mask shows the key
  const float* k;             // packed
  const float* v;             // packed, or in place
  long long v_stride;

  // First key that this row of the block doesn't see, masks aside; can be negative.
  FCSA_CPU_INLINE long long key_end(int row) const {
    const long long end = first_row + row + shift + 1;
    return end < nk ? end : nk;
  }
};

template <Traits T, ForwardConfig C>
FCSA_CPU_INLINE Block locate(const Args& args, long long task, void* scratch) {
  Block b;
  const long long blocks = ceil_div(args.nq, C.block_rows());
  const int head = static_cast<int>(task / blocks);
  b.batch = head / args.heads;
  b.head = head % args.heads;
  b.kv_head = b.head / (args.heads / args.kv_heads);
  // The blocks with the most keys start first.
  b.first_row = (T.causal ? blocks - 1 - task % blocks : task % blocks) * C.block_rows();
  b.rows = args.nq - b.first_row < C.block_rows() ? static_cast<int>(args.nq - b.first_row) : C.block_rows();
  b.shift = T.causal ? static_cast<long long>(args.nk) - args.nq : args.nk;
  b.nk = args.nk;
  b.mask = T.key_mask && args.key_mask ? args.key_mask + b.batch * args.key_mask_stride : nullptr;
  b.q = static_cast<float*>(scratch);
  b.o = b.q + C.q_floats(T);
  b.p = b.o + C.q_floats(T);
  b.sum = b.p + C.p_floats();
  b.maximum = b.sum + C.sum_floats();
  b.visible = reinterpret_cast<int*>(b.maximum + C.maximum_floats());
  const long long packed_head = static_cast<long long>(b.batch) * args.kv_heads + b.kv_head;
  b.k = static_cast<const float*>(args.workspace) + packed_head * C.padded_keys(args.nk) * T.head_dim;
  if constexpr (C.packs_v(T.dtype)) {
    b.v = b.k + C.packed_floats(T, args);
    b.v_stride = T.head_dim;
  } else {
    b.v =
        static_cast<const float*>(args.v) + b.batch * args.v_strides.batch + b.kv_head * args.v_strides.head;
    b.v_stride = args.v_strides.row;
  }
  return b;
}

// Rounded to an integer, which scales P by a power of two: exact.
template <Traits T>
FCSA_CPU_INLINE float exponent_offset(const Args& args) {
  if constexpr (T.softmax == Softmax::running_maximum) return 0.0f;
  return static_cast<float>(static_cast<int>(bound_offset_log2(DType::f32, args.bound)));
}

template <Traits T, ForwardConfig C>
FCSA_CPU_INLINE void start(const Args& args, const Block& b, int rows) {
  constexpr int W = C.vector_floats;
  constexpr int D = T.head_dim;
  using Vector = typename VectorTypes<W>::Vector;
  const float scale_log2 = args.scale * 1.4426950408889634f;
  for (int i = 0; i < rows; ++i) {
    float* const row = b.q + i * D;
    const char* const q =
        row_of<T>(args.q, args.q_strides, b.batch, b.head, b.first_row + (i < b.rows ? i : b.rows - 1));
    for (int d = 0; d < D; d += W) store(row + d, load_elements<T.dtype, W>(q + d * element_bytes(T.dtype)));
    const float factor = scale_log2 * inverse_norm<T, W>(row, args.eps);
    for (int d = 0; d < D; d += W) {
      store(row + d, load<Vector>(row + d) * factor);
      store(b.o + i * D + d, Vector{});
    }
    store(b.sum + i * W, Vector{});
    b.maximum[i] = -__builtin_inff();
  }
}

enum class Shown { none, some, all };

// Which keys of a block the mask shows, written out as integers for the register tiles.
template <ForwardConfig C>
FCSA_CPU_INLINE Shown show_keys(const Block& b, long long first_key, int keys) {
  int count = 0;
  for (int j = 0; j < C.block_keys(); ++j) {
    const bool shown = j < keys && (!b.mask || b.mask[first_key + j] != 0);
    b.visible[j] = shown ? -1 : 0;
    count += shown;
  }
  return count == 0 ? Shown::none : count == keys ? Shown::all : Shown::some;
}

// Largest P under the running maximum, base 2: the maximum is raised only when a logit is further above it
// than this, so that O is almost never rescaled.
inline constexpr float kHeadroom = 10.0f;

// Raises the maxima of the rows of a register tile to what its scores (in b.p) need, and brings what has been
// summed up so far down to it.
template <Traits T, ForwardConfig C>
__attribute__((noinline, cold)) void raise_maxima(const Block& b, int row, int column) {
  for (int i = row; i < row + C.qk_rows; ++i) {
    float* const p = b.p + i * C.p_pitch();
    float highest = b.maximum[i];
    for (int j = column; j < column + C.key_step(); ++j) highest = p[j] > highest ? p[j] : highest;
    if (!(highest > b.maximum[i] + kHeadroom)) continue;
    const float factor = __builtin_exp2f(b.maximum[i] - highest);
    b.maximum[i] = highest;
    for (int j = 0; j < column; ++j) p[j] *= factor;
    for (int d = 0; d < T.head_dim; ++d) b.o[i * T.head_dim + d] *= factor;
    for (int lane = 0; lane < C.vector_floats; ++lane) b.sum[i * C.vector_floats + lane] *= factor;
  }
}

// P of one register tile: qk_rows from `row`, key_step keys from `column` of the block. Edge: some of its
// keys are not visible to some of its rows.
template <Traits T, ForwardConfig C, bool Edge>
FCSA_CPU_INLINE void score_tile(const Block& b, int row, int column, long long first_key) {
  constexpr int W = C.vector_floats;
  constexpr int R = C.qk_rows;
  constexpr int N = C.qk_vectors;
  constexpr int D = T.head_dim;
  using Vector = typename VectorTypes<W>::Vector;
  using Ints = typename VectorTypes<W>::Ints;
  const float* const q = b.q + row * D;
  const float* const k = b.k + (first_key + column) * D;
  float* const p = b.p + row * C.p_pitch() + column;

  Vector s[R][N] = {};
  for (int d = 0; d < D; d += C.unroll) {
    FCSA_CPU_UNROLL
    for (int u = 0; u < C.unroll; ++u) {
      Vector keys[N];
      FCSA_CPU_UNROLL
      for (int j = 0; j < N; ++j) keys[j] = load<Vector>(k + (d + u) * C.key_step() + j * W);
      FCSA_CPU_UNROLL
      for (int i = 0; i < R; ++i) {
        const float x = q[i * D + d + u];
        FCSA_CPU_UNROLL
        for (int j = 0; j < N; ++j) s[i][j] += x * keys[j];
      }
    }
  }

  Ints seen[R][N];
  if constexpr (Edge) {
    FCSA_CPU_UNROLL
    for (int i = 0; i < R; ++i) {
      const int end = static_cast<int>(b.key_end(row + i) - first_key - column);
      FCSA_CPU_UNROLL
      for (int j = 0; j < N; ++j) {
        seen[i][j] = load<Ints>(kLanes) < end - j * W;
        if constexpr (T.key_mask) seen[i][j] &= load<Ints>(b.visible + column + j * W);
      }
    }
  }
  if constexpr (T.softmax == Softmax::running_maximum) {
    if constexpr (Edge) {
      FCSA_CPU_UNROLL
      for (int i = 0; i < R; ++i) {
        FCSA_CPU_UNROLL
        for (int j = 0; j < N; ++j) s[i][j] = seen[i][j] ? s[i][j] : Vector{} - __builtin_inff();
      }
    }
    Ints above = {};
    FCSA_CPU_UNROLL
    for (int i = 0; i < R; ++i) {
      Vector highest = s[i][0];
      FCSA_CPU_UNROLL
      for (int j = 1; j < N; ++j) highest = larger(highest, s[i][j]);
      above |= highest > b.maximum[row + i] + kHeadroom;
    }
    if (any<W>(above)) [[unlikely]] {
      // Through memory, so that the call has no registers to save.
      FCSA_CPU_UNROLL
      for (int i = 0; i < R; ++i) {
        FCSA_CPU_UNROLL
        for (int j = 0; j < N; ++j) store(p + i * C.p_pitch() + j * W, s[i][j]);
      }
      raise_maxima<T, C>(b, row, column);
      FCSA_CPU_UNROLL
      for (int i = 0; i < R; ++i) {
        FCSA_CPU_UNROLL
        for (int j = 0; j < N; ++j) s[i][j] = load<Vector>(p + i * C.p_pitch() + j * W);
      }
    }
  }
  FCSA_CPU_UNROLL
  for (int i = 0; i < R; ++i) {
    float* const sum = b.sum + (row + i) * W;
    Vector total = load<Vector>(sum);
    FCSA_CPU_UNROLL
    for (int j = 0; j < N; ++j) {
      Vector x = s[i][j];
      if constexpr (T.softmax == Softmax::running_maximum)
        x = larger(x - b.maximum[row + i], Vector{} - 126.0f);
      Vector e = exp2_of<W>(x, b.magic);
      if constexpr (Edge) e = bits_as<Vector>(bits_as<Ints>(e) & seen[i][j]);
      total += e;
      store(p + i * C.p_pitch() + j * W, e);
    }
    store(sum, total);
  }
}

// P of the rows of a register tile and a whole block of keys; zeros where none of the rows sees any key.
// `all_shown`: the mask hides nothing here.
template <Traits T, ForwardConfig C>
FCSA_CPU_INLINE void score_rows(const Block& b, int row, long long first_key, int keys, bool all_shown) {
  constexpr int W = C.vector_floats;
  const long long all_see = all_shown ? b.key_end(row) : 0;
  const long long any_sees = b.key_end(row + C.qk_rows - 1);
  for (int column = 0; column < keys; column += C.key_step()) {
    if (first_key + column + C.key_step() <= all_see) {
      score_tile<T, C, false>(b, row, column, first_key);
    } else if (first_key + column < any_sees) {
      score_tile<T, C, true>(b, row, column, first_key);
    } else {
      for (int i = row; i < row + C.qk_rows; ++i)
        for (int j = 0; j < C.key_step(); j += W)
          store(b.p + i * C.p_pitch() + column + j, typename VectorTypes<W>::Vector{});
    }
  }
}

// O += P V for one register tile: pv_rows from `row`, pv_vectors of channels from `channel`, `keys` keys.
template <Traits T, ForwardConfig C>
FCSA_CPU_INLINE void weigh_tile(const Block& b, int row, int channel, long long first_key, int keys) {
  constexpr int W = C.vector_floats;
  constexpr int R = C.pv_rows;
  constexpr int N = C.pv_vectors;
  constexpr int D = T.head_dim;
  using Vector = typename VectorTypes<W>::Vector;
  const long long stride = C.packs_v(T.dtype) ? D : b.v_stride;
  const float* v = b.v + first_key * stride + channel;
  const float* p = b.p + row * C.p_pitch();
  float* const to = b.o + row * D + channel;

  Vector o[R][N];
  FCSA_CPU_UNROLL
  for (int i = 0; i < R; ++i) {
    FCSA_CPU_UNROLL
    for (int j = 0; j < N; ++j) o[i][j] = load<Vector>(to + i * D + j * W);
  }
  const auto step = [&](const float* weights, const float* values) __attribute__((always_inline)) {
    Vector channels[N];
    FCSA_CPU_UNROLL
    for (int j = 0; j < N; ++j) channels[j] = load<Vector>(values + j * W);
    FCSA_CPU_UNROLL
    for (int i = 0; i < R; ++i) {
      const float x = weights[i * C.p_pitch()];
      FCSA_CPU_UNROLL
      for (int j = 0; j < N; ++j) o[i][j] += x * channels[j];
    }
  };
  int key = 0;
  for (; key + C.unroll <= keys; key += C.unroll, p += C.unroll, v += C.unroll * stride) {
    FCSA_CPU_UNROLL
    for (int u = 0; u < C.unroll; ++u) step(p + u, v + u * stride);
  }
  if constexpr (C.unroll > 1)
    for (; key < keys; ++key, ++p, v += stride) step(p, v);
  FCSA_CPU_UNROLL
  for (int i = 0; i < R; ++i) {
    FCSA_CPU_UNROLL
    for (int j = 0; j < N; ++j) store(to + i * D + j * W, o[i][j]);
  }
}

template <Traits T, ForwardConfig C>
FCSA_CPU_INLINE void finish(const Args& args, const Block& b, float offset) {
  constexpr int W = C.vector_floats;
  constexpr int D = T.head_dim;
  using Vector = typename VectorTypes<W>::Vector;
  const long long lse_row = (static_cast<long long>(b.batch) * args.heads + b.head) * args.nq + b.first_row;
  for (int i = 0; i < b.rows; ++i) {
    const float sum = sum_of<W>(load<Vector>(b.sum + i * W));
    const float inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
    char* const to = const_cast<char*>(row_of<T>(args.o, args.o_strides, b.batch, b.head, b.first_row + i));
    for (int d = 0; d < D; d += W)
      store_elements<T.dtype, W>(to + d * element_bytes(T.dtype), load<Vector>(b.o + i * D + d) * inverse);
    const float exponent = T.softmax == Softmax::running_maximum ? b.maximum[i] : offset;
    args.lse[lse_row + i] = sum > 0.0f
                                ? static_cast<float>(__builtin_log(static_cast<double>(sum)) +
                                                     static_cast<double>(exponent) * 0.6931471805599453)
                                : -__builtin_inff();
  }
}

// What the main loop depends on: not on the storage type, so that kernels of several types can share it.
template <ForwardConfig C>
constexpr Traits loop_traits(const Traits& traits) {
  return {.dtype = C.packs_v(traits.dtype) ? DType::bf16 : DType::f32,
          .head_dim = traits.head_dim,
          .key_mask = traits.key_mask,
          .softmax = traits.softmax};
}

// Sums up P V and P of a block over the first key_end keys, for `rows` rows (a multiple of pv_rows).
template <Traits T, ForwardConfig C>
void walk_keys(const Block& b, long long key_end, int rows) {
  for (long long first_key = 0; first_key < key_end; first_key += C.block_keys()) {
    const int keys =
        key_end - first_key < C.block_keys() ? static_cast<int>(key_end - first_key) : C.block_keys();
    Shown shown = Shown::all;
    if constexpr (T.key_mask) shown = show_keys<C>(b, first_key, keys);
    if (shown == Shown::none) continue;
    for (int row = 0; row < rows; row += C.qk_rows)
      score_rows<T, C>(b, row, first_key, keys, shown == Shown::all);
    for (int row = 0; row < rows; row += C.pv_rows) {
      const long long seen = b.key_end(row + C.pv_rows - 1) - first_key;
      const int weighed = seen < keys ? static_cast<int>(seen) : keys;
      for (int channel = 0; channel < T.head_dim && weighed > 0; channel += C.pv_channels())
        weigh_tile<T, C>(b, row, channel, first_key, weighed);
    }
  }
}

// block_rows() query rows of one head.
template <Traits T, ForwardConfig C>
void forward(const Args& args, long long task, void* scratch) {
  static_assert(C.is_valid(T), "the configuration doesn't fit the problem");
  Block b = locate<T, C>(args, task, scratch);
  const float offset = exponent_offset<T>(args);
  b.magic = kMagic - offset;
  // Whole register tiles of P V, and the whole register tiles of Q K^T that cover them.
  const int weighed_rows = static_cast<int>(ceil_div(b.rows, C.pv_rows)) * C.pv_rows;
  start<T, C>(args, b, static_cast<int>(ceil_div(weighed_rows, C.qk_rows)) * C.qk_rows);
  walk_keys<loop_traits<C>(T), C>(b, b.key_end(b.rows - 1), weighed_rows);
  finish<T, C>(args, b, offset);
}

}  // namespace fcsa::kernels::cpu::FCSA_CPU_ISA

#pragma GCC diagnostic pop
