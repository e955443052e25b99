#include "kernels/reference/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

#include "kernels/common/logits.h"
#include "kernels/reference/elements.h"
#include "kernels/reference/parallel_for.h"

namespace fcsa::kernels {
namespace {

constexpr int kKeyBlock = 64;
constexpr std::size_t kMaxRowsPerUnit = 32;
constexpr std::size_t kScoreBytesPerThread = std::size_t{64} << 20;

int round_up(int value, int multiple) {
  return static_cast<int>(ceil_div(value, multiple) * multiple);
}

// Rows of one key/value head, solved together so that its keys and values are converted once for all of them.
// Real = double: the formula. Real = float: the plain implementation, which rounds to the dtype what it
// stores.
template <typename Real>
class Unit {
 public:
  Unit(const Traits& traits, const Args& args, std::span<const RowIndex> rows)
      : traits_(traits), args_(args), rows_(rows), dim_(traits.head_dim), padded_dim_(round_up(dim_, 4)) {
    for (const RowIndex& row : rows) keys_ = std::max(keys_, static_cast<int>(keys_of(row).end));
    padded_keys_ = round_up(keys_, kKeyBlock);
    scores_.assign(rows.size() * static_cast<std::size_t>(padded_keys_), Real{0});
    seen_.assign(scores_.size(), false);
    output_.assign(rows.size() * static_cast<std::size_t>(dim_), Real{0});
  }

  // What one row has but for its outputs.
  struct Row {
    Real lse = 0;
    double logit_size = 0, product_size = 0;
    double product_effect = 0, one_product_effect = 0, weight_effect = 0;
  };

  // Calls store(row in this unit, its dim_ outputs, what else it has).
  template <typename Store>
  void solve(const Store& store) {
    compute_scores();
    std::vector<Row> rows;
    for (std::size_t r = 0; r < rows_.size(); ++r) rows.push_back(softmax(r));
    accumulate_output();
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      Real* o = &output_[r * static_cast<std::size_t>(dim_)];
      add_effects(r, o, rows[r]);
      for (int d = 0; d < dim_; ++d) o[d] = as_stored(traits_, o[d]);
      store(r, o, rows[r]);
    }
  }

 private:
  Range keys_of(const RowIndex& row) const { return visibility_of(traits_, args_).keys_of(row.row); }

  Real* score_row(std::size_t r) { return scores_.data() + r * static_cast<std::size_t>(padded_keys_); }

  // One row of q or k: loaded and, where the problem says so, normalised. Returns its length.
  double load_normalised(const void* data, long long index, Real* to) {
    load_operand(data, index, to);
    return std::sqrt(sum_of_squares(to, to + dim_));
  }

  void load_operand(const void* data, long long index, Real* to) {
    row_.resize(static_cast<std::size_t>(dim_));
    load_elements(traits_.dtype, data, index, dim_, row_.data());
    std::transform(row_.begin(), row_.end(), to,
                   [&](Real x) { return traits_.l2norm_qk ? x : as_operand(traits_, x); });
    if (!traits_.l2norm_qk) return;
    const int width = dim_ / traits_.groups;
    for (Real* group = to; group < to + dim_; group += width) {
      const double squares = sum_of_squares(group, group + width);
      const auto norm = static_cast<Real>(std::max(std::sqrt(squares), double{usable_eps(args_.eps)}));
      for (int d = 0; d < width; ++d) group[d] = as_operand(traits_, group[d] / norm);
    }
  }

  long long kv_head() const { return rows_[0].head / (args_.heads / args_.kv_heads); }

  void compute_scores() {
    const auto stride = static_cast<std::size_t>(padded_dim_);
    std::vector<Real> q(rows_.size() * stride), key(stride), keys(stride * kKeyBlock);
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      const auto& [batch, head, row] = rows_[r];
      const Strides& s = args_.q_strides;
      q_lengths_.push_back(
          load_normalised(args_.q, batch * s.batch + head * s.head + row * s.row, &q[r * stride]));
    }
    for (int first = 0; first < keys_; first += kKeyBlock) {
      for (int j = 0; j < std::min(kKeyBlock, keys_ - first); ++j) {
        const Strides& s = args_.k_strides;
        key_lengths_.push_back(load_normalised(
            args_.k, rows_[0].batch * s.batch + kv_head() * s.head + (first + j) * s.row, key.data()));
        for (int d = 0; d < dim_; ++d)
          keys[static_cast<std::size_t>(d) * kKeyBlock + static_cast<std::size_t>(j)] = key[d];
      }
      for (std::size_t r = 0; r < rows_.size(); ++r)
        add_products(&q[r * stride], keys.data(), score_row(r) + first);
    }
  }

  // scores[j] += sum over d of q[d] * keys[d][j], for the kKeyBlock keys of a block.
  void add_products(const Real* __restrict q, const Real* __restrict keys, Real* __restrict scores) const {
    for (int d = 0; d < padded_dim_; d += 4) {
      const Real* k = keys + d * kKeyBlock;
      for (int j = 0; j < kKeyBlock; ++j)
        scores[j] += q[d] * k[j] + q[d + 1] * k[j + kKeyBlock] + q[d + 2] * k[j + 2 * kKeyBlock] +
                     q[d + 3] * k[j + 3 * kKeyBlock];
    }
  }

  // Logits of a row in place; hidden keys become -inf. Returns the largest.
  Real mask_and_scale(std::size_t r) {
    const auto& [batch, head, row] = rows_[r];
    Real* s = score_row(r);
    const Real scale = traits_.head_scale ? args_.head_scale[head] : args_.scale;
    const unsigned char* mask = traits_.key_mask ? args_.key_mask + batch * args_.key_mask_stride : nullptr;
    const Range visible = keys_of(rows_[r]);
    const DType bias_dtype = traits_.bias == Bias::same ? traits_.dtype : DType::f32;
    const long long bias_index = (batch % args_.bias_batch) * args_.bias_strides.batch +
                                 (args_.bias_heads == 1 ? 0 : head) * args_.bias_strides.head +
                                 row * args_.bias_strides.row;
    Real largest = -std::numeric_limits<Real>::infinity();
    biases_.assign(static_cast<std::size_t>(padded_keys_), 0.0f);
    for (int j = 0; j < padded_keys_; ++j) {
      const bool shown = visible.has(j) && (mask == nullptr || mask[j] != 0);
      const Real bias =
          shown && traits_.bias != Bias::none ? load_element(bias_dtype, args_.bias, bias_index + j) : 0;
      biases_[static_cast<std::size_t>(j)] = static_cast<float>(bias);
      const bool seen = shown && bias != -std::numeric_limits<Real>::infinity();
      seen_[r * static_cast<std::size_t>(padded_keys_) + static_cast<std::size_t>(j)] = seen;
      s[j] = seen ? s[j] * scale + bias : -std::numeric_limits<Real>::infinity();
      // What is not a number stays so.
      if (std::isnan(s[j]) || s[j] > largest) largest = s[j];
    }
    return largest;
  }

  // Probabilities of a row in place.
  Row softmax(std::size_t r) {
    const Real largest = mask_and_scale(r);
    Real* s = score_row(r);
    if (largest == -std::numeric_limits<Real>::infinity()) {
      std::fill(s, s + padded_keys_, Real{0});
      return {.lse = largest};
    }
    Real sum = 0;
    for (int j = 0; j < padded_keys_; ++j) {
      s[j] = std::exp(s[j] - largest);
      sum += s[j];
    }
    Row row{.lse = largest + std::log(sum)};
    const double scale = traits_.head_scale ? args_.head_scale[rows_[r].head] : args_.scale;
    for (int j = 0; j < keys_; ++j) {
      if (s[j] == 0) continue;
      const auto key = static_cast<std::size_t>(j);
      const double p = s[j] / sum, product = std::fabs(scale) * q_lengths_[r] * key_lengths_[key];
      row.product_size += p * product;
      row.logit_size += p * (product + std::fabs(double{biases_[key]}));
    }
    for (int j = 0; j < padded_keys_; ++j) s[j] = as_operand(traits_, s[j] / sum);
    return row;
  }

  void accumulate_output() {
    const auto dim = static_cast<std::size_t>(dim_);
    std::vector<float> loaded(dim);
    std::vector<Real> values(dim * kKeyBlock);
    for (int first = 0; first < keys_; first += kKeyBlock) {
      const int count = std::min(kKeyBlock, keys_ - first);
      bool finite = true;
      for (int j = 0; j < count; ++j) {
        const Strides& s = args_.v_strides;
        load_elements(traits_.dtype, args_.v,
                      rows_[0].batch * s.batch + kv_head() * s.head + (first + j) * s.row, dim_,
                      loaded.data());
        std::transform(loaded.begin(), loaded.end(), &values[static_cast<std::size_t>(j) * dim],
                       [&](Real x) { return as_operand(traits_, x); });
        value_squares_.push_back(sum_of_squares(loaded.begin(), loaded.end()));
        finite =
            finite && std::all_of(loaded.begin(), loaded.end(), [](float x) { return std::isfinite(x); });
      }
      std::fill(values.begin() + static_cast<std::ptrdiff_t>(count) * dim_, values.end(), Real{0});
      for (std::size_t r = 0; r < rows_.size(); ++r) {
        if (finite) {
          add_values(score_row(r) + first, values.data(), &output_[r * dim]);
        } else {
          add_seen_values(r, first, values.data());
        }
      }
    }
  }

  // What a row doesn't see has no influence, infinities and NaN included.
  void add_seen_values(std::size_t r, int first, const Real* values) {
    const auto dim = static_cast<std::size_t>(dim_), row = r * static_cast<std::size_t>(padded_keys_);
    for (std::size_t j = 0; j < kKeyBlock; ++j) {
      const std::size_t key = row + static_cast<std::size_t>(first) + j;
      for (std::size_t d = 0; seen_[key] && d < dim; ++d)
        output_[r * dim + d] += scores_[key] * values[j * dim + d];
    }
  }

  void add_values(const Real* __restrict p, const Real* __restrict values, Real* __restrict o) const {
    for (int j = 0; j < kKeyBlock; j += 4) {
      const Real* v = values + static_cast<std::ptrdiff_t>(j) * dim_;
      for (int d = 0; d < dim_; ++d)
        o[d] +=
            p[j] * v[d] + p[j + 1] * v[d + dim_] + p[j + 2] * v[d + 2 * dim_] + p[j + 3] * v[d + 3 * dim_];
    }
  }

  // Values of different keys are taken to be at right angles.
  void add_effects(std::size_t r, const Real* o, Row& row) {
    const double scale = std::fabs(traits_.head_scale ? args_.head_scale[rows_[r].head] : args_.scale);
    const double o_squares = sum_of_squares(o, o + dim_);
    const Real* p = score_row(r);
    double products = 0, largest = 0, weights = 0;
    for (std::size_t j = 0; j < value_squares_.size(); ++j) {
      if (p[j] == 0) continue;
      const double weight = double{p[j]} * p[j], own = weight * value_squares_[j];
      const double from_o = (1.0 - p[j]) * (1.0 - p[j]) * value_squares_[j] + std::max(0.0, o_squares - own);
      const double moved = weight * from_o * std::pow(scale * q_lengths_[r] * key_lengths_[j], 2);
      weights += own;
      products += moved;
      largest = std::max(largest, moved);
    }
    row.product_effect = std::sqrt(products);
    row.one_product_effect = std::sqrt(largest);
    row.weight_effect = std::sqrt(weights);
  }

  const Traits& traits_;
  const Args& args_;
  std::span<const RowIndex> rows_;
  int dim_ = 0, padded_dim_ = 0;
  int keys_ = 0, padded_keys_ = 0;
  std::vector<float> row_, biases_;
  std::vector<double> q_lengths_, key_lengths_, value_squares_;
  std::vector<Real> scores_;  // [rows, padded_keys_]
  std::vector<bool> seen_;    // likewise
  std::vector<Real> output_;  // [rows, dim_]
};

struct RowRange {
  std::size_t first = 0, count = 0;
};

// Splits sorted rows into runs of one key/value head, short enough to bound memory and to keep all cores
// busy.
std::vector<RowRange> split(std::span<const RowIndex> rows, const Args& args) {
  const std::size_t row_bytes = static_cast<std::size_t>(std::max(args.nk, 1)) * sizeof(double);
  const std::size_t fair = rows.size() / (2 * core_count()) + 1;
  const std::size_t longest =
      std::clamp<std::size_t>(std::min(fair, kScoreBytesPerThread / row_bytes), 1, kMaxRowsPerUnit);
  const auto group = [&](const RowIndex& row) {
    return std::pair(row.batch, row.head / (args.heads / args.kv_heads));
  };
  std::vector<RowRange> ranges;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i == 0 || group(rows[i]) != group(rows[i - 1]) || ranges.back().count == longest)
      ranges.push_back({i, 0});
    ++ranges.back().count;
  }
  return ranges;
}

template <typename Real>
RowResults solve_rows(const Traits& traits, const Args& args, std::span<const RowIndex> rows,
                      std::size_t threads) {
  std::vector<std::size_t> order(rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::tie(rows[a].batch, rows[a].head, rows[a].row) <
           std::tie(rows[b].batch, rows[b].head, rows[b].row);
  });
  std::vector<RowIndex> sorted;
  sorted.reserve(rows.size());
  for (const std::size_t i : order) sorted.push_back(rows[i]);

  const auto dim = static_cast<std::size_t>(traits.head_dim);
  const std::vector<double> one_each(rows.size());
  RowResults results{
      std::vector<double>(rows.size() * dim), one_each, one_each, one_each, one_each, one_each, one_each};
  const std::vector<RowRange> ranges = split(sorted, args);
  const auto solve = [&](std::size_t i) {
    const auto [first, count] = ranges[i];
    Unit<Real> unit(traits, args, std::span(sorted).subspan(first, count));
    unit.solve([&, first = first](std::size_t r, const Real* o, const typename Unit<Real>::Row& row) {
      const std::size_t place = order[first + r];
      std::copy(o, o + dim, &results.o[place * dim]);
      results.lse[place] = row.lse;
      results.logit_size[place] = row.logit_size;
      results.product_size[place] = row.product_size;
      results.product_effect[place] = row.product_effect;
      results.one_product_effect[place] = row.one_product_effect;
      results.weight_effect[place] = row.weight_effect;
    });
  };
  parallel_for(ranges.size(), solve, threads != 0 ? threads : core_count());
  return results;
}

}  // namespace

RowResults reference_rows(const Traits& traits, const Args& args, std::span<const RowIndex> rows,
                          std::size_t threads) {
  return solve_rows<double>(traits, args, rows, threads);
}

RowResults plain_rows(const Traits& traits, const Args& args, std::span<const RowIndex> rows) {
  return solve_rows<float>(traits, args, rows, core_count());
}

float load_element(DType dtype, const void* data, long long index) {
  float value = 0;
  load_elements(dtype, data, index, 1, &value);
  return value;
}

void store_element(DType dtype, void* data, long long index, float value) {
  store_elements(dtype, data, index, 1, &value);
}

}  // namespace fcsa::kernels
