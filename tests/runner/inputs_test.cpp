#include "runner/inputs.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <span>

#include "kernels/reference/reference.h"
#include "runner/forward_results.h"
#include "tests/runner/fake_device.h"

namespace fcsa::runner {
namespace {

using kernels::DType;
using kernels::Problem;

Problem small_problem() {
  return {.dtype = DType::f32,
          .head_dim = 32,
          .batch = 2,
          .heads = 4,
          .kv_heads = 2,
          .nq = 70,
          .nk = 90,
          .logit_bound = {}};
}

double row_norm(const Problem& p, const std::vector<unsigned char>& data, long long row) {
  double squares = 0;
  for (int d = 0; d < p.head_dim; ++d)
    squares += std::pow(kernels::load_element(p.dtype, data.data(), row * p.head_dim + d), 2);
  return std::sqrt(squares);
}

// Restricts this thread, and those it starts, to one core; std::thread::hardware_concurrency() follows.
class OneCore {
 public:
  OneCore() {
    sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (!CPU_ISSET(core, &before_)) continue;
      CPU_SET(core, &one);
      break;
    }
    sched_setaffinity(0, sizeof one, &one);
  }
  ~OneCore() { sched_setaffinity(0, sizeof before_, &before_); }
  OneCore(const OneCore&) = delete;
  OneCore& operator=(const OneCore&) = delete;

 private:
  cpu_set_t before_{};
};

TEST(Inputs, AreEqualOnOneCoreAndOnAll) {
  Problem p = small_problem();
  p.nq = p.nk = 1500;
  const HostInputs all = make_inputs(p, Values::dominant_key, 7);
  const OneCore one_core;
  const HostInputs one = make_inputs(p, Values::dominant_key, 7);
  EXPECT_EQ(all.q, one.q);
  EXPECT_EQ(all.k, one.k);
  EXPECT_EQ(all.v, one.v);
}

TEST(Inputs, NeverChangeBetweenMachinesAndVersions) {
  const HostInputs inputs = make_inputs(small_problem(), Values::normal, 1);
  std::uint32_t checksum = 0;
  for (const auto* tensor : {&inputs.q, &inputs.k, &inputs.v})
    for (const unsigned char byte : *tensor) checksum = checksum * 31 + byte;
  EXPECT_EQ(checksum, 4075592058u);
}

TEST(Inputs, DependOnTheSeed) {
  const HostInputs a = make_inputs(small_problem(), Values::normal, 1);
  const HostInputs b = make_inputs(small_problem(), Values::normal, 2);
  EXPECT_NE(a.q, b.q);
  EXPECT_NE(a.q, a.k);
}

TEST(Inputs, AreStandardNormal) {
  Problem p = small_problem();
  p.nq = 2000;
  const HostInputs inputs = make_inputs(p, Values::normal, 3);
  const auto* q = reinterpret_cast<const float*>(inputs.q.data());
  const std::size_t count = inputs.q.size() / sizeof(float);
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < count; ++i) {
    sum += q[i];
    squares += double{q[i]} * q[i];
  }
  EXPECT_NEAR(sum / static_cast<double>(count), 0, 0.01);
  EXPECT_NEAR(squares / static_cast<double>(count), 1, 0.01);
}

TEST(Inputs, HaveRowsOfTheMagnitudeAskedFor) {
  const Problem p = small_problem();
  const HostInputs tiny = make_inputs(p, Values::tiny_rows, 3), large = make_inputs(p, Values::large_rows, 3);
  const HostInputs clamped = make_inputs(p, Values::clamped_rows, 3);
  int tiny_rows = 0, large_rows = 0, clamped_rows = 0;
  const int rows = p.batch * p.heads * p.nq;
  for (int row = 0; row < rows; ++row) {
    tiny_rows += row_norm(p, tiny.q, row) < 0.1;
    large_rows += row_norm(p, large.q, row) > 100;
    clamped_rows += row_norm(p, clamped.q, row) < double{clamped.eps};
  }
  for (const int count : {tiny_rows, large_rows, clamped_rows}) {
    EXPECT_GT(count, rows / 2);
    EXPECT_LT(count, rows);
  }
}

TEST(Inputs, HaveRowsWhoseSquaresNoFloatHoldsAndOnGPUsLessExtremeOnes) {
  const Problem p = small_problem();
  const HostInputs huge = make_inputs(p, Values::huge_rows, 3), large = make_inputs(p, Values::large_rows, 3);
  double most = 0, most_of_large = 0;
  int zero = 0, tiny = 0;
  for (int row = 0; row < p.batch * p.heads * p.nq; ++row) {
    const double norm = row_norm(p, huge.q, row);
    most = std::max(most, norm);
    most_of_large = std::max(most_of_large, row_norm(p, large.q, row));
    zero += norm == 0;
    tiny += norm > 0 && norm < 1e-18;
  }
  EXPECT_GT(most, 1e20);
  EXPECT_TRUE(zero > 0 && tiny > 0);
  EXPECT_GT(most_of_large, 1e10);
  EXPECT_LT(most_of_large * most_of_large, 1e30);
  EXPECT_EQ(values_for(kernels::DeviceKind::cuda, Values::huge_rows), Values::large_rows);
  EXPECT_EQ(values_for(kernels::DeviceKind::cpu, Values::huge_rows), Values::huge_rows);
}

TEST(Inputs, DominantKeyPointsAlongAQueryOfItsGroup) {
  Problem p = small_problem();
  p.layout = kernels::Layout::bnhd;
  const HostInputs inputs = make_inputs(p, Values::dominant_key, 5);
  kernels::Traits traits = kernels::traits_of(p);
  kernels::Args args = inputs.args();
  args.scale = 1000;
  // At a scale of 1000 lse is 1000 exactly where some key has a cosine of 1 with the query.
  std::vector<kernels::RowIndex> rows;
  for (int batch = 0; batch < p.batch; ++batch)
    for (int head = 0; head < p.heads; ++head)
      for (int row = 0; row < p.nq; row += 4) rows.push_back({batch, head, row});
  for (const double lse : kernels::reference_rows(traits, args, rows).lse) EXPECT_NEAR(lse, 1000, 1e-3);
}

// Results of every row with these inputs.
kernels::RowResults attend(const HostInputs& inputs) {
  const Problem& p = inputs.problem;
  std::vector<kernels::RowIndex> rows;
  for (int batch = 0; batch < p.batch; ++batch)
    for (int head = 0; head < p.heads; ++head)
      for (int row = 0; row < p.nq; ++row) rows.push_back({batch, head, row});
  return kernels::reference_rows(kernels::traits_of(p), inputs.args(), rows);
}

int visible_keys(std::span<const unsigned char> mask) {
  return static_cast<int>(std::count_if(mask.begin(), mask.end(), [](auto m) { return m != 0; }));
}

TEST(Inputs, MaskHidesAQuarterOfTheKeysButNeverAllAndHasSeveralBytesForVisible) {
  Problem p = small_problem();
  p.key_mask = true;
  p.nk = 2000;
  const HostInputs inputs = make_inputs(p, Values::normal, 1);
  EXPECT_NEAR(visible_keys(inputs.key_mask) / static_cast<double>(inputs.key_mask.size()), 0.75, 0.05);
  const std::set<unsigned char> bytes(inputs.key_mask.begin(), inputs.key_mask.end());
  EXPECT_EQ(bytes, (std::set<unsigned char>{0, 1, 2, 128, 255}));
  p.nk = 1;
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    EXPECT_EQ(visible_keys(make_inputs(p, Values::normal, seed).key_mask), 2);
}

TEST(Inputs, AdversarialMaskHidesAWholeRunOfKeys) {
  Problem p = small_problem();
  p.key_mask = true;
  const auto shown = [&](Values values, int first, int last) {
    const HostInputs inputs = make_inputs(p, values, 1);
    return visible_keys(
        std::span(inputs.key_mask)
            .subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(last - first)));
  };
  EXPECT_EQ(shown(Values::large_rows, 0, p.nk / 2), 0);
  EXPECT_EQ(shown(Values::large_rows, p.nk / 2, p.nk), p.nk / 2);
  EXPECT_EQ(shown(Values::tiny_rows, 0, p.nk / 4), p.nk / 4);
  EXPECT_EQ(shown(Values::tiny_rows, p.nk / 4, p.nk - p.nk / 4), 0);
  EXPECT_EQ(shown(Values::repeated_keys, p.nk - p.nk / 2, p.nk), 0);
}

TEST(Inputs, KnowWhichRowsSeeAKey) {
  Problem p = small_problem();
  p.causal = p.key_mask = true;
  p.bias = kernels::Bias::f32;
  p.nq = 120;
  const HostInputs inputs = make_inputs(p, Values::large_bias, 4);
  const std::vector<bool> sees = seeing_rows(inputs);
  const kernels::RowResults results = attend(inputs);
  ASSERT_EQ(sees.size(), results.lse.size());
  int blind = 0;
  for (std::size_t i = 0; i < sees.size(); ++i) {
    EXPECT_EQ(sees[i], std::isfinite(results.lse[i])) << i;
    blind += !sees[i];
  }
  EXPECT_GT(blind, p.batch * p.heads * 30) << "by the causal mask alone";
}

TEST(Inputs, HideNaNWhereNobodyLooks) {
  Problem p = small_problem();
  p.op = kernels::Op::backward;
  p.causal = p.key_mask = true;
  p.nq = 120;
  const HostInputs inputs = make_inputs(p, Values::normal, 4);
  HostInputs hidden = inputs;
  hide_with_nan(hidden);
  const auto nan_rows = [&](const std::vector<unsigned char>& tensor) {
    int count = 0;
    for (long long row = 0; row < static_cast<long long>(tensor.size()) / 4 / p.head_dim; ++row)
      count += std::isnan(row_norm(p, tensor, row));
    return count;
  };
  const int keys = p.batch * p.nk - visible_keys(inputs.key_mask);
  EXPECT_EQ(nan_rows(hidden.k), keys * p.kv_heads);
  EXPECT_EQ(nan_rows(hidden.v), keys * p.kv_heads);
  const std::vector<bool> sees = seeing_rows(inputs);
  const auto blind = std::count(sees.begin(), sees.end(), false);
  EXPECT_GE(blind, p.batch * p.heads * 30);
  EXPECT_EQ(nan_rows(hidden.q), blind);
  EXPECT_EQ(nan_rows(hidden.dout), blind);
}

TEST(Inputs, OpposedKeysPutEveryLogitAtMinusTheBound) {
  Problem p = small_problem();
  const double uniform = std::log(p.nk);
  for (const double lse : attend(make_inputs(p, Values::opposed, 5)).lse)
    EXPECT_NEAR(lse, uniform - p.scale, 1e-5);
  p.l2norm_qk = false;
  p.logit_bound = 20.0f;
  for (const double lse : attend(make_inputs(p, Values::opposed, 5)).lse)
    EXPECT_NEAR(lse, uniform - 0.99 * 20, 1e-3);
}

TEST(Inputs, RepeatedKeysGetEqualWeight) {
  const HostInputs inputs = make_inputs(small_problem(), Values::repeated_keys, 5);
  const kernels::RowResults results = attend(inputs);
  const auto dim = static_cast<std::size_t>(inputs.problem.head_dim);
  for (std::size_t row = 1; row < 70; ++row)
    for (std::size_t d = 0; d < dim; ++d) EXPECT_NEAR(results.o[row * dim + d], results.o[d], 1e-12);
}

TEST(Inputs, OneVisibleKeyIsOneInEveryBatch) {
  Problem p = small_problem();
  p.key_mask = true;
  const HostInputs inputs = make_inputs(p, Values::one_visible_key, 5);
  for (int batch = 0; batch < p.batch; ++batch) {
    const auto row = std::span(inputs.key_mask).subspan(static_cast<std::size_t>(batch * p.nk));
    EXPECT_EQ(visible_keys(row.first(static_cast<std::size_t>(p.nk))), 1);
  }
}

TEST(Inputs, LargeBiasHasRowsAndEntriesOf60OrWhatAPromisedBoundLeaves) {
  Problem p = small_problem();
  p.bias = kernels::Bias::f32;
  const auto largest_of_row = [&](const HostInputs& inputs, int row, auto order) {
    const auto* bias = reinterpret_cast<const float*>(inputs.bias.data()) + row * p.nk;
    return *std::max_element(bias, bias + p.nk, order);
  };
  const HostInputs inputs = make_inputs(p, Values::large_bias, 5);
  EXPECT_EQ(largest_of_row(inputs, 0, std::greater<float>()), 60.0f) << "its smallest";
  EXPECT_LT(largest_of_row(inputs, 1, std::greater<float>()), 4.0f) << "its smallest";
  EXPECT_EQ(largest_of_row(inputs, 1, std::less<float>()), 60.0f);
  EXPECT_LT(largest_of_row(inputs, 2, std::less<float>()), 4.0f);
  EXPECT_EQ(largest_of_row(inputs, 3, std::less<float>()), 60.0f) << "at its end";
  const float nothing = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(largest_of_row(inputs, 4, std::greater<float>()), nothing) << "its smallest";
  EXPECT_GT(largest_of_row(inputs, 5, std::less<float>()), nothing);
  EXPECT_EQ(largest_of_row(inputs, 6, std::less<float>()), nothing) << "hides all keys";
  p.logit_bound = 20.0f;  // 8 of it for q and k
  EXPECT_EQ(largest_of_row(make_inputs(p, Values::large_bias, 5), 0, std::less<float>()), 12.0f);
}

TEST(Inputs, ApplyWhereTheProblemHasWhatTheyAreAbout) {
  Problem p = small_problem();
  EXPECT_FALSE(apply_to(Values::one_visible_key, p));
  EXPECT_FALSE(apply_to(Values::large_bias, p));
  EXPECT_TRUE(apply_to(Values::opposed, p));
  p.logit_bound = 4.0f;
  EXPECT_FALSE(apply_to(Values::opposed, p)) << "its logits reach -8";
  EXPECT_FALSE(apply_to(Values::dominant_key, p));
  EXPECT_TRUE(apply_to(Values::clamped_rows, p));
}

TEST(Inputs, OfRawQueriesAndKeysKeepThePromisedBound) {
  Problem p = small_problem();
  p.l2norm_qk = false;
  p.scale = 0.5f;
  p.logit_bound = 6.0f;
  p.dtype = DType::bf16;
  for (const Values values : {Values::normal, Values::dominant_key, Values::large_rows}) {
    const HostInputs inputs = make_inputs(p, values, 2);
    double q = 0, k = 0;
    for (int row = 0; row < p.batch * p.heads * p.nq; ++row) q = std::max(q, row_norm(p, inputs.q, row));
    for (int row = 0; row < p.batch * p.kv_heads * p.nk; ++row) k = std::max(k, row_norm(p, inputs.k, row));
    EXPECT_LE(p.scale * q * k, *p.logit_bound);
    EXPECT_GT(p.scale * q * k, 0.5f * *p.logit_bound);
  }
}

Problem backward_problem() {
  Problem p = small_problem();
  p.op = kernels::Op::backward;
  return p;
}

kernels::RowResults forward_results_of(const HostInputs& inputs) {
  const Problem& p = inputs.problem;
  const kernels::Strides s = kernels::shape_args(p).o_strides;
  kernels::RowResults results;
  results.lse.assign(inputs.lse.begin(), inputs.lse.end());
  for (int batch = 0; batch < p.batch; ++batch)
    for (int head = 0; head < p.heads; ++head)
      for (int row = 0; row < p.nq; ++row)
        for (int d = 0; d < p.head_dim; ++d)
          results.o.push_back(kernels::load_element(p.dtype, inputs.o.data(),
                                                    batch * s.batch + head * s.head + row * s.row + d));
  return results;
}

TEST(Inputs, OfTheBackwardPassHaveWhatTheForwardPassGives) {
  for (const auto layout : {kernels::Layout::bhnd, kernels::Layout::bnhd}) {
    Problem p = backward_problem();
    p.layout = layout;
    p.causal = true;
    p.key_mask = true;
    const HostInputs inputs = make_inputs(p, Values::dominant_key, 5);
    const kernels::RowResults exact = attend(inputs), given = forward_results_of(inputs);
    ASSERT_EQ(exact.o.size(), given.o.size());
    for (std::size_t i = 0; i < exact.o.size(); ++i) EXPECT_EQ(static_cast<float>(exact.o[i]), given.o[i]);
    for (std::size_t i = 0; i < exact.lse.size(); ++i)
      EXPECT_EQ(static_cast<float>(exact.lse[i]), given.lse[i]);
  }
}

TEST(Inputs, OfTheBackwardPassAreThoseOfTheForwardPassAndAGradientOfTheOutput) {
  const HostInputs forward = make_inputs(small_problem(), Values::normal, 5),
                   backward = make_inputs(backward_problem(), Values::normal, 5);
  EXPECT_EQ(forward.q, backward.q);
  EXPECT_EQ(forward.k, backward.k);
  EXPECT_EQ(forward.v, backward.v);
  EXPECT_TRUE(forward.dout.empty() && forward.o.empty() && forward.lse.empty());
  double squares = 0;
  const auto* dout = reinterpret_cast<const float*>(backward.dout.data());
  for (std::size_t i = 0; i < backward.dout.size() / sizeof(float); ++i) squares += double{dout[i]} * dout[i];
  EXPECT_NEAR(squares / (static_cast<double>(backward.dout.size()) / sizeof(float)), 1, 0.05);
  EXPECT_NE(backward.dout, backward.q);
  EXPECT_EQ(backward.o, make_inputs(backward_problem(), Values::normal, 5).o);
}

// Of rows from one number to another: how far apart outputs are, relative to the larger of both.
double off(const Problem& p, const kernels::RowResults& a, const kernels::RowResults& b, int first,
           int last) {
  double squares = 0, difference = 0;
  for (int row = 0; row < p.batch * p.heads * p.nq; ++row) {
    if (row % p.nq < first || row % p.nq >= last) continue;
    for (int d = 0; d < p.head_dim; ++d) {
      const auto i = static_cast<std::size_t>(row * p.head_dim + d);
      squares += std::pow(a.o[i], 2) + std::pow(b.o[i], 2);
      difference += std::pow(a.o[i] - b.o[i], 2);
    }
  }
  return std::sqrt(2 * difference / squares);
}

TEST(Inputs, OfLongBackwardProblemsAreEstimatedFromASampleOfTheKeys) {
  Problem p = backward_problem();
  p.nq = 100;
  p.nk = 400;
  p.causal = p.key_mask = p.head_scale = true;
  p.bias = kernels::Bias::f32;
  p.bias_heads = 1;
  HostInputs inputs = make_inputs(p, Values::normal, 5);
  const kernels::RowResults exact = forward_results_of(inputs);
  add_forward_results(inputs, ForwardPrecision::estimated);
  const kernels::RowResults estimate = forward_results_of(inputs);
  // Most of the visible keys are in the sample: outputs are alike, but not equal.
  for (std::size_t i = 0; i < exact.lse.size(); ++i) EXPECT_NEAR(estimate.lse[i], exact.lse[i], 0.35);
  EXPECT_LT(off(p, exact, estimate, 0, 100), 0.5);
  EXPECT_GT(off(p, exact, estimate, 0, 100), 0.1);
}

TEST(Inputs, AreExactInRowsThatSeeFewKeysThoughTheOthersAreEstimated) {
  Problem p = backward_problem();
  p.nq = p.nk = 700;
  p.causal = true;
  HostInputs inputs = make_inputs(p, Values::normal, 5);
  const kernels::RowResults exact = forward_results_of(inputs);
  add_forward_results(inputs, ForwardPrecision::estimated);
  const kernels::RowResults estimate = forward_results_of(inputs);
  EXPECT_EQ(off(p, exact, estimate, 0, 256), 0);
  EXPECT_GT(off(p, exact, estimate, 256, 700), 0);
}

TEST(Inputs, AreEstimatesWhereNormalValuesAreManyAndTheirLogitsAlike) {
  Problem large = backward_problem();
  large.head_dim = 64;
  large.nq = large.nk = 8192;
  EXPECT_EQ(precision_for(large, Values::normal), ForwardPrecision::estimated);
  EXPECT_EQ(precision_for(large, Values::dominant_key), ForwardPrecision::exact);
  EXPECT_EQ(precision_for(backward_problem(), Values::normal), ForwardPrecision::exact);
  Problem wide = large;
  wide.scale = 100;
  EXPECT_EQ(precision_for(wide, Values::normal), ForwardPrecision::exact);
  Problem raw = large;
  raw.l2norm_qk = false;
  EXPECT_EQ(precision_for(raw, Values::normal), ForwardPrecision::estimated);
  raw.bias = kernels::Bias::f32;
  EXPECT_EQ(precision_for(raw, Values::normal), ForwardPrecision::estimated);
}

TEST(Inputs, OfLargeRawProblemsAreSmallEnoughForLogitsThatAreAlike) {
  Problem raw = backward_problem();
  raw.l2norm_qk = false;
  raw.head_dim = 64;
  raw.scale = 8;
  EXPECT_EQ(moderating_factor(raw, Values::normal), 1.0f);
  raw.nq = raw.nk = 8192;
  EXPECT_FLOAT_EQ(moderating_factor(raw, Values::normal), 0.125f);  // of q and of k: 1/64 of logits
  EXPECT_EQ(moderating_factor(raw, Values::dominant_key), 1.0f);
  raw.scale = 0.125f;
  EXPECT_EQ(moderating_factor(raw, Values::normal), 1.0f);
  raw.op = kernels::Op::forward;
  raw.scale = 8;
  EXPECT_EQ(moderating_factor(raw, Values::normal), 1.0f);
}

TEST(DeviceTensors, OfTheBackwardPassHaveItsInputsAndOutputs) {
  FakeDevice device;
  Problem p = backward_problem();
  p.dtype = DType::bf16;
  p.bias = kernels::Bias::f32;
  p.bias_gradient = p.scale_gradient = true;
  const HostInputs inputs = make_inputs(p, Values::normal, 1);
  DeviceTensors tensors(device, inputs);
  EXPECT_EQ(tensors.outputs(),
            (std::vector{Output::dq, Output::dk, Output::dv, Output::dbias, Output::dscale}));
  const kernels::BackwardArgs args = tensors.args(64);
  tensors.poison_outputs();
  EXPECT_EQ(std::memcmp(args.dout, inputs.dout.data(), inputs.dout.size()), 0);
  EXPECT_EQ(std::memcmp(args.o, inputs.o.data(), inputs.o.size()), 0);
  EXPECT_EQ(std::memcmp(args.lse, inputs.lse.data(), inputs.lse.size() * sizeof(float)), 0);
  EXPECT_TRUE(args.wants_dbias && args.wants_dscale);
  const std::vector<unsigned char> poison(inputs.bias.size(), 0xff);
  EXPECT_EQ(tensors.download(Output::dbias), poison);
  EXPECT_EQ(tensors.download(Output::dq).size(), inputs.q.size());
  EXPECT_EQ(tensors.download(Output::dk).size(), inputs.k.size());
  EXPECT_EQ(tensors.download(Output::dv).size(), inputs.v.size());
  EXPECT_EQ(tensors.download(Output::dscale).size(), 4 * sizeof(float));
  EXPECT_THROW(tensors.download(Output::o), std::invalid_argument);
  static_cast<float*>(args.dbias)[p.batch * p.heads * p.nq * p.nk] = 0;
  EXPECT_EQ(tensors.damaged_guard(), "dbias");
}

TEST(DeviceTensors, OfTheBackwardPassHaveNoOutputsThatAreNotWanted) {
  FakeDevice device;
  Problem p = backward_problem();
  p.bias = kernels::Bias::f32;
  DeviceTensors tensors(device, make_inputs(p, Values::normal, 1));
  EXPECT_EQ(tensors.outputs(), (std::vector{Output::dq, Output::dk, Output::dv}));
  const kernels::BackwardArgs args = tensors.args(0);
  EXPECT_EQ(args.dbias, nullptr);
  EXPECT_EQ(args.dscale, nullptr);
  args.lse[-1] = 0;
  EXPECT_EQ(tensors.damaged_guard(), "lse");
}

TEST(DeviceTensors, HoldTheInputsAlignedTo256Bytes) {
  FakeDevice device;
  const HostInputs inputs = make_inputs(small_problem(), Values::normal, 1);
  DeviceTensors tensors(device, inputs);
  const kernels::Args args = tensors.args(100);
  EXPECT_EQ(std::memcmp(args.k, inputs.k.data(), inputs.k.size()), 0);
  for (const void* pointer : {args.q, args.k, args.v, const_cast<const void*>(args.o)})
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pointer) % 256, 0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(args.workspace) % 256, 0u);
  EXPECT_EQ(args.key_mask, nullptr);
  EXPECT_EQ(args.bias, nullptr);
}

TEST(DeviceTensors, KeepTheWorkspaceUntilALargerOneIsAskedFor) {
  FakeDevice device;
  DeviceTensors tensors(device, make_inputs(small_problem(), Values::normal, 1));
  EXPECT_EQ(tensors.args(0).workspace, nullptr);
  const auto* first = static_cast<const char*>(tensors.args(1000).workspace);
  // The end of it, so that what lies behind shows.
  EXPECT_EQ(tensors.args(10).workspace, first + 3 * 256);
  EXPECT_EQ(tensors.workspace_bytes(), 1000u);
  tensors.args(5000);
  EXPECT_EQ(tensors.workspace_bytes(), 5000u);
}

TEST(DeviceTensors, PoisonedOutputsAreNaN) {
  FakeDevice device;
  DeviceTensors tensors(device, make_inputs(small_problem(), Values::normal, 1));
  tensors.poison_outputs();
  EXPECT_EQ(tensors.outputs(), (std::vector{Output::o, Output::lse}));
  for (const Output output : tensors.outputs()) {
    const std::vector<unsigned char> data = tensors.download(output);
    EXPECT_TRUE(std::isnan(kernels::load_element(DType::f32, data.data(), 17)));
  }
}

TEST(DeviceTensors, NoticeWritesRightBeforeAndRightBehindABuffer) {
  FakeDevice device;
  const Problem p = small_problem();
  const HostInputs inputs = make_inputs(p, Values::normal, 1);
  DeviceTensors tensors(device, inputs);
  const kernels::Args args = tensors.args(777);
  EXPECT_EQ(tensors.damaged_guard(), "");
  const auto changes = [&](const void* at, std::ptrdiff_t offset) {
    auto* byte = const_cast<unsigned char*>(static_cast<const unsigned char*>(at)) + offset;
    const unsigned char before = *byte;
    *byte = 0;
    std::string damaged = tensors.damaged_guard();
    *byte = before;
    return damaged;
  };
  const auto o_bytes = static_cast<std::ptrdiff_t>(inputs.q.size());
  EXPECT_EQ(changes(args.o, -1), "o");
  EXPECT_EQ(changes(args.o, o_bytes), "o");
  EXPECT_EQ(changes(args.o, o_bytes + 4095), "o");
  EXPECT_EQ(changes(args.lse, p.batch * p.heads * p.nq * 4), "lse");
  EXPECT_EQ(changes(args.workspace, 777), "workspace");
  EXPECT_EQ(changes(args.k, -4), "k");
}

}  // namespace
}  // namespace fcsa::runner
