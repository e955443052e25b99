#include "runner/verification/comparison.h"

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

bool has_16_bits(const Problem& p) {
  return p.dtype != DType::f32;
}

struct Floors {
  double o = 0, lse = 0;
};

// Of every row, what o is compared with: its norm, or the typical one of rows that see a key.
std::vector<double> sizes_of_o(const RowResults& reference) {
  const std::size_t rows = reference.lse.size(), dim = reference.o.size() / std::max<std::size_t>(rows, 1);
  std::vector<double> sizes(rows);
  double squares = 0;
  std::size_t seeing = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    if (std::isinf(reference.lse[i])) continue;
    sizes[i] = norm(std::span(reference.o).subspan(i * dim, dim));
    squares += sizes[i] * sizes[i];
    ++seeing;
  }
  const double rms = seeing == 0 ? 0 : std::sqrt(squares / static_cast<double>(seeing));
  for (double& size : sizes) size = std::max(size, rms);
  return sizes;
}

// What the roundings of 16 bits do to a row of o by chance, in units of roundoff of `size`: q^ and k^ are
// rounded before their product, P is before that with v, and o is. Rounding to nearest is off by 0.425 units
// on average, two of them in D channels put 0.6 / sqrt(D) units of its size on a product. 2.2 times that is
// rare where many keys have a part in it; what one key does has no average, and needs 3 times that for
// itself.
double units_by_chance(const Problem& p, const RowResults& reference, std::size_t row, double size) {
  if (size == 0) return 0;
  constexpr double kRounding = 0.425, kMany = 2.2, kOne = 3;
  const double products = p.l2norm_qk ? std::sqrt(2.0 / p.head_dim) : 0;
  const double many =
      std::hypot(products * reference.product_effect[row], reference.weight_effect[row], size);
  return kRounding / size * std::hypot(kMany * many, kOne * products * reference.one_product_effect[row]);
}

// Of a row whose logits are sums of terms of this size, some of it that of products scale * q^ k^. All other
// rows of the same problem may have smaller ones.
// f32: the argument of exp2 is up to 40 + log2(e) * bound in magnitude under a fixed bound, so it is rounded
// by up to 1.9e-6, which is 1.3e-6 of P; ex2.approx adds 2^-22. Approximate reciprocal square roots (2^-22
// each), the bias and the order of the dot product put 2e-7 of the terms' size on a logit, also where they
// cancel. 16 bits: P is rounded before its product with v though its sum need not be, and then o is: two
// units of roundoff, where the plain implementation can be exact (all weight on one key). Normalised rows are
// rounded before their product: with D channels that moves a logit by about u / sqrt(D) of its terms; TF32
// rounds raw rows as well. lse may be of the sum of the rounded P: one more unit.
Floors floors(const Problem& p, const RowResults& reference, std::size_t row, double size) {
  const double logit_size = reference.logit_size[row];
  const Floors f32{2e-6 + 2e-7 * logit_size, 4e-6 + 4e-7 * logit_size};
  if (p.dtype == DType::f32 && !p.allow_tf32) return f32;
  const double u = unit_roundoff(p.dtype), moved = reference.product_size[row] / std::sqrt(p.head_dim);
  const bool rounded = p.l2norm_qk || p.allow_tf32;
  double units = std::max(2.0, rounded ? 2 * moved : 0.0);
  if (has_16_bits(p)) units = std::max(units, units_by_chance(p, reference, row, size));
  return {u * units + f32.o, u * (1 + std::max(1.0, moved)) + f32.lse};
}

// As many rows of the same size would have a mean that is as far off by chance: all rows where they are about
// as large, and few where most of what is squared is in a few of them, as in gradients of a softmax that is
// almost always decided.
double rows_that_count(std::size_t rows, std::span<const double> values) {
  const std::size_t width = values.size() / rows;
  double squares = 0, fourth_powers = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    const double size = std::pow(norm(values.subspan(row * width, width)), 2);
    squares += size;
    fourth_powers += size * size;
  }
  return fourth_powers == 0 ? 0 : squares * squares / fourth_powers;
}

// How much more than the plain implementation a kernel may be off by. Floors of 16 bits follow row by row
// what its roundings do, so the worst of many rows is about the same for all that round as it does.
constexpr double kAsRounded = 1.4;

}  // namespace

Worst worst_o(const RowResults& actual, const RowResults& reference, std::span<const double> tolerances) {
  const std::size_t rows = reference.lse.size();
  if (rows == 0) return {};
  const std::size_t dim = reference.o.size() / rows;
  const auto row = [dim](const RowResults& r, std::size_t i) { return std::span(r.o).subspan(i * dim, dim); };
  const std::vector<double> sizes = sizes_of_o(reference);
  return worst_of(rows, tolerances, [&](std::size_t i) {
    const double off = distance(row(actual, i), row(reference, i));
    if (off == 0) return 0.0;
    if (std::isinf(reference.lse[i])) return kInfinity;
    return off / sizes[i];
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
  constexpr double kFewThatCount = 32;
  if (!has_16_bits(p) || rows < kFewRows) return 0;
  const double counting = rows_that_count(rows, expected);
  if (counting < kFewThatCount) return 0;
  // Of a row, when one or two numbers were rounded that all of it is a multiple of, and plain ones were not.
  const double of_a_row = std::max(distance(plain, expected) / norm(expected), 0.6 * unit_roundoff(p.dtype));
  return unit_roundoff(p.dtype) / 4 + 3 * of_a_row / std::sqrt(counting);
}

std::vector<double> raised(std::vector<double> floors, const Worst& plain, double allowed) {
  const double times = allowed * plain.share();
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
  const std::vector<double> sizes = sizes_of_o(reference);
  for (std::size_t i = 0; i < expected.rows.size(); ++i) {
    const Floors least = floors(inputs.problem, reference, i, sizes[i]);
    expected.o.rows.push_back(least.o);
    expected.lse.rows.push_back(least.lse);
  }
  const Worst o = worst_o(plain, reference, expected.o.rows),
              lse = worst_lse(plain, reference, expected.lse.rows);
  expected.o.rows = raised(std::move(expected.o.rows), o, has_16_bits(inputs.problem) ? kAsRounded : kTwice);
  expected.lse.rows = raised(std::move(expected.lse.rows), lse);
  expected.o.mean = mean_tolerance(inputs.problem, expected.rows.size(), plain.o, reference.o);
  return expected;
}

}  // namespace fcsa::runner
