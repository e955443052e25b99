// Plain attention on a CPU: normalise q and k, S = scale q k^T to memory, softmax over its rows, O = P v. f32
// arithmetic. Simple loops that a compiler vectorises; one task per block of rows.
#pragma once

#include "kernels/common/interface.h"
#include "kernels/common/logits.h"
#include "kernels/common/visibility.h"
#include "kernels/reference/unfused_config.h"

namespace fcsa::kernels::unfused {

template <DType kType>
inline float load(const void* data, long long index) {
  if constexpr (kType == DType::f32) {
    return static_cast<const float*>(data)[index];
  } else {
    const unsigned bits = static_cast<const unsigned short*>(data)[index];
    if constexpr (kType == DType::bf16) return __builtin_bit_cast(float, bits << 16);
    const unsigned magnitude = (bits & 0x7fffu) << 13, sign = (bits & 0x8000u) << 16;
    const unsigned normal = magnitude + (112u << 23);
    // A subnormal is its bits in units of 2^-24: put them behind 2^-14 and take 2^-14 away.
    const float subnormal = __builtin_bit_cast(float, normal + (1u << 23)) - 0x1p-14f;
    const unsigned finite = magnitude < (1u << 23) ? __builtin_bit_cast(unsigned, subnormal) : normal;
    return __builtin_bit_cast(float, (magnitude >= (31u << 23) ? magnitude + (224u << 23) : finite) | sign);
  }
}

template <DType kType>
inline void store(void* data, long long index, float value) {
  const unsigned bits = __builtin_bit_cast(unsigned, value);
  if constexpr (kType == DType::f32) {
    static_cast<float*>(data)[index] = value;
  } else if constexpr (kType == DType::bf16) {
    const unsigned rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    static_cast<unsigned short*>(data)[index] =
        static_cast<unsigned short>(value == value ? rounded : 0x7fc0u);
  } else {
    const unsigned sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    // The spacing of f32 at 0.5 is 2^-24, that of f16 subnormals: the addition rounds.
    const float shifted = __builtin_bit_cast(float, magnitude) + 0.5f;
    const unsigned subnormal = __builtin_bit_cast(unsigned, shifted) - 0x3f000000u;
    const unsigned normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
    const unsigned finite = magnitude < 0x38800000u ? subnormal : normal;
    const unsigned special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    static_cast<unsigned short*>(data)[index] =
        static_cast<unsigned short>(sign | (magnitude >= 0x47800000u ? special : finite));
  }
}

// e^x for x <= 0, within 2 ulp (Cephes expf: x = n ln 2 + r, a polynomial in r); 0 where that underflows.
inline float exp_nonpositive(float x) {
  const float clamped = x < -87.0f ? -87.0f : x;
  const float biased = clamped * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the sum rounds to an integer
  const float n = biased - 12582912.0f;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const unsigned power = (__builtin_bit_cast(unsigned, biased) - 0x4b400000u + 127u) << 23;
  return x < -87.0f ? 0.0f : p * __builtin_bit_cast(float, power);
}

inline constexpr float kMinusInfinity = -__builtin_inff();

// One of kTaskRows-row blocks of the query rows of a head.
struct RowBlock {
  int batch, head, first, count;
};

inline RowBlock row_block(const Args& args, long long task) {
  const int blocks = static_cast<int>(ceil_div(args.nq, kTaskRows));
  const int first = static_cast<int>(task % blocks) * kTaskRows;
  const int left = args.nq - first;
  const long long group = task / blocks;
  return {static_cast<int>(group / args.heads), static_cast<int>(group % args.heads), first,
          left < kTaskRows ? left : kTaskRows};
}

inline float* score_row(const Traits& traits, const Args& args, const RowBlock& block, int row) {
  const Workspace w = workspace(traits, args);
  const long long index = (1LL * block.batch * args.heads + block.head) * args.nq + block.first + row;
  return reinterpret_cast<float*>(static_cast<char*>(args.workspace) + w.scores) + index * w.pitch;
}

// Rows of one head of q or k: raw, or normalised in the workspace.
struct Rows {
  const void* data;
  long long first, stride;
};

template <Traits T>
inline Rows query_rows_of(const Args& args, const RowBlock& b) {
  const Strides& s = args.q_strides;
  if constexpr (!T.l2norm_qk) return {args.q, b.batch * s.batch + b.head * s.head, s.row};
  return {static_cast<char*>(args.workspace) + workspace(T, args).q,
          (1LL * b.batch * args.heads + b.head) * args.nq * T.head_dim, T.head_dim};
}

template <Traits T>
inline Rows key_rows_of(const Args& args, const RowBlock& b) {
  const int head = b.head / (args.heads / args.kv_heads);
  const Strides& s = args.k_strides;
  if constexpr (!T.l2norm_qk) return {args.k, b.batch * s.batch + head * s.head, s.row};
  return {static_cast<char*>(args.workspace) + workspace(T, args).k,
          (1LL * b.batch * args.kv_heads + head) * args.nk * T.head_dim, T.head_dim};
}

template <Traits T>
inline void normalise_row(const Args& args, const void* from, long long index, void* to, long long row) {
  constexpr int kWidth = T.head_dim / T.groups;
  for (int group = 0; group < T.groups; ++group) {
    float x[kWidth];
    double squares = 0;  // no f32 holds the squares of very large rows
    for (int d = 0; d < kWidth; ++d) x[d] = load<T.dtype>(from, index + group * kWidth + d);
    for (int d = 0; d < kWidth; ++d) squares += static_cast<double>(x[d]) * x[d];
    const auto norm = static_cast<float>(__builtin_sqrt(squares));
    const float eps = usable_eps(args.eps), r = 1.0f / (norm > eps ? norm : eps);
    for (int d = 0; d < kWidth; ++d) store<T.dtype>(to, row * T.head_dim + group * kWidth + d, x[d] * r);
  }
}

template <Traits T, Config C>
void normalise(const Args& args, long long task, void* /*scratch*/) {
  const Workspace w = workspace(T, args);
  char* to = static_cast<char*>(args.workspace);
  const long long queries = query_rows(args), all = queries + key_rows(args);
  const long long end = (task + 1) * kTaskRows < all ? (task + 1) * kTaskRows : all;
  for (long long row = task * kTaskRows; row < end; ++row) {
    const bool is_query = row < queries;
    const long long own = is_query ? row : row - queries;
    const int length = is_query ? args.nq : args.nk, heads = is_query ? args.heads : args.kv_heads;
    const Strides& s = is_query ? args.q_strides : args.k_strides;
    const long long index =
        own / length / heads * s.batch + own / length % heads * s.head + own % length * s.row;
    normalise_row<T>(args, is_query ? args.q : args.k, index, to + (is_query ? w.q : w.k), own);
  }
}

template <Traits T, Config C>
void scores(const Args& args, long long task, void* scratch) {
  constexpr int kDim = T.head_dim;
  const RowBlock block = row_block(args, task);
  const Rows q = query_rows_of<T>(args, block), k = key_rows_of<T>(args, block);
  float* queries = static_cast<float*>(scratch);  // [kTaskRows, kDim]
  float* keys = queries + kTaskRows * kDim;       // [kDim, kTaskKeys]
  for (int i = 0; i < block.count; ++i)
    for (int d = 0; d < kDim; ++d)
      queries[i * kDim + d] = load<T.dtype>(q.data, q.first + (block.first + i) * q.stride + d);
  for (int first = 0; first < args.nk; first += kTaskKeys) {
    const int count = args.nk - first < kTaskKeys ? args.nk - first : kTaskKeys;
    for (int j = 0; j < kTaskKeys; ++j)
      for (int d = 0; d < kDim; ++d)
        keys[d * kTaskKeys + j] =
            j < count ? load<T.dtype>(k.data, k.first + (first + j) * k.stride + d) : 0.0f;
    for (int i = 0; i < block.count; ++i) {
      float sums[kTaskKeys] = {};
      for (int d = 0; d < kDim; d += 4) {
        const float *a = queries + i * kDim + d, *b = keys + d * kTaskKeys;
        for (int j = 0; j < kTaskKeys; ++j)
          sums[j] += a[0] * b[j] + a[1] * b[j + kTaskKeys] + a[2] * b[j + 2 * kTaskKeys] +
                     a[3] * b[j + 3 * kTaskKeys];
      }
      float* row = score_row(T, args, block, i) + first;
      for (int j = 0; j < count; ++j) row[j] = sums[j];
    }
  }
}

// Logits are held over this: the sum of a scale and a bias of up to the largest float is a float.
inline constexpr float kUnit = 4.0f;

// Logits of a row in place, over kUnit, -inf where hidden. Returns the largest.
template <Traits T>
inline float mask_and_scale(const Args& args, const RowBlock& block, int i, float* row) {
  const int query = block.first + i;
  const Range visible = visibility_of(T, args).keys_of(query);
  const int begin = static_cast<int>(visible.first), end = static_cast<int>(visible.end);
  const float scale = T.head_scale ? args.head_scale[block.head] : args.scale;
  for (int j = 0; j < args.nk; ++j) row[j] *= scale / kUnit;
  if constexpr (T.bias != Bias::none) {
    constexpr DType kBiasType = T.bias == Bias::same ? T.dtype : DType::f32;
    const long long first = block.batch % args.bias_batch * args.bias_strides.batch +
                            (args.bias_heads == 1 ? 0 : block.head) * args.bias_strides.head +
                            query * args.bias_strides.row;
    for (int j = 0; j < args.nk; ++j) {
      const float bias = load<kBiasType>(args.bias, first + j);
      row[j] = bias == kMinusInfinity ? kMinusInfinity : row[j] + bias / kUnit;
    }
  }
  for (int j = 0; j < args.nk; ++j) row[j] = begin <= j && j < end ? row[j] : kMinusInfinity;
  if constexpr (T.key_mask) {
    const unsigned char* mask = args.key_mask + block.batch * args.key_mask_stride;
    for (int j = 0; j < args.nk; ++j) row[j] = mask[j] != 0 ? row[j] : kMinusInfinity;
  }
  float largest = kMinusInfinity;
  for (int j = 0; j < args.nk; ++j) largest = row[j] > largest ? row[j] : largest;
  return largest;
}

template <Traits T, Config C>
void softmax(const Args& args, long long task, void* /*scratch*/) {
  const RowBlock block = row_block(args, task);
  const long long pitch = workspace(T, args).pitch;
  for (int i = 0; i < block.count; ++i) {
    float* row = score_row(T, args, block, i);
    const float largest = mask_and_scale<T>(args, block, i, row);
    const bool visible = largest > kMinusInfinity;
    float sums[16] = {};
    for (int j = 0; j < args.nk; ++j) row[j] = visible ? exp_nonpositive((row[j] - largest) * kUnit) : 0.0f;
    for (long long j = args.nk; j < pitch; ++j) row[j] = 0.0f;
    const int whole = args.nk / 16 * 16;
    for (int j = 0; j < whole; j += 16)
      for (int lane = 0; lane < 16; ++lane) sums[lane] += row[j + lane];
    float sum = 0;
    for (int j = whole; j < args.nk; ++j) sum += row[j];
    for (const float partial : sums) sum += partial;
    const float r = visible ? 1.0f / sum : 0.0f;
    for (int j = 0; j < args.nk; ++j) row[j] *= r;
    const long long index = (1LL * block.batch * args.heads + block.head) * args.nq + block.first + i;
    args.lse[index] = visible ? largest * kUnit + __builtin_logf(sum) : kMinusInfinity;
  }
}

template <Traits T, Config C>
void output(const Args& args, long long task, void* scratch) {
  constexpr int kDim = T.head_dim;
  const RowBlock block = row_block(args, task);
  const Strides &v = args.v_strides, &o = args.o_strides;
  const long long v_first = block.batch * v.batch + block.head / (args.heads / args.kv_heads) * v.head;
  float* sums = static_cast<float*>(scratch);  // [kTaskRows, kDim]
  float* values = sums + kTaskRows * kDim;     // [kTaskKeys, kDim]
  for (int i = 0; i < kTaskRows * kDim; ++i) sums[i] = 0.0f;
  for (int first = 0; first < args.nk; first += kTaskKeys) {
    // Probabilities are zero up to the pitch, a multiple of 4.
    const int count = args.nk - first < kTaskKeys ? args.nk - first : kTaskKeys;
    const int padded = static_cast<int>(ceil_div(count, 4) * 4);
    unsigned largest = 0;  // exponent
    for (int j = 0; j < padded; ++j)
      for (int d = 0; d < kDim; ++d) {
        const float value = j < count ? load<T.dtype>(args.v, v_first + (first + j) * v.row + d) : 0.0f;
        const unsigned exponent = __builtin_bit_cast(unsigned, value) & 0x7f800000u;
        largest = exponent > largest ? exponent : largest;
        values[j * kDim + d] = value;
      }
    for (int i = 0; i < block.count; ++i) {
      const float* p = score_row(T, args, block, i) + first;
      float* sum = sums + i * kDim;
      if (largest == 0x7f800000u) {
        // What the row doesn't see has no influence, infinities and NaN included.
        for (int j = 0; j < count; ++j)
          for (int d = 0; p[j] != 0.0f && d < kDim; ++d) sum[d] += p[j] * values[j * kDim + d];
        continue;
      }
      for (int j = 0; j < padded; j += 4) {
        const float* b = values + j * kDim;
        for (int d = 0; d < kDim; ++d)
          sum[d] +=
              p[j] * b[d] + p[j + 1] * b[d + kDim] + p[j + 2] * b[d + 2 * kDim] + p[j + 3] * b[d + 3 * kDim];
      }
    }
  }
  for (int i = 0; i < block.count; ++i) {
    const long long first = block.batch * o.batch + block.head * o.head + (block.first + i) * o.row;
    for (int d = 0; d < kDim; ++d) store<T.dtype>(args.o, first + d, sums[i * kDim + d]);
  }
}

}  // namespace fcsa::kernels::unfused
