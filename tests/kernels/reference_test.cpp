#include "kernels/reference/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/reference/elements.h"

namespace fcsa::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Small host tensors of one problem, f32 unless said otherwise; values are a smooth, irregular function of
// position.
struct Tensors {
  Problem problem;
  std::vector<unsigned char> q, k, v, mask, bias;
  std::vector<float> head_scale;

  explicit Tensors(const Problem& p) : problem(p) {
    q = drawn(p.batch * p.heads * p.nq, 1);
    k = drawn(p.batch * p.kv_heads * p.nk, 2);
    v = drawn(p.batch * p.kv_heads * p.nk, 3);
    mask.assign(static_cast<std::size_t>(p.batch * p.nk), 1);
  }

  std::vector<unsigned char> drawn(int rows, int kind) const {
    std::vector<unsigned char> data(
        static_cast<std::size_t>(rows * problem.head_dim * element_bytes(problem.dtype)));
    for (int i = 0; i < rows * problem.head_dim; ++i)
      store_element(problem.dtype, data.data(), i,
                    static_cast<float>(std::sin(0.37 * i * kind + kind) + 0.1 * kind));
    return data;
  }

  BackwardArgs args() const {
    BackwardArgs a = shape_args(problem);
    a.q = q.data();
    a.k = k.data();
    a.v = v.data();
    a.key_mask = mask.data();
    a.bias = bias.data();
    a.head_scale = head_scale.data();
    return a;
  }

  float* value_row(int head, int key) { return floats(v, (static_cast<long long>(head) * problem.nk + key)); }
  float* floats(std::vector<unsigned char>& tensor, long long row) const {
    return reinterpret_cast<float*>(tensor.data()) + row * problem.head_dim;
  }

  RowResults rows(const std::vector<RowIndex>& which) const {
    return reference_rows(traits_of(problem), args(), which);
  }
};

Problem one_head(int nq, int nk) {
  return {.dtype = DType::f32,
          .head_dim = 16,
          .batch = 1,
          .heads = 1,
          .kv_heads = 1,
          .nq = nq,
          .nk = nk,
          .logit_bound = {}};
}

double mean_of_values(Tensors& t, int keys, int channel) {
  double sum = 0;
  for (int j = 0; j < keys; ++j) sum += t.value_row(0, j)[channel];
  return sum / keys;
}

TEST(Reference, OfEqualKeysIsTheMeanOfTheValues) {
  Tensors t(one_head(3, 70));
  for (int j = 1; j < 70; ++j) std::copy(t.floats(t.k, 0), t.floats(t.k, 1), t.floats(t.k, j));
  const RowResults r = t.rows({{0, 0, 2}});
  for (int d = 0; d < 16; ++d) EXPECT_NEAR(r.o[static_cast<std::size_t>(d)], mean_of_values(t, 70, d), 1e-12);
}

TEST(Reference, AtScaleZeroIsTheMeanAndLseTheLogOfTheCount) {
  Problem p = one_head(3, 130);
  p.scale = 0;
  Tensors t(p);
  const RowResults r = t.rows({{0, 0, 1}});
  for (int d = 0; d < 16; ++d)
    EXPECT_NEAR(r.o[static_cast<std::size_t>(d)], mean_of_values(t, 130, d), 1e-12);
  EXPECT_NEAR(r.lse[0], std::log(130.0), 1e-12);
}

TEST(Reference, OfOneVisibleKeyIsItsValueAndLseItsLogit) {
  Problem p = one_head(2, 70);
  p.key_mask = true;
  Tensors t(p);
  std::fill(t.mask.begin(), t.mask.end(), 0);
  t.mask[66] = 1;
  const RowResults r = t.rows({{0, 0, 0}});
  for (int d = 0; d < 16; ++d) EXPECT_DOUBLE_EQ(r.o[static_cast<std::size_t>(d)], t.value_row(0, 66)[d]);
  double dot = 0, qq = 0, kk = 0;
  for (int d = 0; d < 16; ++d) {
    const double q = t.floats(t.q, 0)[d], k = t.floats(t.k, 66)[d];
    dot += q * k;
    qq += q * q;
    kk += k * k;
  }
  EXPECT_NEAR(r.lse[0], 8 * dot / std::sqrt(qq * kk), 1e-12);
}

TEST(Reference, FollowsTheFormulaForTwoKeys) {
  Tensors t(one_head(1, 2));
  const auto logit = [&](int key) {
    Tensors one(one_head(1, 1));
    one.q = t.q;
    std::copy(t.floats(t.k, key), t.floats(t.k, key) + 16, one.floats(one.k, 0));
    return one.rows({{0, 0, 0}}).lse[0];
  };
  const double a = std::exp(logit(0)), b = std::exp(logit(1));
  const RowResults r = t.rows({{0, 0, 0}});
  EXPECT_NEAR(r.lse[0], std::log(a + b), 1e-12);
  for (int d = 0; d < 16; ++d)
    EXPECT_NEAR(r.o[static_cast<std::size_t>(d)],
                (a * t.value_row(0, 0)[d] + b * t.value_row(0, 1)[d]) / (a + b), 1e-12);
}

// Number of keys that a row sees: at scale 0, lse is its logarithm.
double visible_keys(const Problem& p, int row) {
  return std::exp(Tensors(p).rows({{0, 0, row}}).lse[0]);
}

TEST(Reference, AlignsTheCausalMaskToTheBottomRight) {
  Problem p = one_head(3, 100);
  p.scale = 0;
  p.causal = true;
  EXPECT_NEAR(visible_keys(p, 0), 98, 1e-9);
  EXPECT_NEAR(visible_keys(p, 1), 99, 1e-9);
  EXPECT_NEAR(visible_keys(p, 2), 100, 1e-9);
  p.nq = 100;
  p.nk = 3;
  EXPECT_EQ(visible_keys(p, 96), 0);
  EXPECT_NEAR(visible_keys(p, 97), 1, 1e-9);
  EXPECT_NEAR(visible_keys(p, 99), 3, 1e-9);
}

TEST(Reference, OfARowThatSeesNoKeyIsZeroAndMinusInfinity) {
  Problem p = one_head(5, 2);
  p.causal = true;
  const RowResults r = Tensors(p).rows({{0, 0, 0}, {0, 0, 4}});
  for (std::size_t d = 0; d < 16; ++d) EXPECT_EQ(r.o[d], 0);
  EXPECT_EQ(r.lse[0], -kInfinity);
  EXPECT_TRUE(std::isfinite(r.lse[1]));
}

TEST(Reference, GivesGroupsOfQueryHeadsOneKeyHead) {
  Problem p = one_head(2, 3);
  p.heads = 6;
  p.kv_heads = 2;
  p.scale = 0;
  Tensors t(p);
  for (int head = 0; head < 2; ++head)
    for (int key = 0; key < 3; ++key)
      std::fill_n(t.value_row(head, key), 16, 10.0f * static_cast<float>(head));
  const RowResults r = t.rows({{0, 1, 0}, {0, 4, 0}, {0, 2, 1}, {0, 3, 1}});
  EXPECT_DOUBLE_EQ(r.o[0], 0);
  EXPECT_DOUBLE_EQ(r.o[16], 10);
  EXPECT_DOUBLE_EQ(r.o[32], 0);
  EXPECT_DOUBLE_EQ(r.o[48], 10);
}

TEST(Reference, ReadsBothLayoutsThroughTheStrides) {
  Problem p = one_head(2, 5);
  p.batch = p.heads = p.kv_heads = 2;
  Tensors bhnd(p);
  p.layout = Layout::bnhd;
  Tensors bnhd(p);
  const auto reorder = [](const Tensors& from, const std::vector<unsigned char>& data, int rows) {
    std::vector<unsigned char> to(data.size());
    for (int b = 0; b < 2; ++b)
      for (int h = 0; h < 2; ++h)
        for (int n = 0; n < rows; ++n)
          for (int d = 0; d < 16; ++d)
            store_element(DType::f32, to.data(), ((b * rows + n) * 2 + h) * 16 + d,
                          load_element(DType::f32, data.data(), ((b * 2 + h) * rows + n) * 16 + d));
    EXPECT_EQ(from.problem.layout, Layout::bhnd);
    return to;
  };
  bnhd.q = reorder(bhnd, bhnd.q, 2);
  bnhd.k = reorder(bhnd, bhnd.k, 5);
  bnhd.v = reorder(bhnd, bhnd.v, 5);
  EXPECT_EQ(bhnd.rows({{1, 0, 1}, {0, 1, 0}}).o, bnhd.rows({{1, 0, 1}, {0, 1, 0}}).o);
}

TEST(Reference, IgnoresTheLengthOfQueriesAndKeysUnlessRaw) {
  Tensors t(one_head(1, 4));
  const double before = t.rows({{0, 0, 0}}).lse[0];
  for (int d = 0; d < 16; ++d) {
    t.floats(t.q, 0)[d] *= 1024;
    t.floats(t.k, 2)[d] /= 512;
  }
  EXPECT_NEAR(t.rows({{0, 0, 0}}).lse[0], before, 1e-12);
  t.problem.l2norm_qk = false;
  EXPECT_GT(std::fabs(t.rows({{0, 0, 0}}).lse[0] - before), 1);
}

TEST(Reference, OfAZeroQueryIsTheMean) {
  Tensors t(one_head(1, 9));
  std::fill_n(t.floats(t.q, 0), 16, 0.0f);
  const RowResults r = t.rows({{0, 0, 0}});
  EXPECT_NEAR(r.o[5], mean_of_values(t, 9, 5), 1e-12);
}

TEST(Reference, NormalisesEveryGroupOfChannelsByItself) {
  Tensors t(one_head(1, 1));
  t.k = t.q;
  t.problem.groups = 4;
  EXPECT_NEAR(t.rows({{0, 0, 0}}).lse[0], 8 * 4, 1e-9);
  for (int d = 0; d < 4; ++d) t.floats(t.k, 0)[d] *= -100;
  EXPECT_NEAR(t.rows({{0, 0, 0}}).lse[0], 8 * 2, 1e-9);
}

TEST(Reference, AddsTheBiasOfTheBatchModuloItsOwn) {
  Problem p = one_head(2, 3);
  p.batch = 4;
  p.bias = Bias::f32;
  p.scale = 0;
  Tensors t(p);
  std::vector<float> bias(2 * 2 * 3);
  for (std::size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<float>(i);
  BackwardArgs args = t.args();
  args.bias = bias.data();
  args.bias_batch = 2;
  args.bias_strides = {6, 0, 3};
  const RowResults r = reference_rows(traits_of(p), args, std::vector<RowIndex>{{3, 0, 1}});
  EXPECT_NEAR(r.lse[0], std::log(std::exp(9.0) + std::exp(10.0) + std::exp(11.0)), 1e-12);
}

TEST(Reference, ReadsTheScaleOfTheHead) {
  Problem p = one_head(1, 1);
  p.heads = 2;
  p.head_scale = true;
  Tensors t(p);
  t.q.resize(64);
  t.q.insert(t.q.end(), t.q.begin(), t.q.end());
  t.head_scale = {3, 5};
  const RowResults r = t.rows({{0, 0, 0}, {0, 1, 0}});
  EXPECT_NEAR(r.lse[0] / 3, r.lse[1] / 5, 1e-12);
}

TEST(Reference, GivesRowsInTheOrderAskedForHoweverManyThereAre) {
  Problem p = one_head(50, 200);
  p.heads = 4;
  p.kv_heads = 2;
  p.batch = 2;
  p.causal = true;
  const Tensors t(p);
  std::vector<RowIndex> rows;
  for (int i = 0; i < 400; ++i) rows.push_back({i * 7 % 2, i * 5 % 4, i * 37 % 50});
  const RowResults together = t.rows(rows);
  for (const std::size_t i : {0u, 17u, 211u, 399u}) {
    const RowResults alone = t.rows({rows[i]});
    EXPECT_EQ(together.lse[i], alone.lse[0]);
    EXPECT_EQ(std::vector(together.o.begin() + static_cast<std::ptrdiff_t>(i * 16),
                          together.o.begin() + static_cast<std::ptrdiff_t>(i * 16 + 16)),
              alone.o);
  }
}

// Of queries and keys that are so many times as long.
double plain_error(DType dtype, float longer = 1) {
  Problem p = one_head(20, 300);
  p.dtype = dtype;
  Tensors t(p);
  for (auto* tensor : {&t.q, &t.k})
    for (long long i = 0; i < static_cast<long long>(tensor->size()) / element_bytes(dtype); ++i)
      store_element(dtype, tensor->data(), i, longer * load_element(dtype, tensor->data(), i));
  std::vector<RowIndex> rows;
  for (int i = 0; i < p.nq; ++i) rows.push_back({0, 0, i});
  const RowResults exact = t.rows(rows), plain = plain_rows(traits_of(p), t.args(), rows);
  double squares = 0, off = 0;
  for (std::size_t i = 0; i < exact.o.size(); ++i) {
    squares += exact.o[i] * exact.o[i];
    off += std::pow(plain.o[i] - exact.o[i], 2);
  }
  return std::sqrt(off / squares);
}

TEST(PlainRows, HaveTheErrorOfTheirDtype) {
  EXPECT_GT(plain_error(DType::f32), 1e-9);
  EXPECT_LT(plain_error(DType::f32), 2e-6);
  EXPECT_GT(plain_error(DType::f16), 5e-5);
  EXPECT_LT(plain_error(DType::f16), 2e-3);
  EXPECT_GT(plain_error(DType::bf16), 4e-4);
  EXPECT_LT(plain_error(DType::bf16), 2e-2);
}

TEST(PlainRows, AreRightWhereNoFloatHoldsTheSquares) {
  EXPECT_LT(plain_error(DType::f32, 1e20f), 2e-6);
  EXPECT_LT(plain_error(DType::bf16, 1e20f), 2e-2);
}

TEST(PlainRows, AgreeThatARowThatSeesNoKeyIsZero) {
  Problem p = one_head(5, 2);
  p.causal = true;
  const Tensors t(p);
  const RowResults r = plain_rows(traits_of(p), t.args(), std::vector<RowIndex>{{0, 0, 0}});
  EXPECT_EQ(r.o[3], 0);
  EXPECT_EQ(r.lse[0], -kInfinity);
}

TEST(Elements, OfEveryF16AndBf16ValueSurviveTheRoundTrip) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const auto stored = static_cast<std::uint16_t>(bits);
    if (!std::isnan(float_from_f16(stored))) {
      EXPECT_EQ(f16_from_float(float_from_f16(stored)), stored);
    }
    if (!std::isnan(float_from_bf16(stored))) {
      EXPECT_EQ(bf16_from_float(float_from_bf16(stored)), stored);
    }
  }
}

TEST(Elements, RoundToNearestEven) {
  EXPECT_EQ(rounded_to(DType::f16, 1 + 0x1p-11f), 1.0f);
  EXPECT_EQ(rounded_to(DType::f16, 1 + 3 * 0x1p-11f), 1 + 0x1p-9f);
  EXPECT_EQ(rounded_to(DType::f16, 1 + 0x1.1p-11f), 1 + 0x1p-10f);
  EXPECT_EQ(rounded_to(DType::f16, 0x1p-25f), 0.0f);
  EXPECT_EQ(rounded_to(DType::f16, 3 * 0x1p-25f), 0x1p-23f);
  EXPECT_EQ(rounded_to(DType::bf16, 1 + 0x1p-8f), 1.0f);
  EXPECT_EQ(rounded_to(DType::bf16, 1 + 3 * 0x1p-8f), 1 + 0x1p-6f);
}

TEST(Elements, KnowTheEndsOfF16) {
  EXPECT_EQ(float_from_f16(0x7bff), 65504.0f);
  EXPECT_EQ(float_from_f16(0x0001), 0x1p-24f);
  EXPECT_EQ(float_from_f16(0x8400), -0x1p-14f);
  EXPECT_EQ(f16_from_float(65519.0f), 0x7bff);
  EXPECT_EQ(f16_from_float(65520.0f), 0x7c00);
  EXPECT_EQ(f16_from_float(-1e30f), 0xfc00);
  EXPECT_TRUE(std::isinf(float_from_f16(0x7c00)));
  EXPECT_TRUE(std::isnan(float_from_f16(f16_from_float(std::nanf("")))));
  EXPECT_TRUE(std::isnan(float_from_bf16(bf16_from_float(std::nanf("")))));
}

}  // namespace
}  // namespace fcsa::kernels
