#include <gtest/gtest.h>

#include "runner/compile/compile_all.h"
#include "runner/compile/compile_pool.h"
#include "runner/process/temporary_directory.h"

namespace fcsa::runner {
namespace {

using tuner::Status;

constexpr const char* kBody = "(float* out) { out[threadIdx.x] = 1; }\n";

CompileJob baseline_job(const kernels::Problem& problem, const kernels::Family& family, const char* arch) {
  const auto target = kernels::target_for_arch(arch);
  return {{problem, &family, family.baseline(problem, target)}, target};
}

// Without spills, unless the family says that they may be.
void expect_all_compile(const std::vector<CompileJob>& jobs) {
  const TemporaryDirectory directory;
  const auto results = compile_all(
      jobs, {.executable = FCSA_WORKER_PROGRAM, .compile_jobs = 2, .cache_directory = directory.path()}, {});
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const auto& [candidate, target] = jobs[i];
    SCOPED_TRACE(target.arch + " " + kernels::to_text(candidate.problem));
    EXPECT_EQ(results[i].status, Status::ok) << results[i].message;
    EXPECT_GT(results[i].resources.registers, 0);
    EXPECT_GT(results[i].resources.smem_bytes, 0);
    if (!candidate.family->baseline_may_spill(candidate.problem.op)) {
      EXPECT_EQ(results[i].resources.spill_bytes, 0);
    }
  }
}

TEST(CompileNvrtc, MakesACubinWithResources) {
  const TemporaryDirectory directory;
  CompilePool pool(
      {.executable = FCSA_WORKER_PROGRAM, .kind = "nvrtc", .jobs = 1, .cache_directory = directory.path()});
  const auto target = kernels::target_for_arch("sm_90a");
  const auto description = pool.describe(target);
  EXPECT_NE(description.version.find("NVRTC"), std::string::npos);
  kernels::KernelSource source{
      kernels::DeviceKind::cuda, std::string("template <int N> __global__ void f") + kBody, {"f<3>"}};
  const auto key = source_hash(source, target, description);
  const auto result = pool.wait({source, target, key});
  ASSERT_EQ(result.status, Status::ok) << result.message;
  EXPECT_TRUE(result.cached.binary.path.ends_with(".cubin"));
  EXPECT_EQ(result.cached.binary.symbols, std::vector<std::string>{"_Z1fILi3EEvPf"});
  EXPECT_GT(result.cached.resources.registers, 0);
}

TEST(CompileNvrtc, ReportsTheFirstError) {
  const TemporaryDirectory directory;
  CompilePool pool(
      {.executable = FCSA_WORKER_PROGRAM, .kind = "nvrtc", .jobs = 1, .cache_directory = directory.path()});
  const auto target = kernels::target_for_arch("sm_80");
  kernels::KernelSource source{kernels::DeviceKind::cuda, "__global__ void f() { nonsense(); }", {"f"}};
  const auto key = source_hash(source, target, pool.describe(target));
  const auto result = pool.wait({source, target, key});
  EXPECT_EQ(result.status, Status::compile_failed);
  EXPECT_NE(result.message.find("nonsense"), std::string::npos) << result.message;
}

TEST(CompileNvrtc, CompilesABaselineForTwoArchitecturesWithoutADevice) {
  const auto& family = kernels::family_named("simt");
  kernels::Problem problem;
  problem.nq = problem.nk = 1024;
  std::vector<CompileJob> jobs;
  for (const char* arch : {"sm_75", "sm_90a"}) jobs.push_back(baseline_job(problem, family, arch));
  expect_all_compile(jobs);
}

// Plain and with every feature, from the smallest shared memory to the largest.
TEST(CompileNvrtc, CompilesSimtBackwardBaselinesWithoutSpills) {
  const auto& family = kernels::family_named("simt");
  kernels::Problem full;
  full.op = kernels::Op::backward;
  full.heads = full.kv_heads = 16, full.nq = full.nk = 4096;
  kernels::Problem masked = full;
  masked.dtype = kernels::DType::bf16, masked.head_dim = 128, masked.groups = 4, masked.kv_heads = 4;
  masked.causal = masked.key_mask = masked.head_scale = masked.scale_gradient = masked.bias_gradient = true;
  masked.bias = kernels::Bias::f32;
  std::vector<CompileJob> jobs;
  for (const char* arch : {"sm_75", "sm_90a"})
    for (const auto& problem : {full, masked}) jobs.push_back(baseline_job(problem, family, arch));
  expect_all_compile(jobs);
}

// The largest accumulators, and what takes registers beside them.
TEST(CompileNvrtc, CompilesMmaBackwardBaselines) {
  const auto& family = kernels::family_named("mma");
  std::vector<CompileJob> jobs;
  for (const int head_dim : {64, 128, 192, 256}) {
    kernels::Problem full;
    full.op = kernels::Op::backward, full.dtype = kernels::DType::bf16, full.head_dim = head_dim;
    full.heads = full.kv_heads = 16, full.nq = full.nk = 4096;
    kernels::Problem masked = full, grouped = full;
    masked.causal = masked.key_mask = masked.bias_gradient = true, masked.bias = kernels::Bias::f32;
    grouped.dtype = kernels::DType::f16, grouped.groups = 4, grouped.kv_heads = 4,
    grouped.deterministic = true;
    grouped.head_scale = grouped.scale_gradient = true;
    for (const auto& problem : {full, masked, grouped})
      for (const char* arch : {"sm_86", "sm_90a"}) jobs.push_back(baseline_job(problem, family, arch));
  }
  expect_all_compile(jobs);
}

// Those kinds of kernel that differ most in what they keep in registers. Products that wait for each other
// make a candidate pruned.
TEST(CompileNvrtc, CompilesWgmmaBaselinesWithoutSpillsOrSerialisedProducts) {
  const auto& family = kernels::family_named("wgmma");
  std::vector<CompileJob> jobs;
  for (const int head_dim : {64, 128}) {
    kernels::Problem full;
    full.dtype = kernels::DType::bf16, full.head_dim = head_dim;
    full.heads = full.kv_heads = 16, full.nq = full.nk = 4096;
    kernels::Problem causal = full, masked = full, decoding = full;
    causal.causal = true;
    masked.causal = masked.key_mask = masked.head_scale = true, masked.groups = 4, masked.scale = 1000;
    decoding.dtype = kernels::DType::f16, decoding.kv_heads = 4, decoding.nq = 1;
    for (const auto& problem : {full, causal, masked, decoding})
      jobs.push_back(baseline_job(problem, family, "sm_90a"));
  }
  expect_all_compile(jobs);
}

// What differs most in what the warpgroups keep in registers.
TEST(CompileNvrtc, CompilesWgmmaBackwardBaselinesWithoutSerialisedProducts) {
  const auto& family = kernels::family_named("wgmma");
  std::vector<CompileJob> jobs;
  for (const int head_dim : {32, 64, 96, 112, 128}) {
    kernels::Problem full;
    full.op = kernels::Op::backward, full.dtype = kernels::DType::bf16, full.head_dim = head_dim;
    full.heads = full.kv_heads = 16, full.nq = full.nk = 4096;
    kernels::Problem masked = full;
    masked.dtype = kernels::DType::f16, masked.groups = 2, masked.kv_heads = 4;
    masked.causal = masked.key_mask = masked.head_scale = masked.scale_gradient = true;
    for (const auto& problem : {full, masked}) jobs.push_back(baseline_job(problem, family, "sm_90a"));
  }
  expect_all_compile(jobs);
}

}  // namespace
}  // namespace fcsa::runner
