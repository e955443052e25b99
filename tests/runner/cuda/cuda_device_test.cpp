#include "runner/cuda/cuda_device.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>

#include "kernels/family.h"
#include "runner/device/compiler.h"
#include "runner/process/temporary_directory.h"
#include "tests/runner/write_file.h"

namespace fcsa::runner {
namespace {

using Args = kernels::BackwardArgs;
using kernels::LaunchPlan;

constexpr std::size_t kMiB = std::size_t{1} << 20;

constexpr const char* kKernels = R"(
using fcsa::kernels::Args;
__global__ void square(const __grid_constant__ Args args) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const float x = static_cast<const float*>(args.q)[i];
  static_cast<float*>(args.workspace)[i] = x * x;
}
__global__ void sum(const __grid_constant__ Args args) {
  float total = 0;
  for (int i = 0; i < args.nq; ++i) total += static_cast<const float*>(args.workspace)[i];
  static_cast<float*>(args.o)[blockIdx.x * blockDim.x + threadIdx.x] = total;
}
__global__ void reverse_in_shared_memory(const __grid_constant__ Args args) {
  extern __shared__ float s[];
  for (int i = threadIdx.x; i < args.nq; i += blockDim.x) s[i] = static_cast<const float*>(args.q)[i];
  __syncthreads();
  for (int i = threadIdx.x; i < args.nq; i += blockDim.x) static_cast<float*>(args.o)[i] = s[args.nq - 1 - i];
}
__global__ void fault(const __grid_constant__ Args args) { *reinterpret_cast<volatile int*>(16) = args.nq; }
)";

std::string why_no_gpu() {
  try {
    cuda::Driver driver;
    int count = 0;
    driver.check(driver.device_get_count(&count), "cuDeviceGetCount");
    return count > 0 ? "" : "there is no CUDA device";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

std::unique_ptr<Module> load_kernels(Device& device) {
  const kernels::KernelSource source{kernels::DeviceKind::cuda,
                                     kernels::flattened_source("kernels/common/interface.h") + kKernels,
                                     {"square", "sum", "reverse_in_shared_memory", "fault"}};
  const auto compiled = make_nvrtc_compiler()->compile(source, device.info().target);
  if (!compiled.ok) throw std::runtime_error(compiled.log);
  const TemporaryDirectory directory;
  const auto path = fcsa::testing::write_file(directory.path() / "kernels.cubin", compiled.binary);
  return device.load({path, compiled.symbols});
}

// Device 0 and the kernels above, compiled for it.
class CudaDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = why_no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
    device_ = open_device("cuda:0");
    module_ = load_kernels(*device_);
  }

  std::unique_ptr<Buffer> buffer_of(const std::vector<float>& values) {
    auto buffer = device_->allocate(values.size() * sizeof(float));
    device_->upload(*buffer, 0, values.data(), buffer->bytes());
    return buffer;
  }

  std::vector<float> values_of(const Buffer& buffer) {
    std::vector<float> values(buffer.bytes() / sizeof(float));
    device_->download(values.data(), buffer, 0, buffer.bytes());
    return values;
  }

  std::unique_ptr<Device> device_;
  std::unique_ptr<Module> module_;
};

LaunchPlan one_step(int kernel, unsigned blocks, unsigned threads, unsigned smem_bytes = 0) {
  LaunchPlan plan;
  plan.count = 1;
  plan.steps[0] = {.kernel = kernel, .grid_x = blocks, .threads = threads, .smem_bytes = smem_bytes};
  return plan;
}

std::vector<float> counting(std::size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 0.0F);
  return values;
}

TEST_F(CudaDeviceTest, DescribesTheDevice) {
  const auto& info = device_->info();
  EXPECT_EQ(info.selector(), "cuda:0");
  EXPECT_EQ(info.target.kind, kernels::DeviceKind::cuda);
  EXPECT_EQ(info.target.arch, cuda::arch_name(info.target.compute_capability));
  EXPECT_GE(info.target.compute_capability, 75);
  EXPECT_GE(info.target.smem_per_block_bytes, 48U * 1024);
  EXPECT_GT(info.target.multiprocessors, 0);
  EXPECT_GT(info.target.l2_bytes, 0U);
  EXPECT_GT(info.target.memory_bytes, 512 * kMiB);
  EXPECT_EQ(info.uuid.size(), std::string("GPU-00000000-0000-0000-0000-000000000000").size()) << info.uuid;
  EXPECT_NE(info.driver.find("(CUDA 1"), std::string::npos) << info.driver;
  EXPECT_NE(info.compiler.find("NVRTC"), std::string::npos) << info.compiler;
  EXPECT_FALSE(info.name.empty());
}

TEST_F(CudaDeviceTest, RunsTheStepsOfAPlanInOrder) {
  constexpr unsigned kCount = 1024;
  const auto in = buffer_of(std::vector<float>(kCount, 2.0F));
  const auto workspace = device_->allocate(kCount * sizeof(float));
  const auto out = device_->allocate(kCount * sizeof(float));
  Args args;
  args.q = in->data();
  args.o = out->data();
  args.workspace = workspace->data();
  args.nq = kCount;
  LaunchPlan plan = one_step(0, kCount / 128, 128);
  plan.count = 2;
  plan.steps[1] = one_step(1, kCount / 256, 256).steps[0];
  device_->launch(*module_, plan, args);
  EXPECT_EQ(values_of(*out), std::vector<float>(kCount, 4.0F * kCount));
}

TEST_F(CudaDeviceTest, LaunchesWithAllTheSharedMemoryThatTheDeviceOptsIn) {
  const auto smem_bytes = static_cast<unsigned>(device_->info().target.smem_per_block_bytes);
  const auto input = counting(smem_bytes / sizeof(float));
  const auto in = buffer_of(input);
  const auto out = device_->allocate(in->bytes());
  Args args;
  args.q = in->data();
  args.o = out->data();
  args.nq = static_cast<int>(input.size());
  device_->launch(*module_, one_step(2, 1, 256, smem_bytes), args);
  EXPECT_EQ(values_of(*out), std::vector<float>(input.rbegin(), input.rend()));
}

TEST_F(CudaDeviceTest, TooMuchSharedMemoryOrTooManyThreadsIsAnErrorThatDoesNotPoison) {
  const auto too_much = static_cast<unsigned>(device_->info().target.smem_per_block_bytes) + 1024;
  for (const auto& plan : {one_step(2, 1, 256, too_much), one_step(0, 1, 2048)}) {
    try {
      device_->launch(*module_, plan, Args{});
      FAIL() << "launched beyond the limits";
    } catch (const DeviceError& error) {
      EXPECT_FALSE(error.sticky()) << error.what();
      EXPECT_NE(std::string(error.what()).find("CUDA_ERROR"), std::string::npos) << error.what();
    }
  }
  device_->synchronize();
  EXPECT_EQ(values_of(*buffer_of({1, 2, 3})), (std::vector<float>{1, 2, 3}));
}

TEST_F(CudaDeviceTest, TimesWhatIsLaunched) {
  const auto workspace = device_->allocate(4 * kMiB);
  const auto out = device_->allocate(1024 * sizeof(float));
  Args args;
  args.workspace = workspace->data();
  args.o = out->data();
  args.nq = static_cast<int>(kMiB);
  const auto launch = [&] { device_->launch(*module_, one_step(1, 1, 32), args); };
  launch();
  const double with_kernel = device_->time_ms(launch);
  const double without = device_->time_ms([] {});
  EXPECT_GT(with_kernel, without);
  EXPECT_GE(without, 0);
}

TEST_F(CudaDeviceTest, FillsAndCopiesAtOffsets) {
  const auto buffer = device_->allocate(1024);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % 256, 0U);
  device_->fill(*buffer, 0, 0xAB, 1024);
  const unsigned char one = 1;
  device_->upload(*buffer, 513, &one, 1);
  unsigned char back[3] = {};
  device_->download(back, *buffer, 512, 3);
  EXPECT_EQ(back[0], 0xAB);
  EXPECT_EQ(back[1], 1);
  EXPECT_EQ(back[2], 0xAB);
  EXPECT_THROW(device_->fill(*buffer, 1000, 0, 25), std::out_of_range);
}

TEST_F(CudaDeviceTest, TooLargeAnAllocationSaysWhatWasAskedForAndWhatIsFree) {
  const std::size_t too_much = device_->info().target.memory_bytes + kMiB;
  try {
    device_->allocate(too_much);
    FAIL() << "allocated more than there is";
  } catch (const OutOfMemory& error) {
    EXPECT_NE(std::string(error.what()).find(std::to_string(too_much)), std::string::npos) << error.what();
  }
  EXPECT_EQ(device_->allocate(kMiB)->bytes(), kMiB);
}

TEST_F(CudaDeviceTest, PeakMemoryIsTheHighWaterMarkSinceTheReset) {
  const auto before = device_->allocate(8 * kMiB);
  device_->reset_peak_memory();
  EXPECT_EQ(device_->peak_memory_bytes(), 0U);
  {
    const auto first = device_->allocate(2 * kMiB);
    const auto second = device_->allocate(3 * kMiB);
  }
  const auto third = device_->allocate(kMiB);
  EXPECT_EQ(device_->peak_memory_bytes(), 5 * kMiB);
}

TEST_F(CudaDeviceTest, ABinaryThatIsNoCubinIsAnErrorThatNamesIt) {
  const TemporaryDirectory directory;
  const std::string path = fcsa::testing::write_file(directory.path() / "broken.cubin", "no cubin");
  try {
    device_->load({path, {"kernel"}});
    FAIL() << "loaded a broken binary";
  } catch (const DeviceError& error) {
    EXPECT_FALSE(error.sticky()) << error.what();
    EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
  }
}

TEST_F(CudaDeviceTest, TellsClocksWhereNvmlIsThere) {
  const tuner::Clocks clocks = device_->clocks();
  if (clocks.sm_mhz == 0) GTEST_SKIP() << "NVML doesn't tell the clocks of this device";
  EXPECT_GT(clocks.sm_mhz, 100);
  EXPECT_GT(clocks.memory_mhz, 100);
}

TEST_F(CudaDeviceTest, AnOrdinalBeyondTheLastIsAnError) {
  EXPECT_THROW(open_device("cuda:99"), std::runtime_error);
}

// Exit status 0 when a fault is reported as sticky and everything after it fails too.
[[noreturn]] void fault_and_exit() {
  const auto device = open_device("cuda:0");
  const auto module = load_kernels(*device);
  int failures = 0;
  for (int attempt = 0; attempt < 2; ++attempt) {
    try {
      device->launch(*module, one_step(3, 1, 1), Args{});
      device->synchronize();
    } catch (const DeviceError& error) {
      std::fprintf(stderr, "%s\n", error.what());
      failures += error.sticky() ? 1 : 0;
    }
  }
  std::_Exit(failures == 2 ? 0 : 1);
}

// In a process of its own, since the fault poisons it.
TEST(CudaDeviceDeathTest, AnIllegalAccessIsSticky) {
  if (const std::string reason = why_no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(fault_and_exit(), ::testing::ExitedWithCode(0), "ILLEGAL_ADDRESS");
}

}  // namespace
}  // namespace fcsa::runner
