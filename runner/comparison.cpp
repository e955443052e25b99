#include "runner/comparison.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <tuple>

namespace fcsa::runner {
namespace {

using kernels::DType;
using kernels::Problem;
using kernels::RowIndex;
using kernels::RowResults;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double norm(std::span<const double> row) {
  double squares = 0;
  for (const double x : row) squares += x * x;
  return std::sqrt(squares);
}

double distance(std::span<const double> a, std::span<const double> b) {
  double squares = 0;
  for (std::size_t i = 0; i < a.size(); ++i) squares += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(squares);
}

struct Floors {
  double o = 0, lse = 0;
};

// Of a row whose logits are sums of terms of this size, `products` of it scale * q^ k^. All other rows of the
// same problem may have smaller ones.
// f32: the argument of exp2 is up to 40 + log2(e) * bound in magnitude under a fixed bound, so it is rounded
// by up to 1.9e-6, which is 1.3e-6 of P; ex2.approx adds 2^-22. Approximate reciprocal square roots (2^-22
// each), the bias and the order of the dot product put 2e-7 of the terms' size on a logit, also where they
// cancel. 16 bits: P is rounded before its product with v though its sum need not be, and then o is: two
// units of roundoff, where the plain implementation can be exact (all weight on one key). Normalised rows are
// rounded before their product: with D channels that moves a logit by about u / sqrt(D) of its terms, and
// where few rows are compared the plain implementation may have been lucky; TF32 rounds raw rows as well. lse
// may be of the sum of the rounded P: one more unit.
Floors floors(const Problem& p, double logit_size, double products) {
  const Floors f32{2e-6 + 2e-7 * logit_size, 4e-6 + 4e-7 * logit_size};
  if (p.dtype == DType::f32 && !p.allow_tf32) return f32;
  const double u = unit_roundoff(p.dtype), moved = products / std::sqrt(p.head_dim);
  const bool rounded = p.l2norm_qk || p.allow_tf32;
  return {u * std::max(2.0, rounded ? 2 * moved : 0.0) + f32.o, u * (1 + std::max(1.0, moved)) + f32.lse};
}

bool has_16_bits(const Problem& p) {
  return p.dtype != DType::f32;
}

}  // namespace

Worst worst_o(const RowResults& actual, const RowResults& reference, std::span<const double> tolerances) {
  const std::size_t rows = reference.lse.size();
  if (rows == 0) return {};
  const std::size_t dim = reference.o.size() / rows;
  const auto row = [dim](const RowResults& r, std::size_t i) { return std::span(r.o).subspan(i * dim, dim); };
  double squares = 0;
  std::size_t seeing = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    if (std::isinf(reference.lse[i])) continue;
    squares += std::pow(norm(row(reference, i)), 2);
    ++seeing;
  }
  const double rms = seeing == 0 ? 0 : std::sqrt(squares / static_cast<double>(seeing));
  return worst_of(rows, tolerances, [&](std::size_t i) {
    const double off = distance(row(actual, i), row(reference, i));
    if (off == 0) return 0.0;
    if (std::isinf(reference.lse[i])) return kInfinity;
    return off / std::max(norm(row(reference, i)), rms);
  });
}

Worst worst_lse(const RowResults& actual, const RowResults& reference, std::span<const double> tolerances) {
  return worst_of(reference.lse.size(), tolerances, [&](std::size_t i) {
    const double expected = reference.lse[i];
    if (actual.lse[i] == expected) return 0.0;
    if (std::isinf(expected)) return kInfinity;
    return std::fabs(actual.lse[i] - expected) / std::max(1.0, std::fabs(expected));
  });
}

double mean_error(std::span<const double> actual, std::span<const double> expected) {
  double off = 0, squares = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    off += (actual[i] - expected[i]) * expected[i];
    squares += expected[i] * expected[i];
  }
  return squares == 0 ? 0 : off / squares;
}

double mean_tolerance(const Problem& p, std::size_t rows, std::span<const double> plain,
                      std::span<const double> expected) {
  constexpr std::size_t kFewRows = 64;
  if (!has_16_bits(p) || rows < kFewRows) return 0;
  const double spread = distance(plain, expected) / norm(expected);
  return unit_roundoff(p.dtype) / 4 + 3 * spread / std::sqrt(static_cast<double>(rows));
}

std::vector<double> raised(std::vector<double> floors, const Worst& plain) {
  const double times = 2 * plain.share();
  if (times > 1)
    for (double& floor : floors) floor *= times;
  return floors;
}

std::vector<RowIndex> rows_to_check(const RowSpace& space, double flops, std::uint64_t seed) {
  std::vector<RowIndex> rows;
  const bool all = space.flops() <= flops;
  for (int batch = 0; batch < space.batch; ++batch)
    for (int head = 0; head < space.heads; ++head)
      for (int row = 0; row < space.rows; row += all ? 1 : std::max(1, space.rows - 1))
        rows.push_back({batch, head, row});
  if (all) return rows;

  std::mt19937_64 random(seed);
  const auto below = [&random](int n) { return static_cast<int>(random() % static_cast<std::uint64_t>(n)); };
  constexpr auto kTiles = std::to_array({16, 32, 48, 64, 80, 96, 128, 160, 192, 256});
  for (const int tile : kTiles) {
    const int tiles = space.rows / tile;
    if (tiles == 0) continue;
    for (const int edge : {(1 + below(tiles)) * tile, tiles * tile})
      for (const int row : {edge - 1, edge})
        if (row < space.rows) rows.push_back({below(space.batch), below(space.heads), row});
  }
  const auto affordable = static_cast<std::size_t>(flops / space.flops_per_row);
  while (rows.size() < affordable)
    rows.push_back({below(space.batch), below(space.heads), below(space.rows)});

  const auto key = [](const RowIndex& r) { return std::tie(r.batch, r.head, r.row); };
  std::sort(rows.begin(), rows.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  rows.erase(
      std::unique(rows.begin(), rows.end(), [&](const auto& a, const auto& b) { return key(a) == key(b); }),
      rows.end());
  return rows;
}

std::vector<RowIndex> rows_to_check(const Problem& p, double flops, std::uint64_t seed) {
  return rows_to_check(RowSpace{p.batch, p.heads, p.nq, 4.0 * p.nk * p.head_dim}, flops, seed);
}

double unit_roundoff(DType dtype) {
  return dtype == DType::bf16 ? 0x1p-8 : 0x1p-11;
}

Expectation expect_rows(const HostInputs& inputs, std::vector<kernels::RowIndex> rows) {
  const kernels::Traits traits = kernels::traits_of(inputs.problem);
  const kernels::BackwardArgs args = inputs.args();
  Expectation expected;
  expected.reference = kernels::reference_rows(traits, args, rows);
  expected.rows = std::move(rows);
  const RowResults& reference = expected.reference;
  const RowResults plain = kernels::plain_rows(traits, args, expected.rows);
  for (std::size_t i = 0; i < expected.rows.size(); ++i) {
    const Floors least = floors(inputs.problem, reference.logit_size[i], reference.product_size[i]);
    expected.o.rows.push_back(least.o);
    expected.lse.rows.push_back(least.lse);
  }
  const Worst o = worst_o(plain, reference, expected.o.rows),
              lse = worst_lse(plain, reference, expected.lse.rows);
  expected.o.rows = raised(std::move(expected.o.rows), o);
  expected.lse.rows = raised(std::move(expected.lse.rows), lse);
  expected.o.mean = mean_tolerance(inputs.problem, expected.rows.size(), plain.o, reference.o);
  return expected;
}

}  // namespace fcsa::runner
