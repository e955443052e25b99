#include <gtest/gtest.h>

#include "kernels/family.h"
#include "runner/device/compiler.h"
#include "tests/runner/scoped_environment.h"

namespace fcsa::runner {
namespace {

constexpr const char* kScale = R"(
template <int Factor>
__global__ void scale(const __grid_constant__ fcsa::kernels::Args args) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < args.nq) static_cast<float*>(args.o)[i] = Factor * static_cast<const float*>(args.q)[i];
}
)";

// More live values than the 32 registers that two blocks of 1024 threads leave each thread.
constexpr const char* kSpill = R"(
template <int N>
__global__ void __launch_bounds__(1024, 2) spill(float* x) {
  float a[N];
#pragma unroll
  for (int i = 0; i < N; i++) a[i] = x[i * 1024 + threadIdx.x];
#pragma unroll
  for (int k = 0; k < 2; k++)
#pragma unroll
    for (int i = 0; i < N; i++) a[i] = a[i] * a[(i * 7 + 3) % N] + a[(i + 1) % N];
#pragma unroll
  for (int i = 0; i < N; i++) x[i * 1024 + threadIdx.x] = a[i];
}
)";

// The function call between the asynchronous products makes the compiler wait for each of them.
constexpr const char* kSerialised = R"(
__device__ __noinline__ float change(float x) { return x * 1.5f + 1.0f; }
__global__ void serialised(float* x, unsigned long long a, unsigned long long b) {
  float d[4] = {0, 0, 0, 0};
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  for (int i = 0; i < 4; i++) {
    asm volatile("{wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0,%1,%2,%3}, %4, %5, 1, 1, 1, 0, 0;}"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "l"(a), "l"(b));
    d[0] = change(d[0]);
  }
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  for (int i = 0; i < 4; i++) x[threadIdx.x * 4 + i] = d[i];
}
)";

CompileResult compile(std::string text, std::vector<std::string> entries, std::string arch) {
  kernels::Target target;
  target.kind = kernels::DeviceKind::cuda;
  target.arch = std::move(arch);
  return make_nvrtc_compiler()->compile({kernels::DeviceKind::cuda, std::move(text), std::move(entries)},
                                        target);
}

TEST(NvrtcCompiler, CompilesTemplateInstancesForEveryArchitecture) {
  const std::string source = kernels::flattened_source("kernels/common/interface.h") + kScale;
  for (const char* arch : {"sm_75", "sm_90a", "sm_120a"}) {
    const auto result = compile(source, {"scale<2>", "scale<3>"}, arch);
    ASSERT_TRUE(result.ok) << arch << ": " << result.log;
    EXPECT_EQ(result.binary.substr(1, 3), "ELF");
    ASSERT_EQ(result.symbols.size(), 2U);
    EXPECT_NE(result.symbols[0].find("Li2E"), std::string::npos) << result.symbols[0];
    EXPECT_NE(result.symbols[1].find("Li3E"), std::string::npos) << result.symbols[1];
    EXPECT_GT(result.resources.registers, 0);
    EXPECT_EQ(result.resources.spill_bytes, 0);
    EXPECT_TRUE(result.warnings.empty());
  }
}

TEST(NvrtcCompiler, ReportsSpillsAndStack) {
  const auto result = compile(kSpill, {"spill<64>"}, "sm_90a");
  ASSERT_TRUE(result.ok) << result.log;
  EXPECT_GT(result.resources.spill_bytes, 0);
  EXPECT_GT(result.resources.stack_bytes, 0);
  EXPECT_LE(result.resources.registers, 32);
}

TEST(NvrtcCompiler, ReportsStaticSharedMemory) {
  const auto result = compile(
      "__global__ void f(int* x) { __shared__ int s[100]; s[threadIdx.x] = *x; __syncthreads(); *x = s[*x]; "
      "}",
      {"f"}, "sm_80");
  ASSERT_TRUE(result.ok) << result.log;
  EXPECT_EQ(result.resources.smem_bytes, 400);
}

TEST(NvrtcCompiler, ReportsWgmmaThatIsNotAsynchronous) {
  const auto result = compile(kSerialised, {"serialised"}, "sm_90a");
  ASSERT_TRUE(result.ok) << result.log;
  ASSERT_FALSE(result.warnings.empty()) << result.log;
  EXPECT_EQ(result.warnings[0].substr(0, 3), "C75");
}

TEST(NvrtcCompiler, ReportsTheFirstErrorLineOfBadSource) {
  const auto result =
      compile("__global__ void f() {}\n__global__ void g() { nonsense(); }\n", {"f"}, "sm_90a");
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("kernel.cu(2)"), std::string::npos) << result.message;
  EXPECT_NE(result.message.find("nonsense"), std::string::npos) << result.message;
  EXPECT_EQ(result.message.find('\n'), std::string::npos);
  EXPECT_TRUE(result.binary.empty());
}

TEST(NvrtcCompiler, ReportsANameThatIsNotInTheSource) {
  const auto result = compile("__global__ void f() {}", {"missing"}, "sm_90a");
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("missing"), std::string::npos) << result.message;
}

TEST(NvrtcCompiler, NamesAnArchitectureThatItCannotCompileFor) {
  const auto result = compile("__global__ void f() {}", {"f"}, "sm_30");
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("sm_30"), std::string::npos) << result.message;
}

TEST(NvrtcCompiler, NamesItsVersion) {
  EXPECT_EQ(make_nvrtc_compiler()->version().rfind("NVRTC 1", 0), 0U);
}

TEST(NvrtcCompiler, AnOverrideThatIsNotThereIsNamed) {
  const fcsa::testing::ScopedEnvironment environment("FCSA_NVRTC", "/nonexistent/libnvrtc.so");
  try {
    make_nvrtc_compiler();
    FAIL() << "loaded a library that is not there";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("/nonexistent/libnvrtc.so"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace fcsa::runner
