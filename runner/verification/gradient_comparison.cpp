#include "runner/verification/gradient_comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace fcsa::runner {
namespace {

using kernels::DType;
using kernels::Gradients;
using kernels::Problem;
using kernels::RowIndex;

// What the row of an element is multiplied with.
double norm_at(const ExpectedGradient& e, std::size_t element) {
  if (e.norms.empty()) return 1.0;
  const std::size_t width = e.width(), groups = e.norms.size() / e.rows.size();
  return e.norms[element / width * groups + element % width / (width / groups)];
}

std::vector<double> times_norms(std::span<const double> values, const ExpectedGradient& e) {
  std::vector<double> products(values.begin(), values.end());
  for (std::size_t i = 0; i < products.size(); ++i) products[i] *= norm_at(e, i);
  return products;
}

// Norms of a row of what is expected and of what it is off by.
struct RowNorms {
  double expected = 0, off = 0;
};

RowNorms norms_of_row(std::span<const double> actual, const ExpectedGradient& e, std::size_t row) {
  const std::size_t first = row * e.width();
  RowNorms squares;
  for (std::size_t i = first; i < first + e.width(); ++i) {
    const double expected = e.values[i], off = actual[i] - expected;
    const double norm = norm_at(e, i);
    if (norm == 0 && off != 0) return {0, std::numeric_limits<double>::infinity()};
    squares.expected += std::pow(norm * expected, 2);
    squares.off += std::pow(norm * off, 2);
  }
  return {std::sqrt(squares.expected), std::sqrt(squares.off)};
}

// What f32 makes of P for each unit of the arguments of exp2: floor_of() says why. The order of a product of
// D channels puts sqrt(D) times 2^-25 of its terms on it where they all have one sign (opposed values).
double exponent_error(const Problem& p) {
  return 0x1p-24 * (3 + std::max(1.0, std::sqrt(p.head_dim) / 8));
}

// Relative to a row's size, so to terms that add up at right angles; its exponents are sums of terms of this
// size.
// f32: S, S log2(e) and lse log2(e) are rounded before exp2 takes their difference, and S by the order of its
// product or an approximate reciprocal square root: four times 2^-24 of the terms is on P (up to 64
// channels), also where they cancel. ex2.approx adds 2^-22, and so do the orders of the products dP and delta
// and the square roots on dS. Sums over n terms that are added one after the other are off by about sqrt(n)
// times 2^-25. 16 bits: P and dS are rounded before their products, and then the gradient is: two units,
// where the plain implementation can be exact. Where q^ and k^ are rounded, that moves logits by u / sqrt(D)
// of their range, and P as much, and where few rows are compared the plain implementation may have been
// lucky. dscale is one number rather than the norm of a vector of them, so more often far from its typical
// error.
double floor_of(Output output, const Problem& p, double exponent) {
  const bool over_queries = output == Output::dk || output == Output::dv || output == Output::dscale;
  const double terms = output == Output::dbias ? p.batch : over_queries ? double(p.nq) * p.heads : p.nk;
  const double f32 = 3e-6 + exponent_error(p) * exponent + 0x1p-25 * std::sqrt(terms);
  const double statistic = output == Output::dscale ? 2 : 1;
  if (p.dtype == DType::f32 && !p.allow_tf32) return statistic * f32;
  const double range = p.l2norm_qk ? double{std::fabs(p.scale)} * p.groups : 0;
  return statistic * (unit_roundoff(p.dtype) * (2 + range / std::sqrt(p.head_dim)) + f32);
}

std::vector<RowIndex> heads_as_rows(const Problem& p) {
  std::vector<RowIndex> rows;
  for (int head = 0; head < p.heads; ++head) rows.push_back({0, head, 0});
  return rows;
}

std::vector<ExpectedGradient> expectations(kernels::GradientRows rows, Gradients g, const Problem& p) {
  std::vector<ExpectedGradient> list;
  list.push_back({Output::dk, rows.keys, std::move(g.dk), std::move(g.dk_size), std::move(g.key_norms),
                  std::move(g.dk_exponent)});
  list.push_back({Output::dv,
                  std::move(rows.keys),
                  std::move(g.dv),
                  std::move(g.dv_size),
                  {},
                  std::move(g.dv_exponent)});
  list.push_back({Output::dq, std::move(rows.queries), std::move(g.dq), std::move(g.dq_size),
                  std::move(g.query_norms), std::move(g.dq_exponent)});
  if (p.bias_gradient)
    list.push_back({Output::dbias,
                    std::move(rows.bias),
                    std::move(g.dbias),
                    std::move(g.dbias_size),
                    {},
                    std::move(g.dbias_exponent)});
  if (rows.scale)
    list.push_back({Output::dscale,
                    heads_as_rows(p),
                    std::move(g.dscale),
                    std::move(g.dscale_size),
                    {},
                    std::move(g.dscale_exponent)});
  return list;
}

const std::vector<double>& values_of(const Gradients& g, Output output) {
  switch (output) {
    case Output::dk:
      return g.dk;
    case Output::dv:
      return g.dv;
    case Output::dbias:
      return g.dbias;
    case Output::dscale:
      return g.dscale;
    default:
      return g.dq;
  }
}

}  // namespace

Worst worst_gradient(std::span<const double> actual, const ExpectedGradient& expected) {
  return worst_of(expected.rows.size(), expected.tolerance.rows, [&](std::size_t row) {
    const RowNorms norms = norms_of_row(actual, expected, row);
    const double size = std::max(norms.expected, expected.sizes[row]);
    return norms.off == 0 ? 0.0 : size == 0 ? std::numeric_limits<double>::infinity() : norms.off / size;
  });
}

double mean_gradient_error(std::span<const double> actual, const ExpectedGradient& expected) {
  return mean_error(times_norms(actual, expected), times_norms(expected.values, expected));
}

std::string describe(const OutputShape& shape, const ExpectedGradient& expected,
                     std::span<const double> actual, const Worst& off) {
  const auto off_by = [&](std::size_t i) {
    const double difference = std::fabs(actual[i] - expected.values[i]);
    return std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference;
  };
  const std::size_t width = expected.width();
  std::size_t worst = off.row * width;
  for (std::size_t i = off.row * width; i < (off.row + 1) * width; ++i)
    if (off_by(i) > off_by(worst)) worst = i;
  return fmt::format(
      "{} at {} is off by {:.3g} of the size of its terms, {:.3g} allowed: {}{:.6g} instead of {:.6g}",
      to_text(expected.output), shape.describe(expected.rows[off.row]), off.error, off.tolerance,
      width == 1 ? "" : fmt::format("{} is ", shape.column(worst - off.row * width)), actual[worst],
      expected.values[worst]);
}

kernels::GradientRows gradient_rows_to_check(const Problem& p, double flops, std::uint64_t seed) {
  const kernels::BackwardArgs shape = kernels::shape_args(p);
  const double group = p.heads / p.kv_heads,
               sharing = double(p.batch) * p.heads / shape.bias_batch / shape.bias_heads;
  // Products of one pair: S and dP, and what is added to dq; to dk and dv; to nothing.
  const RowSpace queries{p.batch, p.heads, p.nq, 6.0 * p.nk * p.head_dim};
  const RowSpace keys{p.batch, p.kv_heads, p.nk, 8.0 * group * p.nq * p.head_dim};
  const RowSpace bias{shape.bias_batch, shape.bias_heads, p.nq, 6.0 * sharing * p.nk * p.head_dim};
  const double all = queries.flops() + keys.flops() + (p.bias_gradient ? bias.flops() : 0);
  const auto share = [&](const RowSpace& space) {
    return all <= flops ? flops : flops * space.flops() / all;
  };
  kernels::GradientRows rows;
  rows.queries = rows_to_check(queries, share(queries), seed);
  rows.keys = rows_to_check(keys, share(keys), seed + 1);
  if (p.bias_gradient) rows.bias = rows_to_check(bias, share(bias), seed + 2);
  rows.scale = p.scale_gradient && all <= flops;
  return rows;
}

std::vector<ExpectedGradient> expect_gradients(const Problem& problem, const kernels::BackwardArgs& args,
                                               kernels::GradientRows rows) {
  const kernels::Traits traits = kernels::traits_of(problem);
  const Gradients plain = kernels::plain_gradients(traits, args, rows);
  Gradients reference = kernels::reference_gradients(traits, args, kernels::given_sums(traits, args), rows);
  std::vector<ExpectedGradient> list = expectations(std::move(rows), std::move(reference), problem);
  for (ExpectedGradient& expected : list) {
    Tolerance& tolerance = expected.tolerance;
    for (const double exponent : expected.exponents)
      tolerance.rows.push_back(floor_of(expected.output, problem, exponent));
    const std::vector<double>& values = values_of(plain, expected.output);
    tolerance.rows = raised(std::move(tolerance.rows), worst_gradient(values, expected));
    if (expected.output == Output::dscale) continue;
    tolerance.mean = mean_tolerance(problem, expected.rows.size(), times_norms(values, expected),
                                    times_norms(expected.values, expected));
    // P that should be near 1 errs to one side where kernels take no more than 1.
    const double exponents = std::accumulate(expected.exponents.begin(), expected.exponents.end(), 0.0);
    if (tolerance.mean > 0)
      tolerance.mean += exponent_error(problem) * exponents / static_cast<double>(expected.rows.size());
  }
  return list;
}

}  // namespace fcsa::runner
