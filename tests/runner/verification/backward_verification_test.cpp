#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/reference/reference.h"
#include "runner/verification/gradient_comparison.h"
#include "runner/verification/verification.h"
#include "tests/runner/verification/host_backward.h"
#include "tests/runner/verification/reference_kernel.h"

namespace fcsa::runner {
namespace {

using kernels::BackwardArgs;
using kernels::Bias;
using kernels::DType;
using kernels::LaunchPlan;
using kernels::Problem;
using kernels::RowIndex;

Problem backward_problem(DType dtype = DType::f32) {
  Problem problem = base_problem();
  problem.op = kernels::Op::backward;
  problem.dtype = dtype;
  problem.scale_gradient = true;
  return problem;
}

using Spoil = std::function<void(const BackwardArgs&)>;

// What the verifier says of the host's kernel on one problem, with mistakes, and with outputs changed
// afterwards.
CheckResult verdict(const Problem& problem, const Mistakes& mistakes = {}, const Spoil& spoil = {},
                    Values values = Values::normal) {
  FakeDevice device;
  device.kernel = [&](const LaunchPlan&, const BackwardArgs& args) {
    HostBackward(kernels::traits_of(problem), args, mistakes).run();
    if (spoil) spoil(args);
  };
  return Verifier(device).run(Module{}, {.problem = problem, .values = values, .seed = 11});
}

void expect_right(const Problem& problem, Values values) {
  const CheckResult result = verdict(problem, {}, {}, values);
  EXPECT_TRUE(result.ok) << result.message;
  EXPECT_LT(result.error, result.tolerance);
}

TEST(BackwardVerifier, AcceptsTheRightGradientsOfEveryKindOfValues) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (const bool causal : {false, true})
      for (const Values kind : kAllValues) {
        // The host's kernel multiplies raw rows, as those of GPUs do.
        const Values values = values_for(kernels::DeviceKind::cuda, kind);
        Problem p = backward_problem(dtype);
        p.causal = causal;
        p.key_mask = causal || values == Values::one_visible_key;
        if (values == Values::large_bias) p.bias = Bias::same;
        p.bias_gradient = p.bias != Bias::none;
        p.layout = causal ? kernels::Layout::bnhd : kernels::Layout::bhnd;
        expect_right(p, values);
      }
}

TEST(BackwardVerifier, AcceptsTheRightGradientsOfEveryFeature) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (const Values values :
         {Values::normal, Values::dominant_key, Values::large_rows, Values::clamped_rows}) {
      Problem p = backward_problem(dtype);
      p.groups = 4;
      p.head_scale = true;
      expect_right(p, values);
      p = backward_problem(dtype);
      p.bias = Bias::f32;
      p.bias_batch = p.bias_heads = 1;
      p.bias_gradient = true;
      expect_right(p, values);
      p = backward_problem(dtype);
      p.l2norm_qk = false;
      p.scale = 0.125f;
      expect_right(p, values);
      p = backward_problem(dtype);
      p.allow_tf32 = dtype == DType::f32;
      p.scale = 100;
      expect_right(p, values);
    }
}

TEST(BackwardVerifier, AcceptsTheRightGradientsOfEveryLength) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (const auto& [nq, nk] : {std::pair(1, 1), std::pair(1, 200), std::pair(200, 1), std::pair(130, 70)})
      for (const bool causal : {false, true}) {
        Problem p = backward_problem(dtype);
        p.nq = nq;
        p.nk = nk;
        p.causal = causal;
        expect_right(p, Values::normal);
      }
}

// P and dS are 0 there, and what they multiply is NaN.
TEST(BackwardVerifier, RejectsAKernelThatAddsRowsThatSeeNothingWithoutWeight) {
  Problem p = backward_problem();
  p.causal = true;
  p.nq = 65;
  p.nk = 33;
  expect_right(p, Values::normal);
  for (const bool of_q : {false, true}) {
    const CheckResult result = verdict(p, {}, [&](const BackwardArgs& args) {
      const void* blind = of_q ? args.q : args.dout;
      static_cast<float*>(of_q ? args.dk : args.dv)[5] += 0.0f * static_cast<const float*>(blind)[5];
    });
    EXPECT_FALSE(result.ok);
    EXPECT_NE(result.message.find(of_q ? "dk is nan at batch 0 head 0" : "dv is nan at batch 0 head 0"),
              std::string::npos)
        << result.message;
  }
}

// Changes one row of an output a little, in the dtype f32.
Spoil wrong_row(Output output, const RowIndex& row) {
  return [=](const BackwardArgs& args) {
    const auto at = [&](void* data, const kernels::Strides& s) {
      return static_cast<float*>(data) + row.batch * s.batch + row.head * s.head + row.row * s.row;
    };
    float* first = output == Output::dq      ? at(args.dq, args.dq_strides)
                   : output == Output::dk    ? at(args.dk, args.dk_strides)
                   : output == Output::dv    ? at(args.dv, args.dv_strides)
                   : output == Output::dbias ? at(args.dbias, args.dbias_strides)
                                             : args.dscale + row.head;
    const int width = output == Output::dscale ? 1 : output == Output::dbias ? args.nk : 32;
    for (int i = 0; i < width; ++i) first[i] = first[i] * 1.01f + 0.001f;
  };
}

TEST(BackwardVerifier, RejectsOneWrongRowOfAnyGradientAndSaysWhich) {
  Problem p = backward_problem();
  p.bias = Bias::f32;
  p.bias_gradient = true;
  const std::pair<Output, const char*> places[] = {
      {Output::dq, "dq at batch 1 head 3 row 32 is off by"},
      {Output::dk, "dk at batch 1 head 1 row 64 is off by"},
      {Output::dv, "dv at batch 1 head 1 row 64 is off by"},
      {Output::dbias, "dbias at batch 1 head 3 row 32 is off by"},
      {Output::dscale, "dscale at head 3 is off by"}};
  for (const auto& [output, text] : places) {
    const bool keys = output == Output::dk || output == Output::dv;
    const CheckResult result = verdict(p, {}, wrong_row(output, {1, keys ? 1 : 3, keys ? 64 : 32}));
    EXPECT_FALSE(result.ok);
    EXPECT_GT(result.error, result.tolerance);
    EXPECT_NE(result.message.find(text), std::string::npos) << result.message;
    EXPECT_NE(result.message.find("backward f32"), std::string::npos) << result.message;
  }
}

TEST(BackwardVerifier, RejectsWhatIsNotANumberOrNotWrittenInAnyGradient) {
  Problem p = backward_problem();
  p.bias = Bias::f32;
  p.bias_gradient = true;
  using Pointer = std::function<void*(const BackwardArgs&)>;
  const std::tuple<Pointer, long long, const char*> places[] = {
      {[](const BackwardArgs& a) { return a.dq; }, (5 * 33 + 7) * 32 + 3,
       "dq X at batch 1 head 1 row 7 channel 3"},
      {[](const BackwardArgs& a) { return a.dk; }, (3 * 65 + 9) * 32 + 4,
       "dk X at batch 1 head 1 row 9 channel 4"},
      {[](const BackwardArgs& a) { return a.dv; }, (1 * 65 + 9) * 32 + 4,
       "dv X at batch 0 head 1 row 9 channel 4"},
      {[](const BackwardArgs& a) { return a.dbias; }, (5 * 33 + 7) * 65 + 8,
       "dbias X at batch 1 head 1 row 7 key 8"},
      {[](const BackwardArgs& a) { return a.dscale; }, 2, "dscale X at head 2"}};
  for (const auto& [pointer, element, text] : places)
    for (const bool written : {true, false}) {
      const CheckResult result = verdict(p, {}, [&, pointer = pointer, element = element](const auto& args) {
        auto* place = static_cast<float*>(pointer(args)) + element;
        if (written)
          *place = std::nanf("");
        else
          std::memset(place, 0xff, sizeof(float));
      });
      std::string expected = text;
      expected.replace(expected.find('X'), 1, written ? "is nan" : "was not written");
      EXPECT_FALSE(result.ok);
      EXPECT_NE(result.message.find(expected), std::string::npos) << result.message;
    }
}

TEST(BackwardVerifier, RejectsEveryUsualMistake) {
  const std::pair<const char*, Mistakes> mistakes[] = {{"no_delta", {.no_delta = true}},
                                                       {"no_projection", {.no_projection = true}},
                                                       {"one_head_of_a_group", {.one_head_of_a_group = true}},
                                                       {"blind_to_the_mask", {.blind_to_the_mask = true}},
                                                       {"causal_off_by_one", {.causal_off_by_one = true}},
                                                       {"no_scale_in_dk", {.no_scale_in_dk = true}},
                                                       {"bias_of_one_batch", {.bias_of_one_batch = true}},
                                                       {"last_key_missing", {.last_key_missing = true}}};
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (const auto& [name, mistake] : mistakes) {
      Problem p = backward_problem(dtype);
      p.causal = p.key_mask = true;
      p.bias = Bias::same;
      p.bias_batch = 1;
      p.bias_gradient = true;
      EXPECT_TRUE(verdict(p).ok) << verdict(p).message;
      EXPECT_FALSE(verdict(p, mistake).ok) << name;
    }
}

TEST(BackwardVerifier, RejectsF32ProductsThatAreRoundedTo16Bits) {
  EXPECT_FALSE(verdict(backward_problem(), {.bf16_products = true}).ok);
}

TEST(BackwardVerifier, RejectsWhatIsLeftOfRowsWithoutANorm) {
  const CheckResult result = verdict(backward_problem(), {.large_zero_rows = true}, {}, Values::clamped_rows);
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("is off by inf"), std::string::npos) << result.message;
}

TEST(BackwardVerifier, RejectsBitsThatChangeWhereTheSameArePromised) {
  for (const bool deterministic : {false, true}) {
    Problem p = backward_problem();
    p.deterministic = deterministic;
    FakeDevice device;
    device.kernel = [&](const LaunchPlan&, const BackwardArgs& args) {
      HostBackward(kernels::traits_of(p), args, {}).run();
      if (device.launches == 3) static_cast<float*>(args.dq)[0] *= 1.0000002f;
    };
    const CheckResult result = Verifier(device).run(Module{}, {.problem = p, .seed = 11});
    EXPECT_EQ(result.ok, !deterministic) << result.message;
  }
}

TEST(BackwardVerifier, RejectsGradientsOfHiddenKeysThatAreNotZero) {
  Problem p = backward_problem();
  p.key_mask = true;
  const CheckResult result = verdict(p, {}, [](const BackwardArgs& args) {
    for (int key = 0; key < args.nk; ++key)
      if (args.key_mask[key] == 0) static_cast<float*>(args.dv)[key * 32] = 1e-30f;
  });
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("dv at batch 0 head 0 row"), std::string::npos) << result.message;
}

TEST(BackwardVerifier, RejectsAWriteBehindAGradient) {
  const CheckResult result = verdict(backward_problem(), {}, [](const BackwardArgs& args) {
    static_cast<float*>(args.dk)[2 * 2 * 65 * 32] = 0;
  });
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("wrote outside of dk"), std::string::npos) << result.message;
}

TEST(BackwardVerifier, ComparesAsManyRowsAsTheCheckMayCost) {
  Problem p = backward_problem();
  p.batch = 1;
  p.nq = p.nk = 200;
  FakeDevice device;
  device.kernel = [&](const LaunchPlan&, const BackwardArgs& args) {
    HostBackward(kernels::traits_of(p), args).run();
    wrong_row(Output::dv, {0, 0, 99})(args);
  };
  EXPECT_FALSE(Verifier(device).run(Module{}, {.problem = p}).ok);
  EXPECT_TRUE(Verifier(device).run(Module{}, {.problem = p, .reference_flops = 3e6}).ok);
}

TEST(BackwardVerifier, RequiresTheSameBitsOfEveryLaunchWhereSeveralAreAskedFor) {
  const Problem p = backward_problem();
  FakeDevice device;
  device.kernel = [&](const LaunchPlan&, const BackwardArgs& args) {
    HostBackward(kernels::traits_of(p), args).run();
    float& one = static_cast<float*>(args.dk)[65 * 32 + 5];
    if (device.launches == 3) one = std::nextafter(one, 10.0f);
  };
  const CheckResult different = Verifier(device).run(Module{}, {.problem = p, .launches = 4});
  EXPECT_FALSE(different.ok);
  EXPECT_NE(different.message.find("not the same bits in launches 1 and 3 of 4: dk at batch 0 head 1 row 0 "
                                   "channel 5 is"),
            std::string::npos)
      << different.message;
  const CheckResult same = Verifier(device).run(Module{}, {.problem = p, .launches = 4});
  EXPECT_TRUE(same.ok) << same.message;
  EXPECT_EQ(device.launches, 3 + 4);
}

TEST(GradientRowsToCheck, AreAllWhereThatIsCheapElseWithinTheCost) {
  Problem p = backward_problem();
  p.bias = Bias::same;
  p.bias_heads = 1;
  p.bias_gradient = true;
  const kernels::GradientRows all = gradient_rows_to_check(p, 2e9, 1);
  EXPECT_EQ(all.queries.size(), 2u * 4 * 33);
  EXPECT_EQ(all.keys.size(), 2u * 2 * 65);
  EXPECT_EQ(all.bias.size(), 2u * 33);
  EXPECT_TRUE(all.scale);
  p.nq = p.nk = 20000;
  const kernels::GradientRows some = gradient_rows_to_check(p, 2e9, 1);
  const double row = 32.0 * 20000;
  const double cost =
      row * (6.0 * static_cast<double>(some.queries.size()) + 16.0 * static_cast<double>(some.keys.size()) +
             24.0 * static_cast<double>(some.bias.size()));
  EXPECT_LT(cost, 2.1e9);
  EXPECT_GT(cost, 1.6e9);
  EXPECT_FALSE(some.scale);
  for (const auto& rows : {some.queries, some.keys, some.bias}) {
    EXPECT_EQ(rows.front().row, 0);
    EXPECT_EQ(rows.back().row, 19999);
  }
}

ExpectedGradient expected(std::vector<double> values, std::vector<double> sizes, std::vector<double> norms) {
  return {Output::dq,
          std::vector<RowIndex>(sizes.size()),
          std::move(values),
          std::move(sizes),
          std::move(norms),
          {},
          {}};
}

TEST(WorstGradient, IsRelativeToTheRowOrItsSizeWhicheverIsLarger) {
  const ExpectedGradient e = expected({3, 4, 0, 1}, {1, 20}, {});
  EXPECT_DOUBLE_EQ(worst_gradient(std::vector<double>{3, 4.5, 0, 1}, e).error, 0.1);
  const Worst second = worst_gradient(std::vector<double>{3, 4.1, 0, 2}, e);
  EXPECT_DOUBLE_EQ(second.error, 0.05);
  EXPECT_EQ(second.row, 1u);
}

TEST(WorstGradient, ComparesRowsTimesTheNormsOfTheirGroups) {
  const ExpectedGradient e = expected({3e6, 4e-3, 0, 0}, {1, 1}, {1e-6, 1e3, 1, 0});
  EXPECT_NEAR(worst_gradient(std::vector<double>{3e6 + 5e5, 4e-3, 0, 0}, e).error, 0.1, 1e-9);
  EXPECT_NEAR(worst_gradient(std::vector<double>{3e6, 4.5e-3, 0, 0}, e).error, 0.1, 1e-9);
  EXPECT_TRUE(std::isinf(worst_gradient(std::vector<double>{3e6, 4e-3, 0, 1e-30}, e).error));
}

TEST(WorstGradient, IsInfiniteForNaNAndForAnythingWhereThereAreNoTerms) {
  const ExpectedGradient e = expected({3, 4, 0, 0}, {1, 0}, {});
  const double nan = std::nan("");
  EXPECT_TRUE(std::isinf(worst_gradient(std::vector<double>{9, 4, nan, 0}, e).error));
  EXPECT_TRUE(std::isinf(worst_gradient(std::vector<double>{nan, 4, 0, 0}, e).error));
  EXPECT_TRUE(std::isinf(worst_gradient(std::vector<double>{3, 4, 0, 1e-45}, e).error));
  EXPECT_EQ(worst_gradient(std::vector<double>{3, 4, 0, 0}, e).error, 0);
}

}  // namespace
}  // namespace fcsa::runner
