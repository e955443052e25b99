#include "runner/verification/inputs.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "tests/runner/verification/input_cases.h"

namespace fcsa::runner {
namespace {

using kernels::DType;
using kernels::Problem;

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

TEST(Inputs, OpposedKeysPutEveryLogitAtMinusTheBound) {
  Problem p = small_problem();
  const double uniform = std::log(p.nk);
  for (const double lse : attend_to(make_inputs(p, Values::opposed, 5)).lse)
    EXPECT_NEAR(lse, uniform - p.scale, 1e-5);
  p.l2norm_qk = false;
  p.logit_bound = 20.0f;
  for (const double lse : attend_to(make_inputs(p, Values::opposed, 5)).lse)
    EXPECT_NEAR(lse, uniform - 0.99 * 20, 1e-3);
}

TEST(Inputs, RepeatedKeysGetEqualWeight) {
  const HostInputs inputs = make_inputs(small_problem(), Values::repeated_keys, 5);
  const kernels::RowResults results = attend_to(inputs);
  const auto dim = static_cast<std::size_t>(inputs.problem.head_dim);
  for (std::size_t row = 1; row < 70; ++row)
    for (std::size_t d = 0; d < dim; ++d) EXPECT_NEAR(results.o[row * dim + d], results.o[d], 1e-12);
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

}  // namespace
}  // namespace fcsa::runner
