// Gradients of attention by the formula in double precision, of some rows, from o and lse as the forward pass
// wrote them:
//   P = exp(S - lse)   dS = P (dout v - dout . o)   dv = P^T dout   dq^ = scale dS k^   dk^ = scale dS^T q^
// where q^ and k^ are normalised, and then through the normalisation. Conventions as in check.h.
#pragma once

#include "attention_formula.h"

namespace check {

// A number, and the size of what it is a difference of.
struct Difference {
  double value, size;
};

// A sum of vectors, and what its norm would be were all of them at right angles to each other, and none of
// their factors a small difference: the scale of what roundoff does to it, however much cancels.
struct VectorSum {
  explicit VectorSum(std::size_t size) : sum(size) {}
  void add(const Difference& factor, double scale, const std::vector<double>& x) {
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += factor.value * scale * x[i];
    squares += factor.size * factor.size * scale * scale * dot(x, x);
  }
  std::vector<double> sum;
  double squares = 0;
};

// The gradient of a row of q or k from that of its normalised form.
template <typename Attention>
VectorSum through_normalisation(const Attention& a, const std::vector<double>& raw, VectorSum gradient) {
  if (!a.l2norm_qk) return gradient;
  const auto unit = normalised(a, raw);
  const std::size_t part = raw.size() / a.groups;
  double largest = 0;
  for (std::size_t first = 0; first < raw.size(); first += part) {
    double along = 0, squares = 0;
    for (std::size_t d = first; d < first + part; ++d)
      along += unit[d] * gradient.sum[d], squares += raw[d] * raw[d];
    const double inverse = squares > 0 ? 1 / std::sqrt(squares) : 0;
    largest = std::max(largest, inverse);
    for (std::size_t d = first; d < first + part; ++d)
      gradient.sum[d] = inverse * (gradient.sum[d] - unit[d] * along);
  }
  gradient.squares *= largest * largest;
  return gradient;
}

struct Pair {
  double p;
  Difference ds;
};

// A query row with what the gradients take from the forward pass.
template <typename Attention>
struct QueryRow {
  QueryRow(const Attention& attention, int in_batch, int of_head, int at)
      : a(attention), batch(in_batch), head(of_head), row(at) {
    kv_head = head / (a.heads / a.kv_heads);
    scale = a.head_scale ? a.head_scale[head] : a.scale;
    raw = row_of(a, a.q, a.heads, a.nq, batch, head, row);
    unit = normalised(a, raw);
    dout = row_of(a, a.dout, a.heads, a.nq, batch, head, row);
    delta = dot(dout, row_of(a, a.o, a.heads, a.nq, batch, head, row));
    lse = a.lse[(static_cast<long long>(batch) * a.heads + head) * a.nq + row];
  }
  Pair pair(int key, const std::vector<double>& k, const std::vector<double>& v) const {
    if (!visible(a, batch, row, key)) return {0, {0, 0}};
    const double p = std::exp(scale * dot(unit, k) + bias_of(a, batch, head, row, key) - lse);
    const double dp = dot(dout, v);
    return {p, {p * (dp - delta), p * (std::fabs(dp) + std::fabs(delta))}};
  }

  const Attention& a;
  int batch, head, row, kv_head;
  double scale, delta, lse;
  std::vector<double> raw, unit, dout;
};

template <typename Attention>
VectorSum query_gradient(const Attention& a, int batch, int head, int row) {
  const QueryRow<Attention> query(a, batch, head, row);
  VectorSum gradient(a.head_dim);
  for (int j = 0; j < a.nk; ++j) {
    const auto k = normalised(a, row_of(a, a.k, a.kv_heads, a.nk, batch, query.kv_head, j));
    const auto v = row_of(a, a.v, a.kv_heads, a.nk, batch, query.kv_head, j);
    gradient.add(query.pair(j, k, v).ds, query.scale, k);
  }
  return through_normalisation(a, query.raw, std::move(gradient));
}

struct KeyGradients {
  VectorSum dk, dv;
};

template <typename Attention>
KeyGradients key_gradients(const Attention& a, int batch, int kv_head, int key) {
  const auto raw = row_of(a, a.k, a.kv_heads, a.nk, batch, kv_head, key), k = normalised(a, raw);
  const auto v = row_of(a, a.v, a.kv_heads, a.nk, batch, kv_head, key);
  VectorSum dk(a.head_dim), dv(a.head_dim);
  const int group = a.heads / a.kv_heads;
  for (int head = kv_head * group; head < (kv_head + 1) * group; ++head)
    for (int i = 0; i < a.nq; ++i) {
      const QueryRow<Attention> query(a, batch, head, i);
      const auto [p, ds] = query.pair(key, k, v);
      dk.add(ds, query.scale, query.unit);
      dv.add({p, p}, 1, query.dout);
    }
  return {through_normalisation(a, raw, std::move(dk)), std::move(dv)};
}

inline double error_of(std::vector<double> difference, const VectorSum& expected) {
  for (std::size_t d = 0; d < difference.size(); ++d) difference[d] -= expected.sum[d];
  const double size = std::max(std::sqrt(dot(expected.sum, expected.sum)), std::sqrt(expected.squares));
  const double error = std::sqrt(dot(difference, difference)) / (size > 0 ? size : 1);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

// Largest error of at most `rows` rows of dq, and of dk and dv, the first and the last among them: relative
// to the row, or to its terms where they cancel.
template <typename Attention>
double worst_gradient_error(const Attention& a, int rows) {
  double worst = 0;
  for_some_rows(a.batch, a.heads, a.nq, rows, [&](int batch, int head, int row) {
    worst = std::max(worst, error_of(row_of(a, a.dq, a.heads, a.nq, batch, head, row),
                                     query_gradient(a, batch, head, row)));
  });
  for_some_rows(a.batch, a.kv_heads, a.nk, rows, [&](int batch, int head, int key) {
    const KeyGradients expected = key_gradients(a, batch, head, key);
    worst = std::max({worst, error_of(row_of(a, a.dk, a.kv_heads, a.nk, batch, head, key), expected.dk),
                      error_of(row_of(a, a.dv, a.kv_heads, a.nk, batch, head, key), expected.dv)});
  });
  return worst;
}

}  // namespace check
