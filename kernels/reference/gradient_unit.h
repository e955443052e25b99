// The sums of gradients.cpp: rows of one side of the score matrix against all rows of the other side.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "kernels/common/backward.h"
#include "kernels/common/logits.h"
#include "kernels/common/visibility.h"
#include "kernels/reference/elements.h"
#include "kernels/reference/reference.h"

namespace fcsa::kernels::gradient {

constexpr int kBlock = 64;     // rows of the other side that are read together
constexpr int kChannels = 16;  // head_dim is a multiple of it

// Below this, what is stored in the dtype, or computed in f32, loses bits.
inline double smallest(DType dtype) {
  return dtype == DType::f16 ? 0x1p-14 : 0x1p-100;
}

// Rows of the score matrix belong to queries, its columns to keys.
enum class Side { queries, keys };

template <typename Real>
struct Sums {
  std::vector<Real> lse, delta;  // [batch, heads, nq]
};

// Rows of one side: q^ and dout, or k^ and v.
template <typename Real>
struct Rows {
  std::vector<Real> first, second;                  // [rows, head_dim]
  std::vector<double> first_length, second_length;  // of the vectors above
  std::vector<double>
      norms;  // of q or k, [rows, groups]: 1 where not normalised, 0 where under eps or no number
};

// Reads rows of either side, as what products take.
template <typename Real>
class Reader {
 public:
  Reader(const Traits& traits, const BackwardArgs& args) : traits_(traits), args_(args) {}

  std::size_t dim() const { return static_cast<std::size_t>(traits_.head_dim); }

  void append(Side side, const RowIndex& row, Rows<Real>& to) const {
    const bool queries = side == Side::queries;
    load(queries ? args_.q : args_.k, queries ? args_.q_strides : args_.k_strides, row, to.first);
    load(queries ? args_.dout : args_.v, queries ? args_.dout_strides : args_.v_strides, row, to.second);
    normalise(to.first.end() - traits_.head_dim, to.norms);
    for (auto* vectors : {&to.first, &to.second})
      std::transform(vectors->end() - traits_.head_dim, vectors->end(), vectors->end() - traits_.head_dim,
                     [&](Real x) { return as_operand(traits_, x); });
    to.first_length.push_back(length(to.first.end() - traits_.head_dim, dim()));
    to.second_length.push_back(length(to.second.end() - traits_.head_dim, dim()));
  }

 private:
  using Iterator = typename std::vector<Real>::iterator;

  static Real length(Iterator first, std::size_t count) {
    return static_cast<Real>(std::sqrt(sum_of_squares(first, first + static_cast<std::ptrdiff_t>(count))));
  }

  void load(const void* data, const Strides& s, const RowIndex& row, std::vector<Real>& to) const {
    float loaded[256];
    load_elements(traits_.dtype, data, row.batch * s.batch + row.head * s.head + row.row * s.row,
                  traits_.head_dim, loaded);
    to.insert(to.end(), loaded, loaded + traits_.head_dim);
  }

  void normalise(Iterator row, std::vector<double>& norms) const {
    const int width = traits_.head_dim / traits_.groups;
    for (int g = 0; g < traits_.groups; ++g, row += width) {
      const Real norm = length(row, static_cast<std::size_t>(width));
      const auto eps = static_cast<Real>(usable_eps(args_.eps));
      norms.push_back(!traits_.l2norm_qk ? 1.0 : norm < eps || !std::isfinite(norm) ? 0.0 : double{norm});
      if (!traits_.l2norm_qk) continue;
      std::transform(row, row + width, row, [&](Real x) { return x / std::max(norm, eps); });
    }
  }

  const Traits& traits_;
  const BackwardArgs& args_;
};

// Rows of one side, of one batch and head, and the sums over the other side that are their gradients.
template <typename Real>
class Unit {
 public:
  Unit(const Traits& traits, const BackwardArgs& args, const Sums<Real>& sums, Side side,
       std::span<const RowIndex> rows)
      : traits_(traits), args_(args), sums_(sums), reader_(traits, args), side_(side), rows_(rows) {
    for (const RowIndex& row : rows) reader_.append(side, row, own_);
    first_.assign(own_.first.size(), 0);
    second_.assign(own_.second.size(), 0);
    for (auto* sum : {&first_squares_, &second_squares_, &scale_, &scale_squares_, &first_exponents_,
                      &second_exponents_, &scale_exponents_})
      sum->assign(rows.size(), 0);
  }

  // Called for every block of the other side in which a row sees something: the row in this unit, the first
  // row of the block, and for each of its rows dS, how large its terms are, and those of its exponent.
  using Observer = std::function<void(std::size_t, int, std::span<const Real, kBlock>,
                                      std::span<const double, kBlock>, std::span<const double, kBlock>)>;

  // Adds what the rows get in query head `head`, from its keys or its queries.
  void add_head(int head, const Observer& observe = {}) {
    head_ = head;
    const Real scale = traits_.head_scale ? args_.head_scale[head] : args_.scale;
    std::vector<Real> sum(first_.size(), 0);
    const int length = side_ == Side::queries ? args_.nk : args_.nq;
    for (int first = 0; first < length; first += kBlock) {
      const int count = std::min(kBlock, length - first);
      if (hidden(first, count)) continue;
      read_block(first, count);
      for (std::size_t r = 0; r < rows_.size(); ++r) {
        if (!solve(r, first, count, scale)) continue;
        if (observe) observe(r, first, ds_, size_, exponent_);
        for (Real& x : ds_) x = as_operand(traits_, x);
        for (Real& x : p_) x = as_operand(traits_, x);
        accumulate(ds_, block_.first.data(), &sum[r * dim()]);
        if (side_ == Side::keys) accumulate(p_, block_.second.data(), &second_[r * dim()]);
      }
    }
    for (std::size_t i = 0; i < sum.size(); ++i) first_[i] += scale * sum[i];
  }

  // The gradient of q or k in row r, to[head_dim].
  void project(std::size_t r, double* to) const {
    const auto groups = static_cast<std::size_t>(traits_.groups), width = dim() / groups;
    for (std::size_t g = 0; g < groups; ++g) {
      const Real *x = &own_.first[r * dim() + g * width], *sum = &first_[r * dim() + g * width];
      const auto norm = static_cast<Real>(own_.norms[r * groups + g]);
      // Nobody sees the row, or it sees nothing: whatever it holds has no gradient.
      if (std::all_of(sum, sum + width, [](Real value) { return value == 0; })) {
        std::fill_n(to + g * width, width, 0.0);
        continue;
      }
      Real along = 0;
      for (std::size_t d = 0; traits_.l2norm_qk && d < width; ++d) along += x[d] * as_stored(traits_, sum[d]);
      for (std::size_t d = 0; d < width; ++d)
        to[g * width + d] =
            norm == 0 ? 0 : as_stored(traits_, (as_stored(traits_, sum[d]) - x[d] * along) / norm);
    }
  }

  // The gradient of v in row r, to[head_dim].
  void values(std::size_t r, double* to) const {
    for (std::size_t d = 0; d < dim(); ++d) to[d] = as_stored(traits_, second_[r * dim() + d]);
  }

  std::span<const double> norms(std::size_t r) const {
    const auto groups = static_cast<std::size_t>(traits_.groups);
    return std::span(own_.norms).subspan(r * groups, groups);
  }
  // Gradients::dq_size and dk_size, and dv_size.
  double first_size(std::size_t r) const {
    const auto row = norms(r);
    return stored_size(first_squares_[r], *std::max_element(row.begin(), row.end()));
  }
  double second_size(std::size_t r) const { return stored_size(second_squares_[r], 1); }
  // Gradients::dq_exponent and dk_exponent, and dv_exponent.
  double first_exponent(std::size_t r) const { return mean(first_exponents_[r], first_squares_[r]); }
  double second_exponent(std::size_t r) const { return mean(second_exponents_[r], second_squares_[r]); }
  // What row r adds to dscale, to the square of its size, and to the same weighted with squares of exponents.
  double scale(std::size_t r) const { return scale_[r]; }
  double scale_squares(std::size_t r) const { return scale_squares_[r]; }
  double scale_exponents(std::size_t r) const { return scale_exponents_[r]; }

  static double mean(double weighted_squares, double squares) {
    return squares == 0 ? 0 : std::sqrt(weighted_squares / squares);
  }

 private:
  using Block = Real[kBlock];

  std::size_t dim() const { return reader_.dim(); }

  // The storage of a row that is multiplied by `factor` afterwards loses bits as well.
  double stored_size(double squares, double factor) const {
    if (squares == 0) return 0;
    return std::sqrt(squares) + std::sqrt(traits_.head_dim) * factor * smallest(traits_.dtype);
  }

  bool sees(int query, int key) const { return visibility_of(traits_, args_).sees(query, key); }

  // Whether a block of the other side is hidden from all rows, masks aside.
  bool hidden(int first, int count) const {
    const Visibility visibility = visibility_of(traits_, args_);
    const Range block = {first, first + count};
    return std::none_of(rows_.begin(), rows_.end(), [&](const RowIndex& row) {
      const bool queries = side_ == Side::queries;
      return (queries ? visibility.keys_of(row.row) : visibility.queries_of(row.row)).meets(block);
    });
  }

  void read_block(int first, int count) {
    block_ = {};
    const int batch = rows_[0].batch, kv_head = head_ / (args_.heads / args_.kv_heads);
    for (int row = first; row < first + count; ++row) {
      if (side_ == Side::queries)
        reader_.append(Side::keys, {batch, kv_head, row}, block_);
      else
        reader_.append(Side::queries, {batch, head_, row}, block_);
    }
    block_.first.resize(dim() * kBlock);
    block_.second.resize(dim() * kBlock);
    const auto finite = [](Real x) { return std::isfinite(x); };
    finite_ = std::all_of(block_.first.begin(), block_.first.end(), finite) &&
              std::all_of(block_.second.begin(), block_.second.end(), finite);
    transpose(block_.first, first_columns_);
    transpose(block_.second, second_columns_);
  }

  void transpose(const std::vector<Real>& from, std::vector<Real>& to) const {
    to.resize(from.size());
    for (std::size_t l = 0; l < kBlock; ++l)
      for (std::size_t d = 0; d < dim(); ++d) to[d * kBlock + l] = from[l * dim() + d];
  }

  // P and dS of row r in a block, and the sums of sizes. False where nothing is visible.
  bool solve(std::size_t r, int first, int count, Real scale) {
    products(&own_.first[r * dim()], first_columns_.data(), cosines_);
    products(&own_.second[r * dim()], second_columns_.data(), dp_);
    const RowIndex& row = rows_[r];
    const unsigned char* mask =
        traits_.key_mask ? args_.key_mask + row.batch * args_.key_mask_stride : nullptr;
    bool any = false;
    for (int l = 0; l < kBlock; ++l) {
      const int query = side_ == Side::queries ? row.row : first + l;
      const int key = side_ == Side::queries ? first + l : row.row;
      p_[l] = ds_[l] = 0, size_[l] = exponent_[l] = 0;
      if (l >= count || !sees(query, key) || (mask != nullptr && mask[key] == 0)) continue;
      const std::size_t at = (static_cast<std::size_t>(row.batch) * args_.heads + head_) * args_.nq + query;
      if (sums_.lse[at] == -std::numeric_limits<Real>::infinity()) continue;  // a bias of -inf on every key
      const Real added = bias(row.batch, query, key);
      if (added == -std::numeric_limits<Real>::infinity()) continue;
      p_[l] = std::exp(scale * cosines_[l] + added - sums_.lse[at]);
      const Real difference = dp_[l] - sums_.delta[at];
      ds_[l] = p_[l] * difference;
      exponent_[l] =
          std::fabs(scale) * own_.first_length[r] * block_.first_length[static_cast<std::size_t>(l)] +
          (std::isfinite(added) ? std::fabs(added) : 0) + std::fabs(sums_.lse[at]);
      add_sizes(r, l, scale, difference);
      any = true;
    }
    return any;
  }

  // A dP of typical size stands in for a difference that cancels.
  void add_sizes(std::size_t r, int l, double scale, double difference) {
    const auto square = [](double x) { return x * x; };
    const auto i = static_cast<std::size_t>(l);
    const double typical = own_.second_length[r] * block_.second_length[i] / std::sqrt(traits_.head_dim);
    const double least = smallest(traits_.dtype);
    size_[l] = std::max(p_[l] * std::max(std::fabs(difference), typical), least);
    const auto add = [&](double term, std::vector<double>& squares, std::vector<double>& exponents) {
      squares[r] += square(term);
      exponents[r] += square(term * exponent_[l]);
    };
    add(scale * size_[l] * block_.first_length[i], first_squares_, first_exponents_);
    add(std::max<double>(p_[l], least) * block_.second_length[i], second_squares_, second_exponents_);
    scale_[r] += double{ds_[l]} * cosines_[l];
    add(size_[l] * cosines_[l], scale_squares_, scale_exponents_);
  }

  Real bias(int batch, int query, int key) const {
    if (traits_.bias == Bias::none) return 0;
    const Strides& s = args_.bias_strides;
    return load_element(traits_.bias == Bias::same ? traits_.dtype : DType::f32, args_.bias,
                        batch % args_.bias_batch * s.batch + (args_.bias_heads == 1 ? 0 : head_) * s.head +
                            query * s.row + key);
  }

  // to[l] = sum over d of row[d] * columns[d][l].
  void products(const Real* __restrict row, const Real* __restrict columns, Real* __restrict to) const {
    std::fill(to, to + kBlock, Real{0});
    for (std::size_t d = 0; d < dim(); d += 4) {
      const Real* c = columns + d * kBlock;
      for (int l = 0; l < kBlock; ++l)
        to[l] += row[d] * c[l] + row[d + 1] * c[l + kBlock] + row[d + 2] * c[l + 2 * kBlock] +
                 row[d + 3] * c[l + 3 * kBlock];
    }
  }

  // to[d] += sum over l of weights[l] * vectors[l][d].
  void accumulate(const Real* __restrict weights, const Real* __restrict vectors, Real* __restrict to) const {
    if (!finite_) return accumulate_carefully(weights, vectors, to);
    for (std::size_t first = 0; first < dim(); first += kChannels) {
      Real sum[kChannels] = {};
      for (std::size_t l = 0; l < kBlock; ++l)
        for (std::size_t d = 0; d < kChannels; ++d) sum[d] += weights[l] * vectors[l * dim() + first + d];
      for (std::size_t d = 0; d < kChannels; ++d) to[first + d] += sum[d];
    }
  }

  // The same where the vectors have infinities or NaN, times a weight of 0 not a number.
  void accumulate_carefully(const Real* weights, const Real* vectors, Real* to) const {
    for (std::size_t l = 0; l < kBlock; ++l)
      for (std::size_t d = 0; weights[l] != 0 && d < dim(); ++d) to[d] += weights[l] * vectors[l * dim() + d];
  }

  const Traits& traits_;
  const BackwardArgs& args_;
  const Sums<Real>& sums_;
  Reader<Real> reader_;
  Side side_;
  std::span<const RowIndex> rows_;
  int head_ = 0;
  Rows<Real> own_, block_;
  bool finite_ = true;                                // block_
  std::vector<Real> first_columns_, second_columns_;  // of block_, [head_dim, kBlock]
  Block cosines_ = {}, dp_ = {}, p_ = {}, ds_ = {};   // of one row
  double size_[kBlock] = {}, exponent_[kBlock] = {};
  std::vector<Real> first_, second_;  // gradients of q^ or k^, and of v: [rows, head_dim]
  std::vector<double> first_squares_, second_squares_, scale_, scale_squares_;  // [rows]
  std::vector<double> first_exponents_, second_exponents_, scale_exponents_;    // weighted by the squares
};

}  // namespace fcsa::kernels::gradient
