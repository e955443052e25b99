// Random tensors, and a comparison of attention with the formula in double precision. `Attention` is the
// struct of a tuned header, with pointers to host memory and dense tensors. Elements: f32, bf16 or f16.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace check {

inline bool is_f32(int dtype) {
  return dtype == 0;
}
inline bool is_bf16(int dtype) {
  return dtype == 1;
}
inline std::size_t element_bytes(int dtype) {
  return is_f32(dtype) ? 4 : 2;
}

inline float f16_to_float(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const float magnitude = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                          : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                           : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return bits >> 15 ? -magnitude : magnitude;
}

inline float load(int dtype, const void* data, long long index) {
  if (is_f32(dtype)) return static_cast<const float*>(data)[index];
  const std::uint16_t bits = static_cast<const std::uint16_t*>(data)[index];
  if (!is_bf16(dtype)) return f16_to_float(bits);
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

// Normally distributed, in steps that every type holds exactly: 16-bit types get the same numbers as f32.
inline std::vector<unsigned char> random_tensor(int dtype, std::size_t count, unsigned seed) {
  std::vector<unsigned char> data(count * element_bytes(dtype));
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (std::size_t i = 0; i < count; ++i) {
    // Between -4 and 4 in sixteenths: at most 7 significant bits.
    const int sixteenths = static_cast<int>(std::lround(std::clamp(normal(random), -4.0f, 4.0f) * 16));
    const float value = static_cast<float>(sixteenths) / 16;
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    std::uint16_t half = static_cast<std::uint16_t>(bits >> 16);
    if (!is_bf16(dtype) && value != 0)
      half = static_cast<std::uint16_t>((bits >> 16 & 0x8000) | ((bits >> 23 & 255) - 112) << 10 |
                                        (bits >> 13 & 1023));
    if (is_f32(dtype))
      std::memcpy(&data[4 * i], &value, 4);
    else
      std::memcpy(&data[2 * i], &half, 2);
  }
  return data;
}

// Three quarters of the keys visible.
inline std::vector<unsigned char> random_mask(std::size_t count, unsigned seed) {
  std::vector<unsigned char> mask(count);
  std::mt19937 random(seed);
  for (auto& visible : mask) visible = random() % 4 != 0;
  return mask;
}

// One row of a dense tensor of n rows, in double precision.
template <typename Attention>
std::vector<double> row_of(const Attention& a, const void* tensor, int heads, int n, int batch, int head,
                           int row) {
  const long long first = a.layout == decltype(a.layout){}
                              ? ((static_cast<long long>(batch) * heads + head) * n + row)
                              : ((static_cast<long long>(batch) * n + row) * heads + head);
  std::vector<double> values(a.head_dim);
  for (int d = 0; d < a.head_dim; ++d)
    values[d] = load(static_cast<int>(a.dtype), tensor, first * a.head_dim + d);
  return values;
}

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

struct Row {
  std::vector<double> o;
  double lse;
};

template <typename Attention>
Row reference(const Attention& a, int batch, int head, int row) {
  const int kv_head = head / (a.heads / a.kv_heads);
  const auto inverse_norm = [&](const std::vector<double>& x) {
    return a.l2norm_qk ? 1 / std::max(std::sqrt(dot(x, x)), static_cast<double>(a.eps)) : 1.0;
  };
  const auto q = row_of(a, a.q, a.heads, a.nq, batch, head, row);
  const double factor = a.scale * inverse_norm(q);
  std::vector<double> logits(a.nk, -std::numeric_limits<double>::infinity());
  double highest = logits[0];
  for (int j = 0; j < a.nk; ++j) {
    const bool visible =
        (!a.causal || j <= row + a.nk - a.nq) && (!a.key_mask || a.key_mask[batch * a.nk + j]);
    if (!visible) continue;
    const auto k = row_of(a, a.k, a.kv_heads, a.nk, batch, kv_head, j);
    logits[j] = factor * inverse_norm(k) * dot(q, k);
    highest = std::max(highest, logits[j]);
  }
  Row result{std::vector<double>(a.head_dim), highest};
  if (std::isinf(highest)) return result;
  double sum = 0;
  for (int j = 0; j < a.nk; ++j) {
    if (std::isinf(logits[j])) continue;
    const double p = std::exp(logits[j] - highest);
    const auto v = row_of(a, a.v, a.kv_heads, a.nk, batch, kv_head, j);
    for (int d = 0; d < a.head_dim; ++d) result.o[d] += p * v[d];
    sum += p;
  }
  for (auto& x : result.o) x /= sum;
  result.lse = highest + std::log(sum);
  return result;
}

// Largest error of the rows: |o - reference| / |reference|, and of lse when there is one. Infinite when a
// number is missing or NaN. At most `rows` rows, the first and the last among them.
template <typename Attention>
double worst_error(const Attention& a, int rows) {
  const double failed = std::numeric_limits<double>::infinity();
  const long long total = static_cast<long long>(a.batch) * a.heads * a.nq;
  const long long checked = std::min<long long>(rows, total);
  double worst = 0;
  for (long long i = 0; i < checked; ++i) {
    const long long flat = checked == 1 ? 0 : i * (total - 1) / (checked - 1);
    const int row = static_cast<int>(flat % a.nq), head = static_cast<int>(flat / a.nq % a.heads),
              batch = static_cast<int>(flat / a.nq / a.heads);
    const Row expected = reference(a, batch, head, row);
    auto difference = row_of(a, a.o, a.heads, a.nq, batch, head, row);
    for (int d = 0; d < a.head_dim; ++d) difference[d] -= expected.o[d];
    const double norm = std::sqrt(dot(expected.o, expected.o));
    double error = std::sqrt(dot(difference, difference)) / (norm > 0 ? norm : 1);
    if (a.lse && a.lse[flat] != expected.lse)
      error = std::max(error, std::fabs(a.lse[flat] - expected.lse) / std::max(1.0, std::fabs(expected.lse)));
    if (!(error <= worst)) worst = std::isnan(error) ? failed : error;
  }
  return worst;
}

// What rounding inputs and outputs to the type may cost.
inline double tolerance(int dtype) {
  return is_f32(dtype) ? 5e-5 : is_bf16(dtype) ? 8e-3 : 1.5e-3;
}

// 4 * batch * heads * nq * nk * head_dim, half of it when causal.
template <typename Attention>
double flops(const Attention& a) {
  return (a.causal ? 2.0 : 4.0) * a.batch * a.heads * a.nq * a.nk * a.head_dim;
}

inline std::vector<int> lengths_from(int argc, char** argv) {
  std::vector<int> lengths;
  for (int i = 1; i < argc; ++i) lengths.push_back(std::atoi(argv[i]));
  return lengths.empty() ? std::vector<int>{333, 1000, 4097} : lengths;
}

}  // namespace check
