// What a row doesn't see has no influence on it, whatever it holds.
#include "cpu_backward_instances.h"

namespace fcsa::kernels {
namespace {

using namespace cpu_cases;

constexpr Traits kMasked{.head_dim = 16, .causal = true, .key_mask = true};
constexpr Traits kMaskedBias{.dtype = DType::bf16,
                             .head_dim = 16,
                             .key_mask = true,
                             .bias = Bias::f32,
                             .head_scale = true,
                             .softmax = kRunning};
constexpr Traits kCausal{.head_dim = 16, .causal = true, .groups = 2, .softmax = kRunning};

// More queries than keys, so that the first ones see none, and a mask that hides tiles as a whole.
std::vector<Variation> unseen() {
  const Values values{.hide_leading = true, .poison = true};
  return {{9, 3, 1, 1, 1, Layout::bhnd, values},
          {97, 41, 2, 4, 2, Layout::bnhd, values},
          {50, 257, 1, 2, 1, Layout::bhnd, values}};
}

template <Traits T, cpu::ForwardConfig C>
void check_unseen() {
  for (const Variation& v : unseen()) {
    const Problem problem = with_shape(problem_with(T), v);
    Case(problem, v.values)
        .check(C.plan(T, shape_args(problem)), {cpu::native::prepare<T, C>, cpu::native::forward<T, C>});
  }
}

template <Traits T, cpu::BackwardConfig C>
void check_unseen_gradients() {
  for (const Variation& v : unseen()) {
    GradientCase c(with_shape(backward_problem_with(T), v), v.values);
    c.compare(c.run(C.plan(T, c.args()), backward_functions<T, C>()));
  }
}

TEST(CpuUnseen, WhatNobodySeesHasNoInfluence) {
  check_unseen<kMasked, kSmall>();
  check_unseen<kMasked, kInPlace>();
  check_unseen<kMaskedBias, kSmall>();
  check_unseen<kCausal, kSmall>();
}

TEST(CpuUnseen, WhatNobodySeesHasNoInfluenceOnGradientsAndNone) {
  check_unseen_gradients<kMasked, kOneTask>();
  check_unseen_gradients<kMaskedBias, kSplit>();
  check_unseen_gradients<kCausal, kTwoWalks>();
}

// One head of nq x nk, f32, ones in q and k, so that every visible key has the same weight.
struct Plain {
  Problem problem;
  std::vector<float> q, k, v, o, lse, bias;

  Plain(Problem p, int nq, int nk) : problem(with_lengths(std::move(p), nq, nk)) {
    const auto rows = static_cast<std::size_t>(nq), keys = static_cast<std::size_t>(nk);
    q.assign(rows * 16, 1.0f), k.assign(keys * 16, 1.0f), v.assign(keys * 16, 2.0f);
    o.assign(rows * 16, -1.0f), lse.assign(rows, -1.0f), bias.assign(rows * keys, 0.0f);
  }

  BackwardArgs args() {
    BackwardArgs args = shape_args(problem);
    args.q = q.data(), args.k = k.data(), args.v = v.data(), args.o = o.data(), args.lse = lse.data();
    args.bias = problem.bias != Bias::none ? bias.data() : nullptr;
    return args;
  }
};

TEST(CpuUnseen, RowsThatDoNotSeeAKeyDoNotNoticeWhatItHolds) {
  constexpr Traits kTraits{.head_dim = 16, .causal = true};
  Plain data(problem_with(kTraits), 40, 40);
  data.k[39 * 16 + 2] = data.v[39 * 16 + 5] = NAN;
  run<kTraits>(data.args());
  for (std::size_t i = 0; i < 39 * 16; ++i) ASSERT_NEAR(data.o[i], 2.0f, 1e-5) << "element " << i;
  for (std::size_t d = 0; d < 16; ++d) EXPECT_TRUE(std::isnan(data.o[39 * 16 + d])) << "channel " << d;
  EXPECT_TRUE(std::isnan(data.lse[39]));
}

TEST(CpuUnseen, ABiasOfMinusInfinityProtectsFromWhatTheKeyHolds) {
  constexpr Traits kTraits{.head_dim = 16, .bias = Bias::f32, .softmax = kRunning};
  Plain data(problem_with(kTraits), 20, 33);
  data.k[7 * 16] = NAN, data.v[7 * 16] = INFINITY;
  for (std::size_t row = 0; row < 19; ++row) data.bias[row * 33 + 7] = -INFINITY;
  run<kTraits>(data.args());
  for (std::size_t i = 0; i < 19 * 16; ++i) ASSERT_NEAR(data.o[i], 2.0f, 1e-5) << "element " << i;
  for (std::size_t row = 0; row < 19; ++row) EXPECT_NEAR(data.lse[row], 8 + std::log(32.0), 1e-5);
  EXPECT_TRUE(std::isnan(data.o[19 * 16]));
}

TEST(CpuUnseen, GradientsOfRowsDoNotNoticeKeysThatTheyDoNotSee) {
  constexpr Traits kTraits{.head_dim = 16, .causal = true};
  Problem problem = backward_problem_with(kTraits);
  problem.scale_gradient = false;
  Plain data(problem, 40, 40);
  run<kTraits>(data.args());
  data.k[39 * 16 + 2] = data.v[39 * 16 + 5] = NAN;
  data.q[39 * 16 + 1] = NAN;  // sees every key
  std::vector<float> dout(40 * 16, 1.0f), dq(40 * 16), dk(40 * 16), dv(40 * 16);
  BackwardArgs args = data.args();
  args.dout = dout.data(), args.dq = dq.data(), args.dk = dk.data(), args.dv = dv.data();
  const LaunchPlan plan = kOneTask.plan(kTraits, args);
  Storage workspace(static_cast<std::size_t>(plan.workspace_bytes));
  args.workspace = workspace.data();
  const auto functions = backward_functions<kTraits, kOneTask>();
  cpu::run_plan(plan, args, functions.data());
  for (std::size_t i = 0; i < 39 * 16; ++i) ASSERT_TRUE(std::isfinite(dq[i])) << "element " << i;
  EXPECT_TRUE(std::isnan(dq[39 * 16]));
}

}  // namespace
}  // namespace fcsa::kernels
