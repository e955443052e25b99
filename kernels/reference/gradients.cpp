#include "kernels/reference/gradients.h"

#include <numeric>
#include <stdexcept>
#include <tuple>

#include "kernels/reference/gradient_unit.h"
#include "kernels/reference/parallel_for.h"

namespace fcsa::kernels {
namespace {

using gradient::kBlock;
using gradient::Side;
using gradient::Sums;
using gradient::Unit;

constexpr std::size_t kMaxRowsPerUnit = 32;

std::size_t query_rows(const Args& args) {
  return static_cast<std::size_t>(args.batch) * args.heads * args.nq;
}

RowIndex query_row(const Args& args, std::size_t index) {
  const auto nq = static_cast<std::size_t>(args.nq), heads = static_cast<std::size_t>(args.heads);
  return {static_cast<int>(index / nq / heads), static_cast<int>(index / nq % heads),
          static_cast<int>(index % nq)};
}

// dout . o of a row, for o of any type that arithmetic is done in.
template <typename Real, typename Output>
Real delta(const Traits& traits, const BackwardArgs& args, const RowIndex& row, const Output* o) {
  const Strides& s = args.dout_strides;
  float dout[256];
  load_elements(traits.dtype, args.dout, row.batch * s.batch + row.head * s.head + row.row * s.row,
                traits.head_dim, dout);
  Real sum = 0;
  for (int d = 0; d < traits.head_dim; ++d) sum += Real{dout[d]} * static_cast<Real>(o[d]);
  return sum;
}

template <typename Real>
Sums<Real> sums_of_args(const Traits& traits, const BackwardArgs& args) {
  const std::size_t rows = query_rows(args);
  Sums<Real> sums{std::vector<Real>(args.lse, args.lse + rows), std::vector<Real>(rows)};
  parallel_for(rows / kMaxRowsPerUnit + 1, [&](std::size_t block) {
    for (std::size_t i = block * kMaxRowsPerUnit; i < std::min(rows, (block + 1) * kMaxRowsPerUnit); ++i) {
      const RowIndex row = query_row(args, i);
      const Strides& s = args.o_strides;
      float o[256];
      load_elements(traits.dtype, args.o, row.batch * s.batch + row.head * s.head + row.row * s.row,
                    traits.head_dim, o);
      sums.delta[i] = delta<Real>(traits, args, row, o);
    }
  });
  return sums;
}

// Rows in runs of one batch and head, and where each has its place in the list they came from.
struct Runs {
  std::vector<RowIndex> rows;
  std::vector<std::size_t> places;
  std::vector<std::pair<std::size_t, std::size_t>> ranges;  // first and count, in rows

  explicit Runs(std::span<const RowIndex> list) : places(list.size()) {
    std::iota(places.begin(), places.end(), std::size_t{0});
    const auto key = [&](std::size_t i) { return std::tie(list[i].batch, list[i].head, list[i].row); };
    std::sort(places.begin(), places.end(), [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
    const std::size_t longest = std::clamp<std::size_t>(list.size() / (2 * core_count()), 1, kMaxRowsPerUnit);
    for (const std::size_t place : places) {
      const RowIndex& row = list[place];
      if (rows.empty() || std::tie(row.batch, row.head) != std::tie(rows.back().batch, rows.back().head) ||
          ranges.back().second == longest)
        ranges.emplace_back(rows.size(), 0);
      ++ranges.back().second;
      rows.push_back(row);
    }
  }

  std::span<const RowIndex> run(std::size_t i) const {
    return std::span(rows).subspan(ranges[i].first, ranges[i].second);
  }
  std::size_t place(std::size_t i, std::size_t row) const { return places[ranges[i].first + row]; }
};

// All gradients with one kind of arithmetic.
template <typename Real>
class Solver {
 public:
  Solver(const Traits& traits, const BackwardArgs& args, const Sums<Real>& sums)
      : traits_(traits), args_(args), sums_(sums), dim_(static_cast<std::size_t>(traits.head_dim)) {}

  Gradients solve(const GradientRows& rows) {
    if (rows.scale && rows.queries.size() != query_rows(args_))
      throw std::invalid_argument("the gradient of the scale needs every query row");
    solve_queries(rows);
    solve_keys(rows.keys);
    solve_bias(rows.bias);
    return std::move(gradients_);
  }

 private:
  void solve_queries(const GradientRows& wanted) {
    Gradients& to = gradients_;
    const Runs runs(wanted.queries);
    const std::size_t rows = wanted.queries.size(), groups = static_cast<std::size_t>(traits_.groups);
    to.dq.resize(rows * dim_);
    to.dq_size.resize(rows);
    to.dq_exponent.resize(rows);
    to.query_norms.resize(rows * groups);
    std::vector<double> scale(rows), scale_squares(rows), scale_exponents(rows);
    parallel_for(runs.ranges.size(), [&](std::size_t i) {
      Unit<Real> unit(traits_, args_, sums_, Side::queries, runs.run(i));
      unit.add_head(runs.run(i)[0].head);
      for (std::size_t r = 0; r < runs.run(i).size(); ++r) {
        const std::size_t place = runs.place(i, r);
        unit.project(r, &to.dq[place * dim_]);
        to.dq_size[place] = unit.first_size(r);
        to.dq_exponent[place] = unit.first_exponent(r);
        std::copy_n(unit.norms(r).begin(), groups, &to.query_norms[place * groups]);
        scale[place] = unit.scale(r);
        scale_squares[place] = unit.scale_squares(r);
        scale_exponents[place] = unit.scale_exponents(r);
      }
    });
    if (!wanted.scale) return;
    to.dscale.resize(static_cast<std::size_t>(args_.heads));
    to.dscale_size.resize(to.dscale.size());
    to.dscale_exponent.resize(to.dscale.size());
    for (std::size_t i = 0; i < rows; ++i) {
      const auto head = static_cast<std::size_t>(wanted.queries[i].head);
      to.dscale[head] += scale[i];
      to.dscale_size[head] += scale_squares[i];
      to.dscale_exponent[head] += scale_exponents[i];
    }
    for (std::size_t head = 0; head < to.dscale.size(); ++head) {
      to.dscale_exponent[head] = Unit<Real>::mean(to.dscale_exponent[head], to.dscale_size[head]);
      to.dscale_size[head] = std::sqrt(to.dscale_size[head]);
    }
  }

  void solve_keys(std::span<const RowIndex> wanted) {
    Gradients& to = gradients_;
    const Runs runs(wanted);
    const std::size_t groups = static_cast<std::size_t>(traits_.groups);
    to.dk.resize(wanted.size() * dim_);
    to.dv.resize(wanted.size() * dim_);
    to.dk_size.resize(wanted.size());
    to.dv_size.resize(wanted.size());
    to.dk_exponent.resize(wanted.size());
    to.dv_exponent.resize(wanted.size());
    to.key_norms.resize(wanted.size() * groups);
    parallel_for(runs.ranges.size(), [&](std::size_t i) {
      Unit<Real> unit(traits_, args_, sums_, Side::keys, runs.run(i));
      const int heads = args_.heads / args_.kv_heads;
      for (int h = 0; h < heads; ++h) unit.add_head(runs.run(i)[0].head * heads + h);
      for (std::size_t r = 0; r < runs.run(i).size(); ++r) {
        const std::size_t place = runs.place(i, r);
        unit.project(r, &to.dk[place * dim_]);
        unit.values(r, &to.dv[place * dim_]);
        to.dk_size[place] = unit.first_size(r);
        to.dv_size[place] = unit.second_size(r);
        to.dk_exponent[place] = unit.first_exponent(r);
        to.dv_exponent[place] = unit.second_exponent(r);
        std::copy_n(unit.norms(r).begin(), groups, &to.key_norms[place * groups]);
      }
    });
  }

  // A row of the bias is that of every batch and head that shares it.
  void solve_bias(std::span<const RowIndex> wanted) {
    Gradients& to = gradients_;
    const Runs runs(wanted);
    const auto nk = static_cast<std::size_t>(args_.nk);
    to.dbias.resize(wanted.size() * nk);
    to.dbias_size.resize(wanted.size());
    to.dbias_exponent.resize(wanted.size());
    parallel_for(runs.ranges.size(), [&](std::size_t i) {
      const std::span<const RowIndex> rows = runs.run(i);
      std::vector<Real> sums(rows.size() * nk);
      std::vector<double> squares(rows.size()), exponents(rows.size());
      for (int batch = rows[0].batch; batch < args_.batch; batch += args_.bias_batch)
        for (int head = 0; head < args_.heads; ++head)
          if (args_.bias_heads == 1 || head == rows[0].head)
            add_bias(rows, {batch, head, 0}, sums, squares, exponents);
      for (std::size_t r = 0; r < rows.size(); ++r) {
        const std::size_t place = runs.place(i, r);
        for (std::size_t j = 0; j < nk; ++j) to.dbias[place * nk + j] = stored_bias(sums[r * nk + j]);
        to.dbias_size[place] = std::sqrt(squares[r]);
        to.dbias_exponent[place] = Unit<Real>::mean(exponents[r], squares[r]);
      }
    });
  }

  // From one batch and head.
  void add_bias(std::span<const RowIndex> rows, const RowIndex& from, std::vector<Real>& sums,
                std::vector<double>& squares, std::vector<double>& exponents) const {
    std::vector<RowIndex> own(rows.begin(), rows.end());
    for (RowIndex& row : own) row.batch = from.batch, row.head = from.head;
    const auto nk = static_cast<std::size_t>(args_.nk);
    Unit<Real> unit(traits_, args_, sums_, Side::queries, own);
    unit.add_head(from.head, [&](std::size_t r, int first, auto ds, auto size, auto exponent) {
      const std::size_t begin = static_cast<std::size_t>(first);
      for (std::size_t j = begin; j < std::min(nk, begin + kBlock); ++j) {
        sums[r * nk + j] += ds[j - begin];
        squares[r] += size[j - begin] * size[j - begin];
        exponents[r] += std::pow(size[j - begin] * exponent[j - begin], 2);
      }
    });
  }

  Real stored_bias(Real sum) const { return traits_.bias == Bias::same ? as_stored(traits_, sum) : sum; }

  const Traits& traits_;
  const BackwardArgs& args_;
  const Sums<Real>& sums_;
  std::size_t dim_;
  Gradients gradients_;
};

}  // namespace

RowSums exact_sums(const Traits& traits, const BackwardArgs& args) {
  std::vector<RowIndex> rows(query_rows(args));
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = query_row(args, i);
  RowResults forward = reference_rows(traits, args, rows);
  RowSums sums{std::move(forward.lse), {}};
  for (std::size_t i = 0; i < rows.size(); ++i)
    sums.delta.push_back(
        delta<double>(traits, args, rows[i], &forward.o[i * static_cast<std::size_t>(traits.head_dim)]));
  return sums;
}

RowSums given_sums(const Traits& traits, const BackwardArgs& args) {
  Sums<double> sums = sums_of_args<double>(traits, args);
  return {std::move(sums.lse), std::move(sums.delta)};
}

Gradients reference_gradients(const Traits& traits, const BackwardArgs& args, const RowSums& sums,
                              const GradientRows& rows) {
  const Sums<double> given{sums.lse, sums.delta};
  return Solver<double>(traits, args, given).solve(rows);
}

Gradients plain_gradients(const Traits& traits, const BackwardArgs& args, const GradientRows& rows) {
  const Sums<float> sums = sums_of_args<float>(traits, args);
  return Solver<float>(traits, args, sums).solve(rows);
}

}  // namespace fcsa::kernels
