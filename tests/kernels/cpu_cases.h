// Problems with data for the tests of the cpu family: runs kernels on them and compares with the fp64
// reference.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/config.h"
#include "kernels/cpu/parallel.h"
#include "kernels/problem.h"
#include "kernels/reference/reference.h"

namespace fcsa::kernels::cpu_cases {

struct Values {
  float magnitude = 1.0f;
  float bias_magnitude = 2.0f;  // of the largest
  bool infinite_bias = false;   // minus infinity at every third key, and everywhere in every fourth row
  float alignment = 0.0f;       // unless 0: every row of q is one vector, every row of k this multiple of it
  bool zero_rows = false;       // every fifth row of q and k
  bool dominant_key = false;    // the last key of every head points along the first query
  bool hide_leading = false;    // the mask hides the first half of the keys too
  bool poison =
      false;  // no numbers in k and v of keys that nobody sees, in q (and dout) of rows that see none
};

// Aligned storage with a guard behind it, filled with a NaN pattern.
class Storage {
 public:
  explicit Storage(std::size_t bytes) : words_(bytes / 8 + 2 * kPad, kGuard), bytes_(bytes) {
    const auto address = reinterpret_cast<std::uintptr_t>(words_.data());
    start_ = reinterpret_cast<unsigned char*>((address + 255) / 256 * 256);
  }
  void* data() { return start_; }
  std::size_t bytes() const { return bytes_; }
  bool guard_is_intact() const {
    const auto* end = reinterpret_cast<const unsigned char*>(words_.data() + words_.size());
    for (const unsigned char* p = start_ + bytes_; p < end; ++p)
      if (*p != 0xff) return false;
    return true;
  }

 private:
  static constexpr std::uint64_t kGuard = ~std::uint64_t{0};
  static constexpr std::size_t kPad = 64;
  std::vector<std::uint64_t> words_;
  unsigned char* start_ = nullptr;
  std::size_t bytes_ = 0;
};

class Case {
 public:
  explicit Case(const Problem& problem, const Values& values = {})
      : problem_(problem),
        q_(bytes_of(problem.heads, problem.nq)),
        k_(bytes_of(problem.kv_heads, problem.nk)),
        v_(bytes_of(problem.kv_heads, problem.nk)),
        mask_(static_cast<std::size_t>(problem.batch) * problem.nk) {
    std::mt19937 random(7);
    fill(q_, rows(problem.heads, problem.nq), random, values);
    fill(k_, rows(problem.kv_heads, problem.nk), random, values);
    fill(v_, rows(problem.kv_heads, problem.nk), random, Values{});
    if (values.dominant_key) copy_query_to_last_key();
    if (values.alignment != 0.0f) align(values.alignment);
    for (std::size_t i = 0; i < mask_.size(); ++i) {
      const std::size_t key = i % static_cast<std::size_t>(problem.nk);
      const bool hidden = values.hide_leading && key < static_cast<std::size_t>(problem.nk) / 2;
      mask_[i] = !hidden && random() % 4 != 0 ? 1 + random() % 200 : 0;
    }
    if (problem.bias != Bias::none) fill_bias(random, values);
    if (values.poison) poison_unseen();
    for (int h = 0; h < problem.heads; ++h)
      head_scale_.push_back(problem.scale * (h % 2 == 0 ? 1.0f : -0.5f) / static_cast<float>(1 + h / 2));
  }

  // Runs the functions with the plan and compares every row of o and lse.
  void check(const LaunchPlan& plan, const std::vector<cpu::TaskFunction>& functions) {
    BackwardArgs args = inputs();
    Storage o(bytes_of(problem_.heads, problem_.nq)), lse(rows(problem_.heads, problem_.nq) * 4);
    Storage workspace(static_cast<std::size_t>(plan.workspace_bytes));
    args.o = o.data(), args.lse = static_cast<float*>(lse.data()), args.workspace = workspace.data();
    cpu::ThreadPool pool(2);
    cpu::run_plan(pool, plan, args, functions.data());
    EXPECT_TRUE(o.guard_is_intact()) << to_text(problem_);
    EXPECT_TRUE(lse.guard_is_intact()) << to_text(problem_);
    EXPECT_TRUE(workspace.guard_is_intact()) << to_text(problem_);
    compare(args);
  }

 protected:
  BackwardArgs inputs() {
    BackwardArgs args = shape_args(problem_);
    args.q = q_.data(), args.k = k_.data(), args.v = v_.data();
    args.key_mask = problem_.key_mask ? mask_.data() : nullptr;
    args.bias = problem_.bias != Bias::none ? bias_.data() : nullptr;
    args.head_scale = problem_.head_scale ? head_scale_.data() : nullptr;
    return args;
  }

  std::size_t rows(int heads, int n) const { return static_cast<std::size_t>(problem_.batch) * heads * n; }
  std::size_t bytes_of(int heads, int n) const {
    return rows(heads, n) * problem_.head_dim * element_bytes(problem_.dtype);
  }

  void fill(std::vector<unsigned char>& tensor, std::size_t row_count, std::mt19937& random,
            const Values& values) const {
    std::normal_distribution<float> normal;
    for (std::size_t row = 0; row < row_count; ++row) {
      const float factor = values.zero_rows && row % 5 == 2 ? 0.0f : values.magnitude;
      for (int d = 0; d < problem_.head_dim; ++d)
        store_element(problem_.dtype, tensor.data(), static_cast<long long>(row) * problem_.head_dim + d,
                      factor * normal(random));
    }
  }

  // Rows that see no key for the masks' sake: infinities and NaN.
  void poison_blind_rows(std::vector<unsigned char>& tensor) const {
    const long long nq = problem_.nq, nk = problem_.nk;
    const Strides s = shape_args(problem_).q_strides;
    for (int b = 0; b < problem_.batch; ++b)
      for (long long i = 0; i < nq; ++i) {
        const long long limit = problem_.causal ? std::clamp(i + nk - nq + 1, 0LL, nk) : nk;
        bool blind = true;
        for (long long j = 0; j < limit; ++j) blind = blind && problem_.key_mask && !mask_[b * nk + j];
        for (int h = 0; blind && h < problem_.heads; ++h)
          poison_row(tensor, b * s.batch + h * s.head + i * s.row);
      }
  }

  Problem problem_;

 private:
  void poison_row(std::vector<unsigned char>& tensor, long long first) const {
    for (int d = 0; d < problem_.head_dim; ++d)
      store_element(problem_.dtype, tensor.data(), first + d, d % 3 == 0 ? INFINITY : NAN);
  }

  void poison_unseen() {
    const Strides s = shape_args(problem_).k_strides;
    for (int b = 0; b < problem_.batch; ++b)
      for (int h = 0; problem_.key_mask && h < problem_.kv_heads; ++h)
        for (long long j = 0; j < problem_.nk; ++j) {
          if (mask_[b * static_cast<long long>(problem_.nk) + j]) continue;
          poison_row(k_, b * s.batch + h * s.head + j * s.row);
          poison_row(v_, b * s.batch + h * s.head + j * s.row);
        }
    poison_blind_rows(q_);
  }

  void align(float multiple) {
    const auto elements = [&](int heads, int n) {
      return static_cast<long long>(rows(heads, n)) * problem_.head_dim;
    };
    const auto value = [&](long long i) { return i % problem_.head_dim % 2 == 0 ? 1.0f : -1.0f; };
    for (long long i = 0; i < elements(problem_.heads, problem_.nq); ++i)
      store_element(problem_.dtype, q_.data(), i, value(i));
    for (long long i = 0; i < elements(problem_.kv_heads, problem_.nk); ++i)
      store_element(problem_.dtype, k_.data(), i, multiple * value(i));
  }

  // Not a number where no query can see the key: such a pair must not matter.
  void fill_bias(std::mt19937& random, const Values& values) {
    const BackwardArgs args = shape_args(problem_);
    const DType dtype = problem_.bias == Bias::same ? problem_.dtype : DType::f32;
    const long long nq = problem_.nq, nk = problem_.nk;
    const long long count = nq * nk * args.bias_batch * args.bias_heads;
    bias_.resize(static_cast<std::size_t>(count * element_bytes(dtype)));
    std::uniform_real_distribution<float> uniform(-values.bias_magnitude, values.bias_magnitude);
    for (long long i = 0; i < count; ++i) {
      const long long key = i % nk, row = i / nk % nq, batch = i / (nk * nq * args.bias_heads);
      const bool masked = problem_.key_mask && args.bias_batch == problem_.batch && !mask_[batch * nk + key];
      float value = uniform(random);
      if (values.infinite_bias && (key % 3 == 0 || row % 4 == 0)) value = -INFINITY;
      if (masked || (problem_.causal && key > row + nk - nq)) value = NAN;
      store_element(dtype, bias_.data(), i, value);
    }
  }

  void copy_query_to_last_key() {
    const BackwardArgs args = shape_args(problem_);
    const int bytes = element_bytes(problem_.dtype), row_bytes = problem_.head_dim * bytes;
    for (int b = 0; b < problem_.batch; ++b)
      for (int h = 0; h < problem_.kv_heads; ++h) {
        const int query_head = h * (problem_.heads / problem_.kv_heads);
        const auto& s = args.k_strides;
        const long long to = (b * s.batch + h * s.head + (problem_.nk - 1) * s.row) * bytes;
        const long long from = (b * args.q_strides.batch + query_head * args.q_strides.head) * bytes;
        std::memcpy(k_.data() + to, q_.data() + from, static_cast<std::size_t>(row_bytes));
      }
  }

  void compare(const Args& args) const {
    const Traits traits = traits_of(problem_);
    std::vector<RowIndex> indices;
    for (int b = 0; b < problem_.batch; ++b)
      for (int h = 0; h < problem_.heads; ++h)
        for (int i = 0; i < problem_.nq; ++i) indices.push_back({b, h, i});
    const RowResults expected = reference_rows(traits, args, indices);
    const RowResults plain = plain_rows(traits, args, indices);
    double largest = 0;
    for (const double lse : expected.lse)
      if (std::isfinite(lse)) largest = std::max(largest, std::fabs(lse));
    // Base 2 costs a rounding of every logit.
    const double allowed = 2 * worst_error(plain.o, expected.o) + 2e-6 + 1e-7 * largest;
    std::vector<double> actual;
    for (const auto& [b, h, i] : indices)
      for (int d = 0; d < problem_.head_dim; ++d) {
        const auto& s = args.o_strides;
        actual.push_back(load_element(problem_.dtype, args.o, b * s.batch + h * s.head + i * s.row + d));
      }
    EXPECT_LE(worst_error(actual, expected.o), allowed) << to_text(problem_);
    for (std::size_t r = 0; r < indices.size(); ++r) expect_lse(args.lse[r], expected.lse[r], plain.lse[r]);
  }

  void expect_lse(double actual, double expected, double plain) const {
    if (std::isinf(expected)) {
      EXPECT_EQ(actual, expected) << to_text(problem_);
      return;
    }
    const double allowed = 2 * std::fabs(plain - expected) + 2e-6 * (1 + std::fabs(expected));
    EXPECT_NEAR(actual, expected, allowed) << to_text(problem_);
  }

  // Infinite when anything is not a number.
  double worst_error(const std::vector<double>& actual, const std::vector<double>& expected) const {
    const std::size_t dim = static_cast<std::size_t>(problem_.head_dim), count = expected.size() / dim;
    double total = 0, worst = 0;
    for (const double x : expected) total += x * x;
    const double rms = std::sqrt(total / static_cast<double>(count)) + 1e-30;
    for (std::size_t r = 0; r < count; ++r) {
      double difference = 0, norm = 0;
      for (std::size_t d = r * dim; d < (r + 1) * dim; ++d) {
        difference += (actual[d] - expected[d]) * (actual[d] - expected[d]);
        norm += expected[d] * expected[d];
      }
      const double error = std::sqrt(difference) / std::max(std::sqrt(norm), rms);
      if (!(error < std::numeric_limits<double>::infinity())) return std::numeric_limits<double>::infinity();
      worst = std::max(worst, error);
    }
    return worst;
  }

  std::vector<unsigned char> q_, k_, v_, mask_, bias_;
  std::vector<float> head_scale_;
};

// Lengths at the edges of tiles and far from them, Nq != Nk both ways, grouped heads, layouts, kinds of
// values.
struct Variation {
  int nq, nk;
  int batch = 1, heads = 1, kv_heads = 1;
  Layout layout = Layout::bhnd;
  Values values = {};
  int bias_batch = 0, bias_heads = 0;  // where the problem has a bias
};

inline std::vector<Variation> variations() {
  return {{1, 1},
          {1, 70},
          {7, 3},
          {97, 131, 2, 4, 2, Layout::bnhd},
          {33, 45, 4, 2, 1, Layout::bhnd, {}, 2, 2},
          {20, 60, 2, 2, 2, Layout::bhnd, {}, 0, 1},
          {200, 129, 1, 2, 1},
          {130, 300, 1, 2, 2, Layout::bnhd, {.hide_leading = true}},
          {96, 128, 1, 1, 1, Layout::bhnd, {.dominant_key = true}},
          {50, 257, 1, 1, 1, Layout::bhnd, {.magnitude = 1e-3f}},
          {65, 127, 1, 3, 1, Layout::bhnd, {.magnitude = 1e3f}},
          {40, 40, 2, 1, 1, Layout::bhnd, {.zero_rows = true}}};
}

inline Problem with_shape(Problem problem, const Variation& v) {
  problem.nq = v.nq, problem.nk = v.nk;
  problem.batch = v.batch, problem.heads = v.heads, problem.kv_heads = v.kv_heads;
  problem.layout = v.layout;
  if (problem.bias != Bias::none) problem.bias_batch = v.bias_batch, problem.bias_heads = v.bias_heads;
  return problem;
}

// Runs functions compiled for the traits of `problem` on every variation of its shape.
template <typename MakePlan>
void check_all(const Problem& problem, const std::vector<cpu::TaskFunction>& functions,
               const MakePlan& plan) {
  for (const Variation& v : variations()) {
    const Problem shaped = with_shape(problem, v);
    Case(shaped, v.values).check(plan(shape_args(shaped)), functions);
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace fcsa::kernels::cpu_cases
