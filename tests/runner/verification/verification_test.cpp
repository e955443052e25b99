#include "runner/verification/verification.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "kernels/families.h"
#include "kernels/reference/unfused_cpu.h"
#include "runner/worker/worker.h"
#include "tests/runner/verification/reference_kernel.h"

namespace fcsa::runner {
namespace {

using kernels::Args;
using kernels::DType;
using kernels::LaunchPlan;
using kernels::Problem;
using kernels::RowIndex;
using kernels::Traits;

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
    float scale;
    double passes, fails;
  } limits[] = {{DType::f32, 1, 2e-6, 3e-6},   {DType::f32, 8, 2e-6, 4e-6},  {DType::f16, 1, 8e-4, 1e-3},
                {DType::f16, 8, 8e-4, 1.1e-3}, {DType::bf16, 1, 6e-3, 8e-3}, {DType::bf16, 8, 6e-3, 9e-3}};
  for (const auto& [dtype, scale, passes, fails] : limits) {
    Problem p = base_problem();
    p.dtype = dtype;
    p.scale = scale;
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
    EXPECT_TRUE(off_by(passes)) << kernels::to_text(dtype) << ", scale " << scale;
    EXPECT_FALSE(off_by(fails)) << kernels::to_text(dtype) << ", scale " << scale;
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

// 13 MB.
Check long_check(std::uint64_t seed) {
  return {.problem = {.dtype = DType::bf16, .head_dim = 16, .nq = 2, .nk = 200000, .logit_bound = {}},
          .seed = seed};
}

bool allocates(FakeDevice& device, Verifier& verifier, const Check& check) {
  const std::size_t before = device.allocations;
  verifier.tensors(check);
  return device.allocations > before;
}

TEST(Verifier, KeepsOneLargeProblemWhereMemoryIsShort) {
  FakeDevice device;
  Verifier verifier(device);
  verifier.tensors(long_check(1));
  verifier.tensors(long_check(2));
  EXPECT_FALSE(allocates(device, verifier, long_check(2)));
  EXPECT_TRUE(allocates(device, verifier, long_check(1)));
}

TEST(Verifier, KeepsTheLatestUsedLargeProblemsThatAPartOfTheMemoryHolds) {
  FakeDevice device;
  device.target().kind = kernels::DeviceKind::cuda;
  device.target().memory_bytes = std::size_t{120} << 20;  // a quarter of that holds two
  Verifier verifier(device);
  verifier.tensors(long_check(1));
  verifier.tensors(long_check(2));
  EXPECT_FALSE(allocates(device, verifier, long_check(1)));
  verifier.tensors(long_check(3));
  EXPECT_FALSE(allocates(device, verifier, long_check(1)));
  EXPECT_TRUE(allocates(device, verifier, long_check(2)));
}

TEST(Verifier, GivesALargeProblemAWorkspaceOnlyWhileItIsInUse) {
  FakeDevice device;
  device.target().kind = kernels::DeviceKind::cuda;
  device.target().memory_bytes = std::size_t{1} << 30;
  Verifier verifier(device);
  DeviceTensors& first = verifier.tensors(long_check(1));
  first.args(1000);
  verifier.tensors(long_check(2));
  EXPECT_EQ(first.workspace_bytes(), 0U);
}

TEST(Verifier, ForgetsOtherProblemsWhereThatIsEnough) {
  FakeDevice device;
  device.target().kind = kernels::DeviceKind::cuda;
  device.target().memory_bytes = std::size_t{1} << 30;
  Verifier verifier(device);
  verifier.tensors(long_check(1));
  verifier.tensors(long_check(2));
  EXPECT_FALSE(verifier.forget_others(long_check(1), std::size_t{1} << 30));
  EXPECT_FALSE(allocates(device, verifier, long_check(2)));
  EXPECT_TRUE(verifier.forget_others(long_check(1), std::size_t{1} << 20));
  EXPECT_FALSE(allocates(device, verifier, long_check(1)));
  EXPECT_FALSE(verifier.forget_others(long_check(1), 0)) << "nothing is left";
  EXPECT_TRUE(allocates(device, verifier, long_check(2)));
}

TEST(Worker, VerifiesABinaryOnceOnEachProblemThatItIsMeasuredOn) {
  FakeDevice device;
  int wrong = 0;
  device.kernel = [&](const LaunchPlan&, const Args& args) {
    attend(kernels::traits_of(base_problem()), args, args);
    if (wrong != 0) static_cast<float*>(args.o)[0] += 1;
  };
  Worker worker(device);
  const auto status = [&](const std::string& binary, int nq, bool measure = true) {
    Job job;
    job.measure = measure;
    job.measurement.max_samples = 2;
    job.candidates.push_back(
        {.binary = {binary, {}}, .small_checks = {}, .full_check = {.problem = base_problem()}});
    job.candidates[0].full_check.problem.nq = nq;
    const auto evaluation = worker.run(job, [](const JobProgress&) {}).at(0);
    return std::pair(evaluation.status, evaluation.accuracy.tolerance > 0);
  };
  const std::pair right(tuner::Status::ok, true), refused(tuner::Status::wrong_result, true);
  EXPECT_EQ(status("first", 33), right);
  wrong = 1;
  EXPECT_EQ(status("first", 33), right) << "not looked at again";
  EXPECT_EQ(status("first", 33, false), refused) << "verified only";
  EXPECT_EQ(status("first", 34), refused);
  EXPECT_EQ(status("second", 33), refused);
}

TEST(Worker, MakesRoomForAProblemBesideWhatItKeepsOfOthers) {
  FakeDevice device;
  device.target().kind = kernels::DeviceKind::cuda;
  device.target().memory_bytes = std::size_t{1} << 30;
  device.memory_bytes = std::size_t{20} << 20;  // others have the rest
  device.kernel = [](const LaunchPlan&, const Args& args) {
    attend({.dtype = DType::bf16, .head_dim = 16}, args, args);
  };
  Worker worker(device);
  for (const std::uint64_t seed : {1, 2}) {
    Job job;
    job.measurement.max_samples = 2;
    job.candidates.push_back({.binary = {}, .small_checks = {}, .full_check = long_check(seed)});
    const auto evaluation = worker.run(job, [](const JobProgress&) {}).at(0);
    EXPECT_EQ(evaluation.status, tuner::Status::ok) << evaluation.message;
  }
  Job job;
  job.candidates.push_back({.binary = {}, .small_checks = {}, .full_check = long_check(3)});
  job.candidates[0].full_check.plan.workspace_bytes = std::size_t{20} << 20;
  EXPECT_EQ(worker.run(job, [](const JobProgress&) {}).at(0).status, tuner::Status::out_of_memory);
}

}  // namespace
}  // namespace fcsa::runner
