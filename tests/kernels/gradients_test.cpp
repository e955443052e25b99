#include "kernels/reference/gradients.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include "kernels/reference/elements.h"

namespace fcsa::kernels {
namespace {

using Values = std::vector<double>;

// Inputs of a backward problem as numbers, dense in bhnd order, and as stored.
struct Case {
  Problem problem;
  BackwardArgs shape;
  Values q, k, v, dout, bias, scale;
  std::vector<unsigned char> mask;
  std::vector<std::vector<unsigned char>> stored;
  std::vector<float> head_scale, lse;
  std::mt19937_64 random{7};

  explicit Case(const Problem& p) : problem(p), shape(shape_args(p)) {
    q = dout = Values(static_cast<std::size_t>(p.batch * p.heads * p.nq * p.head_dim));
    k = v = Values(static_cast<std::size_t>(p.batch * p.kv_heads * p.nk * p.head_dim));
    for (Values* tensor : {&q, &k, &v, &dout}) draw(*tensor, p.dtype);
    bias = Values(static_cast<std::size_t>(shape.bias_batch * shape.bias_heads * p.nq * p.nk));
    draw(bias, bias_dtype());
    for (int h = 0; h < p.heads; ++h) scale.push_back(p.head_scale ? 2 + 0.5 * h : double{p.scale});
    for (int i = 0; i < p.batch * p.nk; ++i) mask.push_back(p.key_mask && random() % 3 == 0 ? 0 : 1);
  }

  DType bias_dtype() const { return problem.bias == Bias::same ? problem.dtype : DType::f32; }

  void draw(Values& tensor, DType dtype) {
    std::normal_distribution<float> normal;
    for (double& x : tensor) x = rounded_to(dtype, normal(random));
  }

  // Host arguments for the tensors as they are now; o and lse null.
  BackwardArgs args() {
    stored.clear();
    const auto store = [&](const Values& values, DType dtype) {
      stored.emplace_back(values.size() * 4);
      for (std::size_t i = 0; i < values.size(); ++i)
        store_element(dtype, stored.back().data(), static_cast<long long>(i), static_cast<float>(values[i]));
      return stored.back().data();
    };
    BackwardArgs args = shape;
    args.q = store(q, problem.dtype);
    args.k = store(k, problem.dtype);
    args.v = store(v, problem.dtype);
    args.dout = store(dout, problem.dtype);
    args.bias = store(bias, bias_dtype());
    args.key_mask = mask.data();
    head_scale.assign(scale.begin(), scale.end());
    args.head_scale = head_scale.data();
    return args;
  }
};

// One row of q or k, every group of channels over its norm.
Values normalised(const Case& c, const Values& tensor, std::size_t row) {
  const auto dim = static_cast<std::size_t>(c.problem.head_dim),
             width = dim / static_cast<std::size_t>(c.problem.groups);
  Values x(&tensor[row * dim], &tensor[row * dim] + dim);
  for (std::size_t g = 0; c.problem.l2norm_qk && g < dim; g += width) {
    const double norm = std::sqrt(std::inner_product(&x[g], &x[g] + width, &x[g], 0.0));
    for (std::size_t d = g; d < g + width; ++d) x[d] /= std::max(norm, double{c.shape.eps});
  }
  return x;
}

// sum of dout * o, straight from the definition of attention.
double loss(const Case& c) {
  const Problem& p = c.problem;
  const auto dim = static_cast<std::size_t>(p.head_dim);
  double total = 0;
  for (int b = 0; b < p.batch; ++b)
    for (int h = 0; h < p.heads; ++h) {
      const int kv_row = (b * p.kv_heads + h / (p.heads / p.kv_heads)) * p.nk;
      std::vector<Values> keys;
      for (int j = 0; j < p.nk; ++j) keys.push_back(normalised(c, c.k, static_cast<std::size_t>(kv_row + j)));
      for (int i = 0; i < p.nq; ++i) {
        const auto row = static_cast<std::size_t>((b * p.heads + h) * p.nq + i);
        const Values query = normalised(c, c.q, row);
        double sum = 0, weighted = 0;
        for (int j = 0; j < p.nk; ++j) {
          if ((p.causal && j > i + p.nk - p.nq) || c.mask[static_cast<std::size_t>(b * p.nk + j)] == 0)
            continue;
          const Values& key = keys[static_cast<std::size_t>(j)];
          double s = c.scale[static_cast<std::size_t>(h)] *
                     std::inner_product(query.begin(), query.end(), key.begin(), 0.0);
          const int bias_row =
              (b % c.shape.bias_batch * c.shape.bias_heads + (c.shape.bias_heads == 1 ? 0 : h)) * p.nq + i;
          if (p.bias != Bias::none) s += c.bias[static_cast<std::size_t>(bias_row * p.nk + j)];
          const double* value = &c.v[static_cast<std::size_t>(kv_row + j) * dim];
          sum += std::exp(s);
          weighted += std::exp(s) * std::inner_product(value, value + dim, &c.dout[row * dim], 0.0);
        }
        if (sum > 0) total += weighted / sum;
      }
    }
  return total;
}

std::vector<RowIndex> all_rows(int batch, int heads, int rows) {
  std::vector<RowIndex> list;
  for (int b = 0; b < batch; ++b)
    for (int h = 0; h < heads; ++h)
      for (int n = 0; n < rows; ++n) list.push_back({b, h, n});
  return list;
}

GradientRows everything(const Case& c) {
  const Problem& p = c.problem;
  return {.queries = all_rows(p.batch, p.heads, p.nq),
          .keys = all_rows(p.batch, p.kv_heads, p.nk),
          .bias = p.bias == Bias::none ? std::vector<RowIndex>{}
                                       : all_rows(c.shape.bias_batch, c.shape.bias_heads, p.nq),
          .scale = true};
}

Gradients exact(Case& c) {
  const Traits traits = traits_of(c.problem);
  const BackwardArgs args = c.args();
  return reference_gradients(traits, args, exact_sums(traits, args), everything(c));
}

// Central differences of the loss for about `count` of the numbers of a tensor.
void expect_derivatives(Case& c, Values& tensor, const Values& gradient, std::size_t count,
                        const char* name) {
  ASSERT_EQ(tensor.size(), gradient.size()) << name;
  const std::size_t step = std::max<std::size_t>(1, tensor.size() / count);
  for (std::size_t i = c.random() % step; i < tensor.size(); i += step) {
    const double x = tensor[i], h = 1e-4;
    tensor[i] = x + h;
    const double above = loss(c);
    tensor[i] = x - h;
    const double below = loss(c);
    tensor[i] = x;
    EXPECT_NEAR(gradient[i], (above - below) / (2 * h), 2e-6 * (1 + std::fabs(gradient[i])))
        << name << " " << i;
  }
}

void expect_all_derivatives(Case& c) {
  const Gradients g = exact(c);
  expect_derivatives(c, c.q, g.dq, 60, "q");
  expect_derivatives(c, c.k, g.dk, 60, "k");
  expect_derivatives(c, c.v, g.dv, 60, "v");
  expect_derivatives(c, c.scale, g.dscale, 60, "scale");
  if (c.problem.bias != Bias::none) expect_derivatives(c, c.bias, g.dbias, 60, "bias");
}

Problem small(int nq, int nk) {
  return {.op = Op::backward,
          .head_dim = 16,
          .batch = 2,
          .heads = 4,
          .kv_heads = 2,
          .nq = nq,
          .nk = nk,
          .scale = 3.0f,
          .logit_bound = {}};
}

void expect_derivatives_of(const Problem& p) {
  Case c(p);
  expect_all_derivatives(c);
}

TEST(Gradients, AreTheDerivatives) {
  expect_derivatives_of(small(7, 9));
}

TEST(Gradients, AreTheDerivativesOfManyRows) {
  Problem p = small(70, 140);
  p.batch = 1;
  expect_derivatives_of(p);
  p.causal = true;
  expect_derivatives_of(p);
}

TEST(Gradients, AreTheDerivativesOfCausalProblemsOfAnyLengths) {
  for (const auto& [nq, nk] : {std::pair(7, 7), std::pair(4, 9), std::pair(9, 4)}) {
    Problem p = small(nq, nk);
    p.causal = true;
    expect_derivatives_of(p);
  }
}

TEST(Gradients, AreTheDerivativesUnderAMask) {
  Problem p = small(5, 9);
  p.key_mask = true;
  expect_derivatives_of(p);
}

TEST(Gradients, AreTheDerivativesOfGroups) {
  Problem p = small(5, 6);
  p.groups = 4;
  expect_derivatives_of(p);
}

TEST(Gradients, AreTheDerivativesWithABiasAndWhatSharesIt) {
  for (const int batch : {0, 1, 2})
    for (const int heads : {0, 1}) {
      Problem p = small(5, 6);
      p.batch = 4;
      p.bias = Bias::f32;
      p.bias_batch = batch;
      p.bias_heads = heads;
      expect_derivatives_of(p);
    }
}

TEST(Gradients, AreTheDerivativesWithAScalePerHead) {
  Problem p = small(5, 6);
  p.head_scale = true;
  expect_derivatives_of(p);
}

TEST(Gradients, AreTheDerivativesOfRawQueriesAndKeys) {
  Problem p = small(5, 6);
  p.l2norm_qk = false;
  p.scale = 0.25f;
  expect_derivatives_of(p);
}

TEST(Gradients, AreTheDerivativesOfTensorsOf16Bits) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    Problem p = small(5, 6);
    p.dtype = dtype;
    p.bias = Bias::same;
    expect_derivatives_of(p);
  }
}

TEST(Gradients, OfZeroVectorsAreZeroAndOfTheOthersTheDerivatives) {
  Case c(small(5, 6));
  std::fill_n(c.q.begin() + 16, 16, 0.0);
  std::fill_n(c.k.begin() + 32, 16, 1e-14);  // a norm under eps
  const Gradients g = exact(c);
  for (std::size_t d = 0; d < 16; ++d) {
    EXPECT_EQ(g.dq[16 + d], 0);
    EXPECT_EQ(g.dk[32 + d], 0);
  }
  EXPECT_EQ(g.query_norms[1], 0);
  EXPECT_GT(g.query_norms[2], 1);
  expect_derivatives(c, c.v, g.dv, 60, "v");
  EXPECT_EQ(std::count(g.dq.begin(), g.dq.end(), 0), 16);
}

TEST(Gradients, OfRowsThatSeeNothingAreZeroAndHaveNoSize) {
  Problem p = small(9, 4);
  p.causal = true;
  p.key_mask = true;
  Case c(p);
  for (int b = 0; b < 2; ++b) c.mask[static_cast<std::size_t>(b * 4 + 1)] = 0;
  const Gradients g = exact(c);
  for (std::size_t d = 0; d < 16; ++d) {
    EXPECT_EQ(g.dq[4 * 16 + d], 0);
    EXPECT_EQ(g.dk[16 + d], 0);
    EXPECT_EQ(g.dv[16 + d], 0);
  }
  EXPECT_EQ(g.dq_size[4], 0);
  EXPECT_GT(g.dq_size[8], 0);
  EXPECT_EQ(g.dk_size[1], 0);
  EXPECT_EQ(g.dv_size[1], 0);
}

TEST(Gradients, OfARowWhoseBiasIsMinusInfinityEverywhereAreZero) {
  Problem p = small(9, 4);
  p.bias = Bias::f32;
  Case c(p);
  for (std::size_t row = 4; row < c.bias.size() / 4; row += 9)
    std::fill_n(c.bias.begin() + static_cast<std::ptrdiff_t>(4 * row), 4, -HUGE_VAL);
  const Gradients g = exact(c);
  for (std::size_t d = 0; d < 16; ++d) EXPECT_EQ(g.dq[4 * 16 + d], 0);
  for (const double x : g.dk) EXPECT_TRUE(std::isfinite(x));
  EXPECT_EQ(g.dq_size[4], 0);
  EXPECT_GT(g.dq_size[3], 0);
}

TEST(Gradients, OfARowWithOneKeyHaveASizeThoughTheyCancel) {
  Case c(small(3, 1));
  const Gradients g = exact(c);
  EXPECT_NEAR(g.dq[5], 0, 1e-14);
  EXPECT_GT(g.dq_size[0], 1);
}

TEST(Gradients, OfSomeRowsAreThoseOfAll) {
  Problem p = small(40, 50);
  p.bias = Bias::f32;
  p.bias_batch = 1;
  Case c(p);
  const Traits traits = traits_of(p);
  const BackwardArgs args = c.args();
  const RowSums sums = exact_sums(traits, args);
  const Gradients all = reference_gradients(traits, args, sums, everything(c));
  const Gradients some = reference_gradients(
      traits, args, sums, {.queries = {{1, 3, 7}, {0, 2, 39}}, .keys = {{1, 1, 49}}, .bias = {{0, 3, 2}}});
  const auto same = [](const Values& a, std::size_t row, const Values& b, std::size_t other,
                       std::size_t width) {
    return std::equal(&a[row * width], &a[row * width] + width, &b[other * width]);
  };
  EXPECT_TRUE(same(some.dq, 0, all.dq, (1 * 4 + 3) * 40 + 7, 16));
  EXPECT_TRUE(same(some.dq, 1, all.dq, (0 * 4 + 2) * 40 + 39, 16));
  EXPECT_TRUE(same(some.dk, 0, all.dk, (1 * 2 + 1) * 50 + 49, 16));
  EXPECT_TRUE(same(some.dv, 0, all.dv, (1 * 2 + 1) * 50 + 49, 16));
  EXPECT_TRUE(same(some.dbias, 0, all.dbias, 3 * 40 + 2, 50));
  EXPECT_EQ(some.dq_size[1], all.dq_size[2 * 40 + 39]);
  EXPECT_TRUE(some.dscale.empty());
  EXPECT_THROW(reference_gradients(traits, args, sums, {.queries = {{0, 0, 0}}, .scale = true}),
               std::invalid_argument);
}

// o and lse of the forward pass in the dtype, for args.
std::vector<unsigned char> forward(Case& c, BackwardArgs& args) {
  const std::vector<RowIndex> rows = all_rows(args.batch, args.heads, args.nq);
  const RowResults exact = reference_rows(traits_of(c.problem), args, rows);
  std::vector<unsigned char> o(exact.o.size() * 4);
  for (std::size_t i = 0; i < exact.o.size(); ++i)
    store_element(c.problem.dtype, o.data(), static_cast<long long>(i), static_cast<float>(exact.o[i]));
  c.lse.assign(exact.lse.begin(), exact.lse.end());
  args.o = o.data();
  args.lse = c.lse.data();
  return o;
}

TEST(Gradients, FollowFromTheOutputOfTheForwardPassAsFromAnExactOne) {
  Case c(small(20, 30));
  BackwardArgs args = c.args();
  const std::vector<unsigned char> o = forward(c, args);
  const RowSums given = given_sums(traits_of(c.problem), args),
                exactly = exact_sums(traits_of(c.problem), args);
  for (std::size_t i = 0; i < given.lse.size(); ++i) {
    EXPECT_NEAR(given.lse[i], exactly.lse[i], 1e-6);
    EXPECT_NEAR(given.delta[i], exactly.delta[i], 1e-5);
  }
}

double off(const Values& a, const Values& b) {
  double squares = 0, off = 0;
  for (std::size_t i = 0; i < a.size(); ++i) squares += a[i] * a[i], off += std::pow(a[i] - b[i], 2);
  return std::sqrt(off / squares);
}

struct Range {
  double least, most;
};

void expect_error(DType dtype, bool tf32, const Range& range) {
  Problem p = small(50, 300);
  p.dtype = dtype;
  p.allow_tf32 = tf32;
  p.scale = 8;
  p.bias = Bias::same;
  Case c(p);
  const Gradients expected = exact(c);
  BackwardArgs args = c.args();
  const std::vector<unsigned char> o = forward(c, args);
  const Gradients plain = plain_gradients(traits_of(p), args, everything(c));
  for (const double error : {off(expected.dq, plain.dq), off(expected.dk, plain.dk),
                             off(expected.dv, plain.dv), off(expected.dbias, plain.dbias)}) {
    EXPECT_GT(error, range.least);
    EXPECT_LT(error, range.most);
  }
  // Its terms cancel, so roundoff is relative to them.
  for (std::size_t h = 0; h < 4; ++h)
    EXPECT_LT(std::fabs(expected.dscale[h] - plain.dscale[h]), range.most * expected.dscale_size[h]);
}

TEST(PlainGradients, HaveTheErrorOfTheirDtype) {
  expect_error(DType::f32, false, {1e-9, 2e-6});
  expect_error(DType::f32, true, {1e-5, 2e-3});
  expect_error(DType::f16, false, {1e-5, 2e-3});
  expect_error(DType::bf16, false, {1e-4, 2e-2});
}

TEST(PlainGradients, AreRightWhereNoFloatHoldsTheSquares) {
  Case c(small(50, 300));
  for (double& x : c.q) x *= 1e20;
  for (double& x : c.k) x *= 1e20;
  BackwardArgs args = c.args();
  const std::vector<unsigned char> o = forward(c, args);
  const Gradients expected = reference_gradients(traits_of(c.problem), args,
                                                 given_sums(traits_of(c.problem), args), everything(c)),
                  plain = plain_gradients(traits_of(c.problem), args, everything(c));
  EXPECT_LT(off(expected.dq, plain.dq), 2e-6);
  EXPECT_LT(off(expected.dk, plain.dk), 2e-6);
  EXPECT_LT(off(expected.dv, plain.dv), 2e-6);
}

TEST(PlainGradients, AreZeroWhereNothingIsSeen) {
  Problem p = small(9, 4);
  p.causal = true;
  p.dtype = DType::bf16;
  Case c(p);
  BackwardArgs args = c.args();
  const std::vector<unsigned char> o = forward(c, args);
  const Gradients g = plain_gradients(traits_of(p), args, everything(c));
  for (std::size_t d = 0; d < 5 * 16; ++d) EXPECT_EQ(g.dq[d], 0);
  EXPECT_NE(g.dq[8 * 16], 0);
}

}  // namespace
}  // namespace fcsa::kernels
