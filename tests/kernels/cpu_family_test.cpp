#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "cpu_gradient_cases.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/families.h"

namespace fcsa::kernels {
namespace {

namespace fs = std::filesystem;

// Kernels rendered by the family, compiled by the system compiler and loaded.
class Compiled {
 public:
  Compiled(const KernelSource& source, const std::string& instruction_set) {
    std::string folder = (fs::temp_directory_path() / "fcsa_cpu_family_XXXXXX").string();
    folder_ = mkdtemp(folder.data());
    std::ofstream(folder_ / "kernel.cpp") << source.text;
    std::ostringstream command;
    command << FCSA_TEST_CXX << " -std=c++20 -O2 -Wall -Wextra -Werror -fPIC -shared";
    for (const auto& flag : cpu::compile_flags_for(instruction_set)) command << ' ' << flag;
    command << ' ' << (folder_ / "kernel.cpp").string() << " -o " << (folder_ / "kernel.so").string();
    if (std::system(command.str().c_str()) != 0) return;
    library_ = dlopen((folder_ / "kernel.so").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library_) return;
    for (const auto& entry : source.entries)
      functions_.push_back(reinterpret_cast<cpu::TaskFunction>(dlsym(library_, entry.c_str())));
  }
  ~Compiled() {
    if (library_) dlclose(library_);
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;

  const std::vector<cpu::TaskFunction>& functions() const { return functions_; }

 private:
  fs::path folder_;
  void* library_ = nullptr;
  std::vector<cpu::TaskFunction> functions_;
};

void check(const Family& family, const Problem& problem, const Configuration& configuration,
           const Target& target) {
  SCOPED_TRACE(to_text(family, problem.op, configuration));
  ASSERT_EQ(invalid_reason(family, problem, configuration, target), "");
  const Compiled compiled(family.source(problem, configuration), target.arch);
  ASSERT_EQ(compiled.functions().size(), problem.op == Op::forward ? 2u : 4u)
      << "the rendered source doesn't compile or load";
  const auto plan = [&](const BackwardArgs& args) {
    return family.plan(traits_of(problem), configuration, args);
  };
  if (problem.op == Op::forward)
    cpu_cases::check_all(problem, compiled.functions(), plan);
  else
    cpu_cases::check_all_gradients(problem, compiled.functions(), plan);
}

Target host_target() {
  return target_for_arch(cpu::host_instruction_set());
}

std::vector<Problem> supported_problems() {
  std::vector<Problem> problems;
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (int head_dim = 16; head_dim <= 256; head_dim += 16)
      for (const bool flag : {false, true}) {
        Problem problem;
        problem.dtype = dtype, problem.head_dim = head_dim;
        problem.causal = flag, problem.key_mask = !flag, problem.l2norm_qk = flag;
        problems.push_back(problem);
        problem.bias = flag ? Bias::f32 : Bias::same, problem.head_scale = !flag, problem.groups = 4;
        problems.push_back(problem);
      }
  for (std::size_t i = 0, forward = problems.size(); i < forward; ++i) {
    Problem problem = problems[i];
    problem.op = Op::backward, problem.scale_gradient = true;
    problem.bias_gradient = problem.bias != Bias::none;
    problem.batch = 1 + static_cast<int>(i % 4), problem.nk = 1 + static_cast<int>(i * 37 % 2000);
    problems.push_back(problem);
  }
  return problems;
}

// A valid configuration drawn at random.
Configuration draw(const Family& family, const Problem& problem, const Target& target, std::mt19937& random) {
  const auto parameters = family.parameters(problem.op);
  for (;;) {
    Configuration configuration{kernel_name(family, problem.op), {}};
    for (const auto& p : parameters)
      configuration.values.emplace_back(p.name, p.values[random() % p.values.size()]);
    if (invalid_reason(family, problem, configuration, target).empty()) return configuration;
  }
}

TEST(CpuFamily, BaselineIsValidForEverySupportedProblemAndTarget) {
  const auto family = make_cpu_family();
  for (const char* arch : {"avx512", "avx2", "neon", "generic"})
    for (const Problem& problem : supported_problems()) {
      const Target target = target_for_arch(arch);
      ASSERT_EQ(family->unsupported(problem, target), "") << to_text(problem);
      const auto reason = invalid_reason(*family, problem, family->baseline(problem, target), target);
      EXPECT_EQ(reason, "") << arch << ": " << to_text(problem);
    }
}

TEST(CpuFamily, BaselineTakesItsValuesFromTheSearchSpace) {
  const auto family = make_cpu_family();
  for (const char* arch : {"avx512", "avx2", "neon", "generic"})
    for (const Problem& problem : supported_problems()) {
      const Configuration baseline = family->baseline(problem, target_for_arch(arch));
      for (const auto& p : family->parameters(problem.op))
        EXPECT_EQ(std::count(p.values.begin(), p.values.end(), baseline.at(p.name)), 1) << p.name;
    }
}

TEST(CpuFamily, SaysWhatItDoesNotServe) {
  const auto family = make_cpu_family();
  Problem problem;
  EXPECT_NE(family->unsupported(problem, target_for_arch("sm_90a")), "");
}

TEST(CpuFamily, WorkspaceGrowsWithTheKeysNotWithTheirSquare) {
  const auto family = make_cpu_family();
  Problem problem;
  problem.nq = problem.nk = 65536;
  const Configuration baseline = family->baseline(problem, host_target());
  const LaunchPlan plan = family->plan(traits_of(problem), baseline, shape_args(problem));
  EXPECT_LE(plan.workspace_bytes, 2LL * 65536 * problem.head_dim * 4 + 65536);
}

TEST(CpuFamily, BaselineIsRightWhenRendered) {
  const auto family = make_cpu_family();
  for (const int head_dim : {64, 80}) {
    Problem problem;
    problem.head_dim = head_dim, problem.causal = head_dim == 80;
    check(*family, problem, family->baseline(problem, host_target()), host_target());
  }
}

TEST(CpuFamily, BiasScalesAndGroupsAreRightWhenRendered) {
  const auto family = make_cpu_family();
  Problem problem;
  problem.head_dim = 80, problem.dtype = DType::bf16, problem.causal = true;
  problem.bias = Bias::same, problem.head_scale = true, problem.groups = 5;
  check(*family, problem, family->baseline(problem, host_target()), host_target());
  problem.head_dim = 192, problem.dtype = DType::f16, problem.bias = Bias::f32, problem.key_mask = true;
  problem.groups = 48;
  check(*family, problem, family->baseline(problem, host_target()), host_target());
}

TEST(CpuFamily, ConfigurationsDrawnFromTheSpaceAreRightWhenRendered) {
  const auto family = make_cpu_family();
  std::mt19937 random(2024);
  int drawn = 0;
  for (const int head_dim : {16, 32, 64, 80, 96, 128}) {
    for (const bool flag : {false, true}) {
      Problem problem;
      problem.head_dim = head_dim, problem.causal = flag, problem.key_mask = !flag && head_dim < 64;
      problem.dtype = static_cast<DType>(drawn % 3);
      if (drawn++ % 4 == 3) problem.l2norm_qk = false, problem.scale = 0.2f;
      check(*family, problem, draw(*family, problem, host_target(), random), host_target());
    }
  }
}

TEST(CpuFamily, BackwardBaselineIsRightWhenRendered) {
  const auto family = make_cpu_family();
  Problem problem;
  problem.op = Op::backward, problem.causal = true;
  check(*family, problem, family->baseline(problem, host_target()), host_target());
  problem.head_dim = 80, problem.dtype = DType::bf16, problem.key_mask = true;
  problem.bias = Bias::same, problem.head_scale = true, problem.groups = 5;
  problem.bias_gradient = problem.scale_gradient = true;
  check(*family, problem, family->baseline(problem, host_target()), host_target());
}

TEST(CpuFamily, BackwardConfigurationsDrawnFromTheSpaceAreRightWhenRendered) {
  const auto family = make_cpu_family();
  std::mt19937 random(2025);
  Target target = host_target();
  target.multiprocessors = 16;
  int drawn = 0;
  for (const int head_dim : {16, 48, 64, 128}) {
    for (const bool flag : {false, true}) {
      Problem problem;
      problem.op = Op::backward, problem.nk = 2000;  // for constraints: enough for any split
      problem.head_dim = head_dim, problem.causal = flag, problem.key_mask = !flag && head_dim < 64;
      problem.dtype = static_cast<DType>(drawn++ % 3);
      check(*family, problem, draw(*family, problem, target, random), target);
    }
  }
}

TEST(CpuFamily, BackwardBaselineSplitsKeysOnlyWhereHeadsLeaveCoresIdle) {
  const auto family = make_cpu_family();
  Target target = target_for_arch("avx2");
  target.multiprocessors = 16;
  Problem problem;
  problem.op = Op::backward, problem.nq = problem.nk = 4096;
  const auto splits = [&](int heads) {
    problem.heads = problem.kv_heads = heads;
    return family->baseline(problem, target).at("key_splits");
  };
  EXPECT_EQ(splits(32), 1);
  EXPECT_EQ(splits(16), 1);
  EXPECT_EQ(splits(8), 2);
  EXPECT_EQ(splits(2), 8);
  EXPECT_EQ(splits(1), 0);
}

}  // namespace
}  // namespace fcsa::kernels
