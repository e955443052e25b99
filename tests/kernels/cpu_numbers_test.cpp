// Biases, scales and eps at the ends of what a float can be.
#include "cpu_backward_instances.h"

namespace fcsa::kernels {
namespace {

using namespace cpu_cases;

constexpr float kLargest = 3.4028235e38f;
constexpr Traits kBias{.head_dim = 16, .bias = Bias::f32, .softmax = kRunning};
constexpr Traits kScaled{.head_dim = 16, .softmax = kRunning};
constexpr Traits kFixed{.head_dim = 16};

// One head, f32; keys far enough apart that rounding of a product changes nothing.
struct Tensors {
  Problem problem;
  std::vector<float> q, k, v, o, lse, bias, dout, dq, dk, dv;
  float eps = 1e-12f;

  Tensors(Problem p, int nq, int nk) : problem(with_lengths(std::move(p), nq, nk)) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    const auto rows = static_cast<std::size_t>(nq), keys = static_cast<std::size_t>(nk);
    for (auto* tensor : {&q, &dout}) tensor->resize(rows * 16);
    for (auto* tensor : {&k, &v}) tensor->resize(keys * 16);
    for (auto* tensor : {&q, &k, &v, &dout})
      for (float& x : *tensor) x = normal(random);
    o.assign(rows * 16, NAN), lse.assign(rows, NAN), bias.assign(rows * keys, 0.0f);
    dq.assign(rows * 16, NAN), dk.assign(keys * 16, NAN), dv.assign(keys * 16, NAN);
  }

  BackwardArgs args() {
    BackwardArgs args = shape_args(problem);
    args.q = q.data(), args.k = k.data(), args.v = v.data(), args.o = o.data(), args.lse = lse.data();
    args.bias = problem.bias != Bias::none ? bias.data() : nullptr;
    args.dout = dout.data(), args.dq = dq.data(), args.dk = dk.data(), args.dv = dv.data();
    args.eps = eps;
    return args;
  }

  template <Traits T>
  void expect_as_in_double_precision() {
    run<T>(args());
    std::vector<RowIndex> rows;
    for (int i = 0; i < problem.nq; ++i) rows.push_back({0, 0, i});
    const RowResults expected = reference_rows(T, args(), rows);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      for (std::size_t d = r * 16; d < (r + 1) * 16; ++d)
        EXPECT_NEAR(o[d], expected.o[d], 2e-5) << "row " << r;
      if (std::isinf(static_cast<float>(expected.lse[r]))) {
        EXPECT_EQ(lse[r], static_cast<float>(expected.lse[r])) << "row " << r;
      } else {
        EXPECT_NEAR(lse[r] / expected.lse[r], 1, 1e-5) << "row " << r;
      }
    }
  }

  template <Traits T>
  void run_backward_pass() {
    BackwardArgs all = args();
    const LaunchPlan plan = kOneTask.plan(T, all);
    Storage workspace(static_cast<std::size_t>(plan.workspace_bytes));
    all.workspace = workspace.data();
    const auto functions = backward_functions<T, kOneTask>();
    cpu::run_plan(plan, all, functions.data());
  }
  template <Traits T>
  void expect_finite_gradients() {
    run_backward_pass<T>();
    for (const auto* gradient : {&dq, &dk, &dv})
      for (const float x : *gradient) ASSERT_TRUE(std::isfinite(x));
  }
};

TEST(CpuNumbers, BiasesOfUpToTheLargestFloatGiveWhatDoublePrecisionGives) {
  Tensors data(problem_with(kBias), 6, 40);
  for (std::size_t j = 0; j < 40; ++j) {
    data.bias[j] = -kLargest;                            // a row of it
    data.bias[40 + j] = j == 3 ? 0.0f : -kLargest;       // a mask
    data.bias[80 + j] = j < 20 ? -3.0e38f : -3.2e38f;    // both overflow in base 2
    data.bias[120 + j] = j == 7 ? kLargest : -kLargest;  // differ by more than a float
    data.bias[160 + j] = kLargest;
    data.bias[200 + j] = j % 2 == 0 ? -INFINITY : -kLargest;
  }
  data.expect_as_in_double_precision<kBias>();
  data.expect_finite_gradients<kBias>();
}

TEST(CpuNumbers, ScalesOfUpToTheLargestFloatGiveWhatDoublePrecisionGives) {
  for (const float scale : {3e38f, -3e38f, 1e20f, 100.0f}) {
    Problem problem = problem_with(kScaled);
    problem.scale = scale;
    Tensors data(problem, 5, 33);
    data.expect_as_in_double_precision<kScaled>();
    data.expect_finite_gradients<kScaled>();
    Problem biased = problem_with(kBias);
    biased.scale = scale;
    Tensors both(biased, 5, 33);
    both.expect_as_in_double_precision<kBias>();
    both.expect_finite_gradients<kBias>();
  }
}

TEST(CpuNumbers, ZeroRowsAreRightHoweverSmallEpsIs) {
  for (const float eps : {0.0f, 1e-45f, 1e-38f, 1e-12f, 1e-5f}) {
    Tensors data(problem_with(kFixed), 9, 20);
    data.eps = eps;
    std::fill_n(data.q.begin() + 16, 16, 0.0f);
    std::fill_n(data.k.begin() + 32, 16, 0.0f);
    data.expect_as_in_double_precision<kFixed>();
    data.expect_finite_gradients<kFixed>();
    for (std::size_t d = 0; d < 16; ++d) {
      EXPECT_EQ(data.dq[16 + d], 0.0f);
      EXPECT_EQ(data.dk[32 + d], 0.0f);
    }
    const GradientRows rows{.queries = {{0, 0, 0}, {0, 0, 1}}, .keys = {{0, 0, 2}, {0, 0, 3}}};
    const Gradients expected =
        reference_gradients(kFixed, data.args(), exact_sums(kFixed, data.args()), rows);
    for (std::size_t d = 0; d < 32; ++d) {
      EXPECT_NEAR(data.dq[d], expected.dq[d], 1e-4);
      EXPECT_NEAR(data.dk[32 + d], expected.dk[d], 1e-4);
    }
  }
}

TEST(CpuNumbers, RowsOfAnyMagnitudeKeepTheirDirectionHoweverSmallEpsIs) {
  for (const float magnitude : {1e-30f, 1e-15f, 1e20f}) {
    Tensors data(problem_with(kFixed), 3, 9);
    data.eps = 0.0f;
    for (float& x : data.q) x *= magnitude;
    for (float& x : data.k) x *= magnitude;
    data.expect_as_in_double_precision<kFixed>();
  }
}

}  // namespace
}  // namespace fcsa::kernels
