// Attention by the formula in double precision, of some rows, and a comparison with it. `Attention` is the
// struct of a tuned header, with pointers to host memory and dense tensors. Elements: f32, bf16 or f16.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
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

// One row of a dense tensor of n rows, in double precision.
template <typename Attention>
std::vector<double> row_of(const Attention& a, const void* tensor, int heads, int n, int batch, int head,
                           int row) {
  const long long first = a.layout == decltype(a.layout)::bhnd
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

// Each of a.groups equal parts divided by its norm.
template <typename Attention>
std::vector<double> normalised(const Attention& a, std::vector<double> row) {
  if (!a.l2norm_qk) return row;
  const std::size_t part = row.size() / a.groups;
  for (std::size_t first = 0; first < row.size(); first += part) {
    double squares = 0;
    for (std::size_t d = first; d < first + part; ++d) squares += row[d] * row[d];
    for (std::size_t d = first; d < first + part; ++d)
      row[d] /= std::max(std::sqrt(squares), static_cast<double>(a.eps));
  }
  return row;
}

// What is added to the logit of a query and a key; the bias is dense.
template <typename Attention>
double bias_of(const Attention& a, int batch, int head, int row, int key) {
  if (!a.bias) return 0;
  const int batches = a.bias_batch ? a.bias_batch : a.batch, heads = a.bias_heads ? a.bias_heads : a.heads;
  const long long plane = static_cast<long long>(batch % batches) * heads + (heads == 1 ? 0 : head);
  return load(static_cast<int>(a.bias_dtype), a.bias, (plane * a.nq + row) * a.nk + key);
}

template <typename Attention>
bool visible(const Attention& a, int batch, int row, int key) {
  return (!a.causal || key <= row + a.nk - a.nq) && (!a.key_mask || a.key_mask[batch * a.nk + key]);
}

struct Row {
  std::vector<double> o;
  double lse;
};

template <typename Attention>
Row reference(const Attention& a, int batch, int head, int row) {
  const int kv_head = head / (a.heads / a.kv_heads);
  const auto q = normalised(a, row_of(a, a.q, a.heads, a.nq, batch, head, row));
  const double scale = a.head_scale ? a.head_scale[head] : a.scale;
  std::vector<double> logits(a.nk, -std::numeric_limits<double>::infinity());
  double highest = logits[0];
  for (int j = 0; j < a.nk; ++j) {
    if (!visible(a, batch, row, j)) continue;
    const auto k = normalised(a, row_of(a, a.k, a.kv_heads, a.nk, batch, kv_head, j));
    logits[j] = scale * dot(q, k) + bias_of(a, batch, head, row, j);
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

// Calls function(batch, head, row) for at most `rows` rows, the first and the last among them.
template <typename Function>
void for_some_rows(int batches, int heads, int n, int rows, const Function& function) {
  const long long total = static_cast<long long>(batches) * heads * n;
  const long long count = std::min<long long>(rows, total);
  for (long long i = 0; i < count; ++i) {
    const long long flat = count == 1 ? 0 : i * (total - 1) / (count - 1);
    function(static_cast<int>(flat / n / heads), static_cast<int>(flat / n % heads),
             static_cast<int>(flat % n));
  }
}

// Largest error of the rows: |o - reference| / |reference|, and of lse when there is one. Infinite when a
// number is missing or NaN. At most `rows` rows.
template <typename Attention>
double worst_error(const Attention& a, int rows) {
  double worst = 0;
  for_some_rows(a.batch, a.heads, a.nq, rows, [&](int batch, int head, int row) {
    const Row expected = reference(a, batch, head, row);
    auto difference = row_of(a, a.o, a.heads, a.nq, batch, head, row);
    for (int d = 0; d < a.head_dim; ++d) difference[d] -= expected.o[d];
    const double norm = std::sqrt(dot(expected.o, expected.o));
    double error = std::sqrt(dot(difference, difference)) / (norm > 0 ? norm : 1);
    const float lse = a.lse ? a.lse[(static_cast<long long>(batch) * a.heads + head) * a.nq + row] : 0;
    if (a.lse && lse != expected.lse)
      error = std::max(error, std::fabs(lse - expected.lse) / std::max(1.0, std::fabs(expected.lse)));
    if (!(error <= worst)) worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
  });
  return worst;
}

}  // namespace check
