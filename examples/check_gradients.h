// A comparison of gradients with the formula in double precision. `Attention` is as in check.h, with host
// pointers to dense dout, dq, dk and dv besides; o and lse are those that the gradients were computed from.
// Without bias and groups.
#pragma once

#include "check.h"

namespace check {

struct QueryRow {
  std::vector<double> q, dout;  // q is normalised
  double norm, lse, delta;
};

struct KeyRow {
  std::vector<double> k, v;  // k is normalised
  double norm;
};

template <typename Attention>
double norm_of(const Attention& a, const std::vector<double>& row) {
  return a.l2norm_qk ? std::max(std::sqrt(dot(row, row)), static_cast<double>(a.eps)) : 1;
}

template <typename Attention>
QueryRow query_row(const Attention& a, int batch, int head, int row) {
  const auto of = [&](const void* tensor) { return row_of(a, tensor, a.heads, a.nq, batch, head, row); };
  const auto q = of(a.q), dout = of(a.dout);
  const double lse = a.lse[(static_cast<long long>(batch) * a.heads + head) * a.nq + row];
  return {normalised(a, q), dout, norm_of(a, q), lse, dot(dout, of(a.o))};
}

template <typename Attention>
KeyRow key_row(const Attention& a, int batch, int kv_head, int key) {
  const auto of = [&](const void* tensor) {
    return row_of(a, tensor, a.kv_heads, a.nk, batch, kv_head, key);
  };
  const auto k = of(a.k);
  return {normalised(a, k), of(a.v), norm_of(a, k)};
}

// Of a logit: its softmax and its gradient.
struct Pair {
  double p, ds;
};

inline Pair pair_of(double scale, const QueryRow& query, const KeyRow& key) {
  const double p = std::exp(scale * dot(query.q, key.k) - query.lse);
  return {p, p * (dot(query.dout, key.v) - query.delta)};
}

inline void add(std::vector<double>& sum, double factor, const std::vector<double>& row) {
  for (std::size_t d = 0; d < sum.size(); ++d) sum[d] += factor * row[d];
}

// The gradient of a row from that of what it is when it is normalised.
template <typename Attention>
std::vector<double> through_norm(const Attention& a, std::vector<double> gradient,
                                 const std::vector<double>& unit, double norm) {
  if (!a.l2norm_qk) return gradient;
  add(gradient, -dot(gradient, unit), unit);
  for (double& x : gradient) x /= norm;
  return gradient;
}

template <typename Attention>
bool is_visible(const Attention& a, int batch, int row, int key) {
  return (!a.causal || key <= row + a.nk - a.nq) && (!a.key_mask || a.key_mask[batch * a.nk + key]);
}

template <typename Attention>
double scale_of(const Attention& a, int head) {
  return a.head_scale ? a.head_scale[head] : a.scale;
}

template <typename Attention>
std::vector<double> expected_dq(const Attention& a, int batch, int head, int row) {
  const QueryRow query = query_row(a, batch, head, row);
  std::vector<double> sum(a.head_dim);
  for (int j = 0; j < a.nk; ++j) {
    if (!is_visible(a, batch, row, j)) continue;
    const KeyRow key = key_row(a, batch, head / (a.heads / a.kv_heads), j);
    add(sum, scale_of(a, head) * pair_of(scale_of(a, head), query, key).ds, key.k);
  }
  return through_norm(a, sum, query.q, query.norm);
}

struct KeyGradients {
  std::vector<double> dk, dv;
};

// Summed over the query heads that share the key.
template <typename Attention>
KeyGradients expected_dk_dv(const Attention& a, int batch, int kv_head, int j) {
  const KeyRow key = key_row(a, batch, kv_head, j);
  KeyGradients sums{std::vector<double>(a.head_dim), std::vector<double>(a.head_dim)};
  const int shared = a.heads / a.kv_heads;
  for (int head = kv_head * shared; head < (kv_head + 1) * shared; ++head)
    for (int i = 0; i < a.nq; ++i) {
      if (!is_visible(a, batch, i, j)) continue;
      const QueryRow query = query_row(a, batch, head, i);
      const Pair pair = pair_of(scale_of(a, head), query, key);
      add(sums.dk, scale_of(a, head) * pair.ds, query.q);
      add(sums.dv, pair.p, query.dout);
    }
  return {through_norm(a, sums.dk, key.k, key.norm), sums.dv};
}

// Errors of rows, relative to the norm of the row, or to that of all rows where it is smaller.
class RowErrors {
 public:
  void add(const std::vector<double>& expected, std::vector<double> actual) {
    for (std::size_t d = 0; d < actual.size(); ++d) actual[d] -= expected[d];
    squares_.push_back(dot(expected, expected));
    off_.push_back(std::sqrt(dot(actual, actual)));
    sum_ += squares_.back();
  }
  // Infinite where a number is missing or NaN.
  double worst() const {
    double worst = 0;
    for (std::size_t i = 0; i < off_.size(); ++i) {
      const double size = std::sqrt(std::max(squares_[i], sum_ / static_cast<double>(off_.size())));
      const double error = off_[i] / (size > 0 ? size : 1);
      if (!(error <= worst)) worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
    }
    return worst;
  }

 private:
  std::vector<double> squares_, off_;
  double sum_ = 0;
};

// Calls visit(batch, head, row) for at most `rows` rows of a tensor, the first and the last among them.
template <typename Visit>
void for_some_rows(int batch, int heads, int n, int rows, const Visit& visit) {
  const long long total = static_cast<long long>(batch) * heads * n;
  const long long visited = std::min<long long>(rows, total);
  for (long long i = 0; i < visited; ++i) {
    const long long flat = visited == 1 ? 0 : i * (total - 1) / (visited - 1);
    visit(static_cast<int>(flat / n / heads), static_cast<int>(flat / n % heads), static_cast<int>(flat % n));
  }
}

// The worst of dq, dk and dv.
template <typename Attention>
double worst_gradient_error(const Attention& a, int rows) {
  RowErrors dq, dk, dv;
  for_some_rows(a.batch, a.heads, a.nq, rows, [&](int batch, int head, int row) {
    dq.add(expected_dq(a, batch, head, row), row_of(a, a.dq, a.heads, a.nq, batch, head, row));
  });
  for_some_rows(a.batch, a.kv_heads, a.nk, rows, [&](int batch, int head, int row) {
    const KeyGradients expected = expected_dk_dv(a, batch, head, row);
    dk.add(expected.dk, row_of(a, a.dk, a.kv_heads, a.nk, batch, head, row));
    dv.add(expected.dv, row_of(a, a.dv, a.kv_heads, a.nk, batch, head, row));
  });
  return std::max({dq.worst(), dk.worst(), dv.worst()});
}

// What rounding P and dS to the type, besides inputs and outputs, may cost.
inline double gradient_tolerance(int dtype) {
  return 2 * tolerance(dtype);
}

}  // namespace check
