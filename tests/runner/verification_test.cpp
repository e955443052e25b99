#include "runner/verification.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <set>

#include "kernels/families.h"
#include "kernels/reference/reference.h"
#include "kernels/reference/unfused_cpu.h"
#include "runner/comparison.h"
#include "tests/runner/fake_device.h"

namespace fcsa::runner {
namespace {

using kernels::Args;
using kernels::DType;
using kernels::LaunchPlan;
using kernels::Problem;
using kernels::RowIndex;
using kernels::Traits;

std::vector<RowIndex> all_rows(const Args& args) {
  std::vector<RowIndex> rows;
  for (RowIndex row; row.batch < args.batch; ++row.batch)
    for (row.head = 0; row.head < args.heads; ++row.head)
      for (row.row = 0; row.row < args.nq; ++row.row) rows.push_back(row);
  return rows;
}

void store_rows(const Traits& traits, const Args& args, const std::vector<RowIndex>& rows,
                const kernels::RowResults& results) {
  const auto dim = static_cast<std::size_t>(traits.head_dim);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const RowIndex& r = rows[i];
    const long long first =
        r.batch * args.o_strides.batch + r.head * args.o_strides.head + r.row * args.o_strides.row;
    for (std::size_t d = 0; d < dim; ++d)
      kernels::store_element(traits.dtype, args.o, first + static_cast<long long>(d),
                             static_cast<float>(results.o[i * dim + d]));
    args.lse[(static_cast<long long>(r.batch) * args.heads + r.head) * args.nq + r.row] =
        static_cast<float>(results.lse[i]);
  }
}

// The right answer for `read` (which a test may have changed), written where `args` says.
void attend(const Traits& traits, const Args& read, const Args& args) {
  const std::vector<RowIndex> rows = all_rows(args);
  store_rows(traits, args, rows, kernels::reference_rows(traits, read, rows));
}

Problem base_problem() {
  return {.dtype = DType::f32,
          .head_dim = 32,
          .batch = 2,
          .heads = 4,
          .kv_heads = 2,
          .nq = 33,
          .nk = 65,
          .logit_bound = {}};
}

// What the verifier says of a kernel on one problem.
CheckResult verdict(const Problem& problem, const FakeDevice::Kernel& kernel, Values values = Values::normal,
                    const LaunchPlan& plan = {}) {
  FakeDevice device;
  device.kernel = kernel;
  Verifier verifier(device);
  return verifier.run(Module{}, {.problem = problem, .plan = plan, .values = values, .seed = 11});
}

TEST(Verifier, AcceptsTheRightAnswerForEveryKindOfProblem) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (const bool causal : {false, true})
      for (const Values values : kAllValues) {
        Problem p = base_problem();
        p.dtype = dtype;
        p.causal = causal;
        p.key_mask = causal || values == Values::one_visible_key;
        if (values == Values::large_bias) p.bias = kernels::Bias::same;
        p.layout = causal ? kernels::Layout::bnhd : kernels::Layout::bhnd;
        const Traits traits = kernels::traits_of(p);
        const CheckResult result = verdict(
            p, [&](const LaunchPlan&, const Args& args) { attend(traits, args, args); }, values);
        EXPECT_TRUE(result.ok) << result.message;
        EXPECT_LT(result.error, result.tolerance);
      }
}

TEST(Verifier, RejectsOneNaN) {
  const Problem p = base_problem();
  const CheckResult result = verdict(p, [&](const LaunchPlan&, const Args& args) {
    attend(kernels::traits_of(p), args, args);
    static_cast<float*>(args.o)[(5 * 33 + 7) * 32 + 3] = std::nanf("");
  });
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("o is nan at batch 1 head 1 row 7 channel 3"), std::string::npos)
      << result.message;
}

TEST(Verifier, RejectsAKernelThatMissesTheLastKey) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    Problem p = base_problem();
    p.dtype = dtype;
    const CheckResult result = verdict(p, [&](const LaunchPlan&, const Args& args) {
      Args read = args;
      read.nk -= 1;
      attend(kernels::traits_of(p), read, args);
    });
    EXPECT_FALSE(result.ok);
    EXPECT_NE(result.message.find("o at batch"), std::string::npos) << result.message;
    EXPECT_NE(result.message.find("forward"), std::string::npos) << result.message;
  }
}

TEST(Verifier, RejectsAKernelWhoseCausalEdgeIsOffByOne) {
  Problem p = base_problem();
  p.causal = true;
  const CheckResult result = verdict(p, [&](const LaunchPlan&, const Args& args) {
    Args read = args;
    read.nq -= 1;  // the bottom right corner moves by one
    std::vector<RowIndex> rows = all_rows(args);
    std::erase_if(rows, [&](const RowIndex& r) { return r.row == args.nq - 1; });
    attend(kernels::traits_of(p), args, args);
    store_rows(kernels::traits_of(p), args, rows, kernels::reference_rows(kernels::traits_of(p), read, rows));
  });
  EXPECT_FALSE(result.ok);
}

TEST(Verifier, RejectsATileLeftUnwritten) {
  const Problem p = base_problem();
  const CheckResult result = verdict(p, [&](const LaunchPlan&, const Args& args) {
    std::vector<RowIndex> rows = all_rows(args);
    std::erase_if(rows, [](const RowIndex& r) { return r.batch == 1 && r.head == 3 && r.row >= 32; });
    store_rows(kernels::traits_of(p), args, rows, kernels::reference_rows(kernels::traits_of(p), args, rows));
  });
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("o was not written at batch 1 head 3 row 32"), std::string::npos)
      << result.message;
}

TEST(Verifier, RejectsATileLeftFromTheLaunchBefore) {
  const Problem p = base_problem();
  FakeDevice device;
  Verifier verifier(device);
  const Check check{.problem = p};
  device.kernel = [&](const LaunchPlan&, const Args& args) { attend(kernels::traits_of(p), args, args); };
  EXPECT_TRUE(verifier.run(Module{}, check).ok);
  device.kernel = [](const LaunchPlan&, const Args&) {};
  EXPECT_FALSE(verifier.run(Module{}, check).ok);
}

TEST(Verifier, RejectsAWriteBehindTheOutput) {
  const Problem p = base_problem();
  const CheckResult result = verdict(p, [&](const LaunchPlan&, const Args& args) {
    attend(kernels::traits_of(p), args, args);
    static_cast<float*>(args.o)[2 * 4 * 33 * 32] = 0;
  });
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("wrote outside of o"), std::string::npos) << result.message;
}

TEST(Verifier, RejectsAReadBehindTheLastKey) {
  const Problem p = base_problem();
  const CheckResult result = verdict(p, [&](const LaunchPlan&, const Args& args) {
    Args read = args;
    read.nk += 1;
    attend(kernels::traits_of(p), read, args);
  });
  EXPECT_FALSE(result.ok);
}

TEST(Verifier, RejectsAnLseInTheWrongBase) {
  const Problem p = base_problem();
  const CheckResult result = verdict(p, [&](const LaunchPlan&, const Args& args) {
    attend(kernels::traits_of(p), args, args);
    for (int i = 0; i < p.batch * p.heads * p.nq; ++i) args.lse[i] *= 1.442695f;
  });
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("lse at"), std::string::npos) << result.message;
}

TEST(Verifier, RejectsHeadsThatReadTheWrongKeyHead) {
  const Problem p = base_problem();
  const CheckResult result = verdict(p, [&](const LaunchPlan&, const Args& args) {
    for (int head = 0; head < args.heads; ++head) {
      Args one = args;
      one.heads = one.kv_heads = 1;
      one.q = static_cast<const float*>(args.q) + head * args.q_strides.head;
      one.k = static_cast<const float*>(args.k) + head % args.kv_heads * args.k_strides.head;
      one.v = static_cast<const float*>(args.v) + head % args.kv_heads * args.v_strides.head;
      std::vector<RowIndex> rows = all_rows(one);
      const kernels::RowResults results = kernels::reference_rows(kernels::traits_of(p), one, rows);
      for (RowIndex& row : rows) row.head = head;
      store_rows(kernels::traits_of(p), args, rows, results);
    }
  });
  EXPECT_FALSE(result.ok);
}

TEST(Verifier, RejectsRowsThatSeeNoKeyUnlessTheyAreZero) {
  Problem p = base_problem();
  p.causal = true;
  p.nq = 65;
  p.nk = 33;
  const auto right = [&](const LaunchPlan&, const Args& args) { attend(kernels::traits_of(p), args, args); };
  EXPECT_TRUE(verdict(p, right).ok);
  const CheckResult tiny = verdict(p, [&](const LaunchPlan& plan, const Args& args) {
    right(plan, args);
    static_cast<float*>(args.o)[0] = 1e-30f;
  });
  EXPECT_FALSE(tiny.ok);
  const CheckResult finite = verdict(p, [&](const LaunchPlan& plan, const Args& args) {
    right(plan, args);
    args.lse[0] = -1e30f;
  });
  EXPECT_FALSE(finite.ok);
  EXPECT_NE(finite.message.find("sees no key"), std::string::npos) << finite.message;
}

// A right kernel but for what `change` does to the arguments that it reads by.
CheckResult verdict_on(const Problem& problem, const std::function<void(Args&)>& change,
                       Placement placement = Placement::padded, Values values = Values::normal) {
  FakeDevice device;
  device.kernel = [&](const LaunchPlan&, const Args& args) {
    Args read = args;
    change(read);
    kernels::RowResults results = kernels::reference_rows(kernels::traits_of(problem), read, all_rows(args));
    Args write = args;
    write.o_strides = read.o_strides;
    store_rows(kernels::traits_of(problem), write, all_rows(args), results);
  };
  return Verifier(device).run(Module{},
                              {.problem = problem, .values = values, .placement = placement, .seed = 11});
}

TEST(Verifier, AcceptsTheRightAnswerInEveryPlacement) {
  for (const Placement placement : kAllPlacements)
    for (const DType dtype : {DType::f32, DType::f16}) {
      Problem p = base_problem();
      p.dtype = dtype;
      p.key_mask = true;
      p.bias = kernels::Bias::same;
      const CheckResult result = verdict_on(
          p, [](Args&) {}, placement);
      EXPECT_TRUE(result.ok) << result.message;
    }
}

TEST(Verifier, RejectsTheStridesOfAnotherTensor) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "wrong strides read outside of tensors, which the address sanitizer ends the test for";
#endif
  Problem p = base_problem();
  p.heads = p.kv_heads = 2;
  p.nq = p.nk = 40;
  p.key_mask = true;
  p.bias = kernels::Bias::f32;
  const std::pair<const char*, std::function<void(Args&)>> wrong[] = {
      {"q", [](Args& a) { a.q_strides = a.k_strides; }},
      {"k", [](Args& a) { a.k_strides = a.v_strides; }},
      {"v", [](Args& a) { a.v_strides = a.k_strides; }},
      {"o", [](Args& a) { a.o_strides = a.q_strides; }},
      {"bias", [&](Args& a) { a.bias_strides.row = p.nk; }},
      {"mask", [&](Args& a) { a.key_mask_stride = p.nk; }},
  };
  for (const auto& [name, change] : wrong) {
    EXPECT_FALSE(verdict_on(p, change).ok) << name;
    EXPECT_FALSE(verdict_on(p, change, Placement::mixed).ok) << name;
  }
}

TEST(Verifier, RejectsAnotherEps) {
  EXPECT_TRUE(verdict_on(
                  base_problem(), [](Args&) {}, Placement::dense, Values::clamped_rows)
                  .ok);
  EXPECT_FALSE(verdict_on(
                   base_problem(), [](Args& a) { a.eps = 1e-12f; }, Placement::dense, Values::clamped_rows)
                   .ok);
}

TEST(Verifier, RejectsAWriteBetweenRows) {
  const Problem p = base_problem();
  FakeDevice device;
  device.kernel = [&](const LaunchPlan&, const Args& args) {
    attend(kernels::traits_of(p), args, args);
    static_cast<float*>(args.o)[p.head_dim] = 0;
  };
  const CheckResult result =
      Verifier(device).run(Module{}, {.problem = p, .placement = Placement::padded, .seed = 11});
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("wrote outside of o"), std::string::npos) << result.message;
  EXPECT_NE(result.message.find("padded tensors"), std::string::npos) << result.message;
}

TEST(Verifier, RejectsAWriteToAnInput) {
  const Problem p = base_problem();
  const CheckResult result = verdict(p, [&](const LaunchPlan&, const Args& args) {
    attend(kernels::traits_of(p), args, args);
    const_cast<float*>(static_cast<const float*>(args.q))[5] = 0;
  });
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("wrote outside of q"), std::string::npos) << result.message;
}

TEST(Verifier, Rejects16BitsThatAreCutOffInsteadOfRounded) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    Problem p = base_problem();
    p.dtype = dtype;
    const Traits traits = kernels::traits_of(p);
    const auto with_results = [&](const std::function<double(double)>& stored) {
      return verdict(p, [&](const LaunchPlan&, const Args& args) {
        kernels::RowResults results = kernels::reference_rows(traits, args, all_rows(args));
        for (double& x : results.o) x = stored(x);
        store_rows(traits, args, all_rows(args), results);
      });
    };
    const int bits = dtype == DType::bf16 ? 8 : 11;
    const auto cut_off = [bits](double x) {
      const double unit = std::ldexp(1.0, std::ilogb(x) + 1 - bits);
      return std::trunc(x / unit) * unit;
    };
    EXPECT_TRUE(with_results([](double x) { return x; }).ok);
    const CheckResult result = with_results(cut_off);
    EXPECT_FALSE(result.ok);
    EXPECT_NE(result.message.find("on average"), std::string::npos) << result.message;
  }
}

// As tight as what it allows for is: the error of a kernel is about a third of that.
TEST(Verifier, AllowsWhatRoundingDoesAndLittleMore) {
  const struct {
    DType dtype;
    double passes, fails;
  } limits[] = {{DType::f32, 2e-6, 4e-6}, {DType::f16, 8e-4, 1.1e-3}, {DType::bf16, 6e-3, 9e-3}};
  for (const auto& [dtype, passes, fails] : limits) {
    Problem p = base_problem();
    p.dtype = dtype;
    p.head_dim = 64;
    const Traits traits = kernels::traits_of(p);
    // The longest row, which is compared with itself and not with the typical one.
    const auto off_by = [&](double error) {
      return verdict(p,
                     [&](const LaunchPlan&, const Args& args) {
                       kernels::RowResults results = kernels::reference_rows(traits, args, all_rows(args));
                       const auto squares = [&](std::size_t row) {
                         const auto first = results.o.begin() + static_cast<std::ptrdiff_t>(row * 64);
                         return std::inner_product(first, first + 64, first, 0.0);
                       };
                       std::size_t longest = 0;
                       for (std::size_t row = 1; row < results.lse.size(); ++row)
                         if (squares(row) > squares(longest)) longest = row;
                       for (std::size_t d = 0; d < 64; ++d) results.o[longest * 64 + d] *= 1 + error;
                       store_rows(traits, args, all_rows(args), results);
                     })
          .ok;
    };
    EXPECT_TRUE(off_by(passes)) << kernels::to_text(dtype);
    EXPECT_FALSE(off_by(fails)) << kernels::to_text(dtype);
  }
}

TEST(Verifier, RejectsAKernelThatIgnoresTheMask) {
  Problem p = base_problem();
  p.key_mask = true;
  Traits blind = kernels::traits_of(p);
  blind.key_mask = false;
  EXPECT_FALSE(verdict(p, [&](const LaunchPlan&, const Args& args) { attend(blind, args, args); }).ok);
}

// P is 0 there, and what it multiplies is NaN.
TEST(Verifier, RejectsAKernelThatAddsHiddenKeysWithoutWeight) {
  Problem p = base_problem();
  p.key_mask = true;
  EXPECT_TRUE(
      verdict(p, [&](const LaunchPlan&, const Args& args) { attend(kernels::traits_of(p), args, args); }).ok);
  const CheckResult result = verdict(p, [&](const LaunchPlan&, const Args& args) {
    attend(kernels::traits_of(p), args, args);
    const auto* v = static_cast<const float*>(args.v);
    for (int key = 0; key < args.nk; ++key)
      if (args.key_mask[key] == 0) *static_cast<float*>(args.o) += 0.0f * v[key * args.v_strides.row];
  });
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("o is nan at batch 0 head 0 row 0 channel 0"), std::string::npos)
      << result.message;
}

TEST(Verifier, RejectsAKernelThatIgnoresABias) {
  Problem p = base_problem();
  p.bias = kernels::Bias::same;
  Traits blind = kernels::traits_of(p);
  blind.bias = kernels::Bias::none;
  EXPECT_FALSE(verdict(p, [&](const LaunchPlan&, const Args& args) { attend(blind, args, args); }).ok);
}

TEST(Verifier, RejectsABroadcastBiasReadByTheWrongBatch) {
  Problem p = base_problem();
  p.batch = 4;
  p.bias = kernels::Bias::f32;
  p.bias_batch = 2;
  const CheckResult result = verdict(p, [&](const LaunchPlan&, const Args& args) {
    Args read = args;
    read.bias_batch = 1;
    attend(kernels::traits_of(p), read, args);
  });
  EXPECT_FALSE(result.ok);
}

TEST(Verifier, ComparesAsManyRowsAsTheCheckMayCost) {
  Problem p = base_problem();
  p.nq = p.nk = 700;
  const auto wrong_in_the_middle = [&](const LaunchPlan&, const Args& args) {
    attend(kernels::traits_of(p), args, args);
    static_cast<float*>(args.o)[345 * 32] += 1;
  };
  FakeDevice device;
  device.kernel = wrong_in_the_middle;
  EXPECT_FALSE(Verifier(device).run(Module{}, {.problem = p}).ok);
  EXPECT_TRUE(Verifier(device).run(Module{}, {.problem = p, .reference_flops = 1e6}).ok);
}

// More than kFullReferenceFlops: only a sample of the rows is compared.
Problem large_problem() {
  return {.dtype = DType::f32,
          .head_dim = 16,
          .batch = 1,
          .heads = 2,
          .kv_heads = 1,
          .nq = 5000,
          .nk = 4000,
          .logit_bound = {}};
}

constexpr Traits kLargeTraits{.head_dim = 16};

template <auto kKernel>
void run_tasks(const Args& args, const kernels::Launch& step) {
  std::vector<float> scratch(step.smem_bytes / sizeof(float));
  for (unsigned task = 0; task < step.grid_x; ++task) kKernel(args, task, scratch.data());
}

void run_unfused(const LaunchPlan& plan, const Args& args) {
  namespace u = kernels::unfused;
  run_tasks<u::normalise<kLargeTraits, u::Config{}>>(args, plan.steps[0]);
  run_tasks<u::scores<kLargeTraits, u::Config{}>>(args, plan.steps[1]);
  run_tasks<u::softmax<kLargeTraits, u::Config{}>>(args, plan.steps[2]);
  run_tasks<u::output<kLargeTraits, u::Config{}>>(args, plan.steps[3]);
}

TEST(Verifier, JudgesALargeProblemByASampleAndComputesItsReferenceOnce) {
  const Problem p = large_problem();
  ASSERT_EQ(kernels::traits_of(p), kLargeTraits);
  ASSERT_GT(kernels::flops(p), kFullReferenceFlops);
  const auto family = kernels::make_unfused_cpu_family();
  const Check check = full_check(*family, p, family->baseline(p, {}), 3);
  FakeDevice device;
  device.kernel = run_unfused;
  Verifier verifier(device);
  const CheckResult right = verifier.run(Module{}, check);
  EXPECT_TRUE(right.ok) << right.message;
  const std::vector<unsigned char> o = verifier.tensors(check).download(Output::o),
                                   lse = verifier.tensors(check).download(Output::lse);
  const std::size_t allocations = device.allocations;

  const std::size_t last_row = lse.size() / sizeof(float) - 1;
  const auto with_fault = [&](std::size_t row, float value) {
    device.kernel = [&, row, value](const LaunchPlan&, const Args& args) {
      std::copy(o.begin(), o.end(), static_cast<unsigned char*>(args.o));
      std::copy(lse.begin(), lse.end(), reinterpret_cast<unsigned char*>(args.lse));
      static_cast<float*>(args.o)[row * 16] = value;
    };
    return verifier.run(Module{}, check);
  };
  EXPECT_FALSE(with_fault(777, std::numeric_limits<float>::infinity()).ok) << "in any row";
  EXPECT_FALSE(with_fault(last_row, 0.5f).ok) << "in the last row of a head";
  EXPECT_EQ(device.allocations, allocations);
}

TEST(Verifier, KeepsOneLargeProblemAtATime) {
  FakeDevice device;
  Verifier verifier(device);
  const Problem p{.dtype = DType::bf16, .head_dim = 16, .nq = 2, .nk = 200000, .logit_bound = {}};
  const Check first{.problem = p, .seed = 1}, second{.problem = p, .seed = 2};
  verifier.tensors(first);
  verifier.tensors(second);
  const std::size_t allocations = device.allocations;
  verifier.tensors(second);
  EXPECT_EQ(device.allocations, allocations);
  verifier.tensors(first);
  EXPECT_GT(device.allocations, allocations);
}

TEST(SmallChecks, KeepTheTraitsSoThatOneBinaryServesThem) {
  const auto family = kernels::make_unfused_cpu_family();
  const Problem p{.dtype = DType::f16,
                  .head_dim = 80,
                  .batch = 4,
                  .heads = 32,
                  .kv_heads = 8,
                  .nq = 4096,
                  .nk = 4096,
                  .causal = true,
                  .key_mask = true,
                  .scale = 9.5f,
                  .logit_bound = {}};
  const std::vector<Check> checks = small_checks(*family, p, family->baseline(p, {}), 1);
  EXPECT_GE(checks.size(), 10u);
  std::set<Values> values;
  std::set<kernels::Layout> layouts;
  std::set<Placement> placements;
  bool more_queries = false, more_keys = false, grouped = false;
  for (const Check& check : checks) {
    EXPECT_EQ(kernels::traits_of(check.problem), kernels::traits_of(p));
    EXPECT_EQ(check.problem.scale, p.scale);
    EXPECT_EQ(check.plan.count, 4);
    EXPECT_LT(std::min(kernels::flops(check.problem), check.reference_flops), 0.2e9);
    placements.insert(check.placement);
    kernels::validate(check.problem);
    values.insert(check.values);
    layouts.insert(check.problem.layout);
    more_queries |= check.problem.nq > check.problem.nk;
    more_keys |= check.problem.nk > check.problem.nq;
    grouped |= check.problem.heads > check.problem.kv_heads && check.problem.kv_heads > 1;
  }
  EXPECT_EQ(values.size(), std::size(kAllValues) - 1) << "large_bias needs a bias";
  EXPECT_EQ(layouts.size(), 2u);
  EXPECT_EQ(placements.size(), std::size(kAllPlacements));
  EXPECT_TRUE(more_queries && more_keys && grouped);
}

TEST(SmallChecks, PutLengthsOnBothSidesOfTheTile) {
  const auto family = kernels::make_unfused_cpu_family();
  const Problem p = base_problem();
  const kernels::Tile tile = family->tile({});
  std::set<int> nq, nk;
  for (const Check& check : small_checks(*family, p, family->baseline(p, {}), 1)) {
    nq.insert(check.problem.nq);
    nk.insert(check.problem.nk);
  }
  for (const int off : {-1, 0, 1}) {
    EXPECT_TRUE(nq.contains(tile.rows + off));
    EXPECT_TRUE(nk.contains(tile.keys + off));
  }
}

TEST(SmallChecks, OfABiasBroadcastItAndMakeItLarge) {
  const auto family = kernels::make_unfused_cpu_family();
  Problem p = base_problem();
  p.bias = kernels::Bias::f32;
  bool broadcast = false, full = false, large = false, some_batches = false;
  for (const Check& check : small_checks(*family, p, family->baseline(p, {}), 1)) {
    kernels::validate(check.problem);
    if (check.problem.batch > 1 && check.problem.heads > 1)
      (check.problem.bias_heads == 1 ? broadcast : full) = true;
    large |= check.values == Values::large_bias;
    some_batches |= check.problem.bias_batch == 2 && check.problem.batch == 4;
  }
  EXPECT_TRUE(broadcast && full && large && some_batches);
}

TEST(SmallChecks, HideWholeTilesAndHaveManyOfThem) {
  const auto family = kernels::make_unfused_cpu_family();
  Problem p = base_problem();
  p.key_mask = true;
  const kernels::Tile tile = family->tile({});
  bool first_hidden = false, between = false, many = false;
  for (const Check& check : small_checks(*family, p, family->baseline(p, {}), 1)) {
    const HostInputs inputs = make_inputs(check.problem, check.values, check.seed);
    const int tiles = check.problem.nk / tile.keys;
    std::vector<bool> shown;
    for (int t = 0; t < tiles; ++t) {
      const auto first = inputs.key_mask.begin() + t * tile.keys;
      shown.push_back(std::any_of(first, first + tile.keys, [](auto byte) { return byte != 0; }));
    }
    first_hidden |= tiles > 1 && !shown.front() && shown.back();
    between |= tiles > 2 && shown.front() && shown.back() &&
               std::find(shown.begin(), shown.end(), false) != shown.end();
    many |= tiles >= 8 && check.problem.nk % tile.keys != 0 && check.problem.nq > 8 * tile.rows;
  }
  EXPECT_TRUE(first_hidden && between && many);
}

TEST(SmallChecks, LeaveOutAlignedRowsWhereSmallerLogitsArePromised) {
  const auto family = kernels::make_unfused_cpu_family();
  Problem p = base_problem();
  p.logit_bound = 4.0f;
  for (const Check& check : small_checks(*family, p, family->baseline(p, {}), 1)) {
    EXPECT_NE(check.values, Values::dominant_key);
    EXPECT_NE(check.values, Values::opposed);
  }
}

TEST(RowsToCheck, AreAllOfThemWhereThatIsCheap) {
  const Problem p = base_problem();
  EXPECT_EQ(rows_to_check(p, 2e9, 1).size(), static_cast<std::size_t>(p.batch * p.heads * p.nq));
}

TEST(RowsToCheck, IncludeTheEndsOfEveryHeadAndStayWithinTheCost) {
  Problem p = base_problem();
  p.nq = p.nk = 60001;
  const double budget = 2e9;
  const std::vector<RowIndex> rows = rows_to_check(p, budget, 1);
  std::set<std::tuple<int, int, int>> known;
  for (const RowIndex& r : rows) known.insert({r.batch, r.head, r.row});
  EXPECT_EQ(known.size(), rows.size());
  for (int batch = 0; batch < p.batch; ++batch)
    for (int head = 0; head < p.heads; ++head)
      for (const int row : {0, p.nq - 1}) EXPECT_TRUE(known.contains({batch, head, row}));
  EXPECT_LE(static_cast<double>(rows.size()) * 4 * p.nk * p.head_dim, budget);
  EXPECT_GT(static_cast<double>(rows.size()) * 4 * p.nk * p.head_dim, 0.9 * budget);
}

kernels::RowResults results(std::vector<double> o, std::vector<double> lse) {
  return {std::move(o), std::move(lse)};
}

TEST(WorstO, IsRelativeToTheRowOrTheTypicalRowWhicheverIsLarger) {
  const kernels::RowResults reference = results({3, 4, 0, 1}, {1, 1});
  const double rms = std::sqrt((25.0 + 1.0) / 2);
  EXPECT_DOUBLE_EQ(worst_o(results({3, 4.5, 0, 1}, {1, 1}), reference).error, 0.1);
  const Worst second = worst_o(results({3, 4, 0, 2}, {1, 1}), reference);
  EXPECT_DOUBLE_EQ(second.error, 1 / rms);
  EXPECT_EQ(second.row, 1u);
}

TEST(WorstO, IsInfiniteForNaNWhereverItIs) {
  const double nan = std::nan("");
  EXPECT_TRUE(std::isinf(worst_o(results({nan, 4, 0, 9}, {1, 1}), results({3, 4, 0, 1}, {1, 1})).error));
  EXPECT_TRUE(std::isinf(worst_o(results({3, 9, 0, nan}, {1, 1}), results({3, 4, 0, 1}, {1, 1})).error));
}

TEST(WorstLse, TakesMinusInfinityLiterally) {
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(worst_lse(results({0}, {-inf}), results({0}, {-inf})).error, 0);
  EXPECT_EQ(worst_lse(results({0}, {-1e30}), results({0}, {-inf})).error, inf);
  EXPECT_EQ(worst_lse(results({0}, {-inf}), results({0}, {2})).error, inf);
  EXPECT_DOUBLE_EQ(worst_lse(results({0}, {11}), results({0}, {10})).error, 0.1);
}

}  // namespace
}  // namespace fcsa::runner
