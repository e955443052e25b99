#include "kernels/reference/unfused_cpu.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>

#include "kernels/families.h"
#include "kernels/reference/reference.h"

namespace fcsa::kernels {
namespace {

using Kernel = std::function<void(const Args&, long long, void*)>;

// Inputs of a problem, and outputs with room for every row.
struct Tensors {
  Problem problem;
  std::vector<unsigned char> q, k, v, o, mask, bias, workspace;
  std::vector<float> lse, head_scale;

  explicit Tensors(const Problem& p) : problem(p) {
    std::mt19937 random(5);
    q = drawn(random, p.batch * p.heads * p.nq * p.head_dim);
    k = drawn(random, p.batch * p.kv_heads * p.nk * p.head_dim);
    v = drawn(random, p.batch * p.kv_heads * p.nk * p.head_dim);
    bias = drawn(random, p.batch * p.heads * p.nq * p.nk);
    o.assign(q.size(), 0xff);
    lse.assign(static_cast<std::size_t>(p.batch * p.heads * p.nq), std::nanf(""));
    for (int i = 0; i < p.batch * p.nk; ++i) mask.push_back(random() % 4 != 0);
    for (int h = 0; h < p.heads; ++h) head_scale.push_back(4.0f + static_cast<float>(h));
  }

  std::vector<unsigned char> drawn(std::mt19937& random, int count) const {
    std::normal_distribution<float> normal;
    std::vector<unsigned char> data(static_cast<std::size_t>(count * element_bytes(problem.dtype)));
    for (int i = 0; i < count; ++i) store_element(problem.dtype, data.data(), i, normal(random));
    return data;
  }

  BackwardArgs args() {
    BackwardArgs a = shape_args(problem);
    a.q = q.data();
    a.k = k.data();
    a.v = v.data();
    a.o = o.data();
    a.lse = lse.data();
    a.key_mask = mask.data();
    a.bias = bias.data();
    a.head_scale = head_scale.data();
    a.workspace = workspace.data();
    return a;
  }
};

struct Errors {
  double o = 0, lse = 0;
};

// Runs the family's plan and compares every row with fp64: the largest differences. Infinite when a row that
// sees no key isn't exactly 0 and -inf.
Errors run(const Problem& problem, const std::vector<Kernel>& kernels) {
  const auto family = make_unfused_cpu_family();
  const Traits traits = traits_of(problem);
  Tensors t(problem);
  const LaunchPlan plan = family->plan(traits, family->baseline(problem, {}), t.args());
  t.workspace.assign(static_cast<std::size_t>(plan.workspace_bytes), 0xff);
  const BackwardArgs args = t.args();
  for (int step = 0; step < plan.count; ++step) {
    std::vector<float> scratch(plan.steps[step].smem_bytes / sizeof(float), std::nanf(""));
    for (unsigned task = 0; task < plan.steps[step].grid_x; ++task)
      kernels[static_cast<std::size_t>(plan.steps[step].kernel)](args, task, scratch.data());
  }
  std::vector<RowIndex> rows;
  for (RowIndex row; row.batch < problem.batch; ++row.batch)
    for (row.head = 0; row.head < problem.heads; ++row.head)
      for (row.row = 0; row.row < problem.nq; ++row.row) rows.push_back(row);
  const RowResults expected = reference_rows(traits, args, rows);
  Errors worst;
  const auto widen = [](double& largest, double error) { largest = error <= largest ? largest : error; };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const RowIndex& r = rows[i];
    const long long first =
        r.batch * args.o_strides.batch + r.head * args.o_strides.head + r.row * args.o_strides.row;
    for (int d = 0; d < problem.head_dim; ++d)
      widen(worst.o, std::fabs(load_element(problem.dtype, t.o.data(), first + d) -
                               expected.o[i * static_cast<std::size_t>(problem.head_dim) + d]));
    if (t.lse[i] != expected.lse[i]) widen(worst.lse, std::fabs(t.lse[i] - expected.lse[i]));
  }
  return worst;
}

template <Traits T>
Errors run_instance(const Problem& problem) {
  EXPECT_EQ(traits_of(problem), T);
  using C = unfused::Config;
  return run(problem, {unfused::normalise<T, C{}>, unfused::scores<T, C{}>, unfused::softmax<T, C{}>,
                       unfused::output<T, C{}>});
}

Problem base_problem() {
  return {.head_dim = 32, .batch = 2, .heads = 4, .kv_heads = 2, .nq = 45, .nk = 131, .logit_bound = {}};
}

TEST(UnfusedCpu, IsRightWithGroupedHeadsAndOddLengths) {
  const Errors e = run_instance<Traits{.head_dim = 32}>(base_problem());
  EXPECT_LT(e.o, 2e-6);
  EXPECT_LT(e.lse, 5e-6);
}

TEST(UnfusedCpu, IsRightWhenCausalMaskedAndLaidOutRowFirst) {
  Problem p = base_problem();
  p.causal = p.key_mask = true;
  p.layout = Layout::bnhd;
  const Errors e = run_instance<Traits{.head_dim = 32, .causal = true, .key_mask = true}>(p);
  EXPECT_LT(e.o, 2e-6);
  EXPECT_LT(e.lse, 5e-6);
}

TEST(UnfusedCpu, GivesZeroAndMinusInfinityToRowsThatSeeNoKey) {
  Problem p = base_problem();
  p.causal = true;
  p.nq = 100;
  p.nk = 41;
  const Errors e = run_instance<Traits{.head_dim = 32, .causal = true}>(p);
  EXPECT_LT(e.o, 2e-6);
  EXPECT_LT(e.lse, 5e-6);
}

TEST(UnfusedCpu, IsRightOnRawQueriesAndKeys) {
  Problem p = base_problem();
  p.l2norm_qk = false;
  p.scale = 0.2f;
  const Errors e =
      run_instance<Traits{.head_dim = 32, .l2norm_qk = false, .softmax = Softmax::running_maximum}>(p);
  EXPECT_LT(e.o, 4e-6);
}

TEST(UnfusedCpu, IsRightWithBiasHeadScaleAndGroups) {
  Problem p = base_problem();
  p.bias = Bias::f32;
  p.head_scale = true;
  p.groups = 2;
  constexpr Traits kTraits{.head_dim = 32,
                           .bias = Bias::f32,
                           .head_scale = true,
                           .groups = 2,
                           .softmax = Softmax::running_maximum};
  EXPECT_LT(run_instance<kTraits>(p).o, 4e-6);
}

TEST(UnfusedCpu, RoundsLikeTheDtypeOnF16AndBf16) {
  Problem p = base_problem();
  p.dtype = DType::f16;
  EXPECT_LT((run_instance<Traits{.dtype = DType::f16, .head_dim = 32}>(p).o), 2e-3);
  p.dtype = DType::bf16;
  EXPECT_LT((run_instance<Traits{.dtype = DType::bf16, .head_dim = 32}>(p).o), 1.6e-2);
}

TEST(UnfusedCpu, IsRightAsTheLibraryThatItsSourceCompilesTo) {
  Problem p = base_problem();
  p.head_dim = 80;
  const auto family = make_unfused_cpu_family();
  const KernelSource source = family->source(p, family->baseline(p, {}));
  const auto folder =
      std::filesystem::temp_directory_path() / ("fcsa_unfused_test_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "kernel.cpp") << source.text;
  const std::string command = std::string(FCSA_TEST_CXX) + " -std=c++20 -O2 -shared -fPIC -o '" +
                              (folder / "kernel.so").string() + "' '" + (folder / "kernel.cpp").string() +
                              "'";
  ASSERT_EQ(std::system(command.c_str()), 0) << command;  // NOLINT: a fixed command, not user input
  void* library = dlopen((folder / "kernel.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  std::vector<Kernel> kernels;
  for (const std::string& entry : source.entries) {
    auto* function = reinterpret_cast<void (*)(const Args*, long long, void*)>(dlsym(library, entry.c_str()));
    ASSERT_NE(function, nullptr) << entry;
    kernels.emplace_back(
        [function](const Args& args, long long task, void* scratch) { function(&args, task, scratch); });
  }
  EXPECT_LT(run(p, kernels).o, 2e-6);
  dlclose(library);
  std::filesystem::remove_all(folder);
}

TEST(UnfusedPlan, CountsScoresBeyondTwoToThe31) {
  const Problem p{
      .head_dim = 64, .batch = 1, .heads = 32, .kv_heads = 32, .nq = 65536, .nk = 65536, .logit_bound = {}};
  for (const auto& family : {make_unfused_cpu_family(), make_unfused_cuda_family()}) {
    const LaunchPlan plan = family->plan(traits_of(p), family->baseline(p, {}), shape_args(p));
    EXPECT_GE(plan.workspace_bytes, 32LL * 65536 * 65536 * 4);
  }
}

TEST(UnfusedPlan, LeavesNormalisationOutOnRawQueriesAndKeys) {
  Problem p = base_problem();
  p.l2norm_qk = false;
  const auto family = make_unfused_cuda_family();
  const LaunchPlan plan = family->plan(traits_of(p), family->baseline(p, {}), shape_args(p));
  EXPECT_EQ(plan.count, 3);
  EXPECT_EQ(plan.steps[0].kernel, unfused::kScores);
}

}  // namespace
}  // namespace fcsa::kernels
