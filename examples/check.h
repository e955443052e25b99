// Problems with random tensors, and a comparison of attention with the formula in double precision.
// `Attention` is the struct of a tuned header, with pointers to host memory and dense tensors. Elements: f32,
// bf16 or f16.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
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

// Between -3 and 3 in sixteenths, which every type holds exactly: 16-bit types get the same numbers as f32.
inline std::vector<unsigned char> random_tensor(int dtype, std::size_t count, unsigned seed) {
  std::vector<unsigned char> data(count * element_bytes(dtype));
  std::mt19937 random(seed);
  for (std::size_t i = 0; i < count; ++i) {
    const float value = (static_cast<float>(random() % 97) - 48) / 16;
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
    const bool visible =
        (!a.causal || j <= row + a.nk - a.nq) && (!a.key_mask || a.key_mask[batch * a.nk + j]);
    if (!visible) continue;
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

struct Features {
  bool masked = false, biased = false, head_scaled = false;
};

// A problem with random tensors in host memory.
template <typename Attention>
class HostProblem {
 public:
  HostProblem(const Attention& sizes, const Features& features) : attention_(sizes) {
    Attention& a = attention_;
    const int dtype = static_cast<int>(a.dtype);
    const std::size_t rows = static_cast<std::size_t>(a.batch) * a.heads * a.nq,
                      keys = static_cast<std::size_t>(a.batch) * a.kv_heads * a.nk;
    a.q = keep(random_tensor(dtype, rows * a.head_dim, 1));
    a.k = keep(random_tensor(dtype, keys * a.head_dim, 2));
    a.v = keep(random_tensor(dtype, keys * a.head_dim, 3));
    a.o = keep(std::vector<unsigned char>(rows * a.head_dim * element_bytes(dtype)));
    a.lse = reinterpret_cast<float*>(keep(std::vector<unsigned char>(rows * 4)));
    if (features.masked) a.key_mask = keep(random_mask(static_cast<std::size_t>(a.batch) * a.nk, 4));
    if (features.head_scaled) a.head_scale = reinterpret_cast<float*>(keep(random_tensor(0, a.heads, 5)));
    if (!features.biased) return;
    a.bias_batch = 1;
    a.bias = keep(
        random_tensor(static_cast<int>(a.bias_dtype), static_cast<std::size_t>(a.heads) * a.nq * a.nk, 6));
  }
  HostProblem(const HostProblem&) = delete;
  HostProblem& operator=(const HostProblem&) = delete;
  const Attention& attention() const { return attention_; }

 private:
  unsigned char* keep(std::vector<unsigned char> bytes) {
    tensors_.push_back(std::move(bytes));
    return tensors_.back().data();
  }

  std::vector<std::vector<unsigned char>> tensors_;
  Attention attention_;
};

// Runs problems one after the other, and counts.
template <typename Attention>
class Checker {
 public:
  // Computes a problem in host memory, and returns the time in ms, or a negative number when it failed.
  using Run = std::function<double(const Attention&)>;
  explicit Checker(Run run) : run_(std::move(run)) {}

  void check(const Attention& sizes, const Features& features = {}) {
    const HostProblem<Attention> problem(sizes, features);
    const Attention& a = problem.attention();
    const auto selection = describe(a);
    if (selection.status.code == decltype(selection.status.code)::unsupported) return;
    const double ms = run_(a);
    const double error = ms < 0 ? std::numeric_limits<double>::infinity() : worst_error(a, 32);
    const bool right = error <= tolerance(static_cast<int>(a.dtype));
    ++(right ? right_ : wrong_);
    const char* dtype = is_f32(static_cast<int>(a.dtype))    ? "f32"
                        : is_bf16(static_cast<int>(a.dtype)) ? "bf16"
                                                             : "f16";
    std::printf("%-4s d%-3d h%d/%d %5d x %-5d%s%s%s%s%s%s%s  %9.3f ms  %7.1f GFLOP/s  error %.1e  %s  %s\n",
                dtype, a.head_dim, a.heads, a.kv_heads, a.nq, a.nk, a.causal ? " causal" : "",
                a.key_mask ? " masked" : "", a.bias ? " bias" : "", a.head_scale ? " head_scale" : "",
                a.l2norm_qk ? "" : " raw", a.groups > 1 ? " groups" : "",
                a.layout == decltype(a.layout)::bhnd ? "" : " bnhd", ms, flops(a) / ms * 1e-6, error,
                right ? "ok" : "WRONG", selection.configuration);
  }

  // Every feature, alone or with others, at lengths that hardly anybody tunes.
  void check_length(Attention a, int length) {
    a.nq = a.nk = length;
    a.kv_heads = a.heads;
    check(a);
    Attention causal = a;
    causal.causal = true;
    check(causal);
    // Several query heads for each key/value head, more keys than queries, axes as most frameworks have them.
    Attention grouped = causal;
    grouped.batch = 2;
    grouped.kv_heads = a.heads / 2;
    grouped.nq = length / 2 + 1;
    grouped.layout = decltype(a.layout)::bnhd;
    check(grouped);
    grouped.causal = false;
    check(grouped, {.masked = true});
    grouped.heads = 3 * grouped.kv_heads;
    check(grouped, {.masked = true});
    check(a, {.biased = true});
    check(a, {.head_scaled = true});
    check(a, {.biased = true, .head_scaled = true});
    Attention special = a;
    special.groups = 2;
    check(special);
    special.groups = 1;
    special.l2norm_qk = false;
    special.scale = 0.125f;
    check(special);
  }

  int exit_status() const {
    std::printf("%d right, %d wrong\n", right_, wrong_);
    return right_ > 0 && wrong_ == 0 ? 0 : 1;
  }

 private:
  Run run_;
  int right_ = 0, wrong_ = 0;
};

// The lengths of the command line, for every dtype and common head dims. Returns the exit status.
template <typename Attention>
int check_all(int argc, char** argv, const typename Checker<Attention>::Run& run) {
  std::vector<int> lengths;
  for (int i = 1; i < argc; ++i) lengths.push_back(std::atoi(argv[i]));
  if (lengths.empty()) lengths = {333, 1000, 4097};
  Checker<Attention> checker(run);
  for (const int length : lengths)
    for (const int dtype : {0, 1, 2})
      for (const int head_dim : {16, 32, 64, 80, 96, 128}) {
        Attention a;
        a.dtype = static_cast<decltype(a.dtype)>(dtype);
        a.head_dim = head_dim;
        a.heads = 4;
        checker.check_length(a, length);
      }
  return checker.exit_status();
}

}  // namespace check
