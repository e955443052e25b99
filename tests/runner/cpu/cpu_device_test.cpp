#include "runner/cpu/cpu_device.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <numeric>

#include "kernels/cpu/builtin.h"
#include "kernels/family.h"
#include "kernels/problem.h"
#include "runner/cpu/host.h"
#include "runner/device/compiler.h"
#include "runner/process/temporary_directory.h"
#include "tests/runner/write_file.h"

namespace fcsa::runner::cpu {
namespace {

using fcsa::testing::write_file;
using Args = kernels::BackwardArgs;
using kernels::LaunchPlan;

constexpr std::size_t kMiB = std::size_t{1} << 20;

constexpr const char* kKernels = R"(
using fcsa::kernels::Args;
extern "C" void square(const Args* args, long long task, void*) {
  static_cast<float*>(args->workspace)[task] = static_cast<const float*>(args->q)[task] * static_cast<const float*>(args->q)[task];
}
extern "C" void sum(const Args* args, long long task, void*) {
  float total = 0;
  for (int i = 0; i < args->nq; ++i) total += static_cast<const float*>(args->workspace)[i];
  static_cast<float*>(args->o)[task] = total;
}
extern "C" void use_scratch(const Args* args, long long task, void* scratch) {
  for (long long i = 0; i < args->nk; ++i) static_cast<volatile char*>(scratch)[i] = 1;
  static_cast<unsigned long long*>(args->o)[task] = reinterpret_cast<unsigned long long>(scratch);
}
)";

// One compilation for all tests here.
class CpuDeviceTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    kernels::Target target;
    const kernels::KernelSource source{kernels::DeviceKind::cpu,
                                       kernels::flattened_source("kernels/common/interface.h") + kKernels,
                                       {"square", "sum", "use_scratch"}};
    compiled_ = std::make_unique<CompileResult>(make_system_compiler()->compile(source, target));
    ASSERT_TRUE(compiled_->ok) << compiled_->log;
  }
  static void TearDownTestSuite() { compiled_.reset(); }

  Binary binary() const {
    return {write_file(directory_.path() / "kernels.so", compiled_->binary), compiled_->symbols};
  }

  static inline std::unique_ptr<CompileResult> compiled_;
  TemporaryDirectory directory_;
  std::unique_ptr<Device> device_ = open_cpu_device("test compiler");
};

LaunchPlan one_step(int kernel, unsigned tasks, unsigned scratch_bytes) {
  LaunchPlan plan;
  plan.count = 1;
  plan.steps[0].kernel = kernel;
  plan.steps[0].grid_x = tasks;
  plan.steps[0].smem_bytes = scratch_bytes;
  return plan;
}

TEST_F(CpuDeviceTest, RunsEveryTaskOfAStepBeforeTheNextStep) {
  constexpr int kCount = 1000;
  std::vector<float> input(kCount);
  std::iota(input.begin(), input.end(), 0.0F);
  const auto in = device_->allocate(kCount * sizeof(float));
  const auto workspace = device_->allocate(kCount * sizeof(float));
  const auto out = device_->allocate(kCount * sizeof(float));
  device_->upload(*in, 0, input.data(), in->bytes());
  Args args;
  args.q = in->data();
  args.o = out->data();
  args.workspace = workspace->data();
  args.nq = kCount;
  LaunchPlan plan = one_step(0, kCount, 0);
  plan.count = 2;
  plan.steps[1] = {.kernel = 1, .grid_x = kCount / 10, .grid_y = 5, .grid_z = 2};
  const auto module = device_->load(binary());
  EXPECT_GE(device_->time_ms([&] { device_->launch(*module, plan, args); }), 0);
  std::vector<float> output(kCount);
  device_->download(output.data(), *out, 0, out->bytes());
  float expected = 0;
  for (const float value : input) expected += value * value;
  for (const float value : output) ASSERT_EQ(value, expected);
}

TEST_F(CpuDeviceTest, GivesTasksAlignedScratch) {
  constexpr unsigned kTasks = 64;
  const auto out = device_->allocate(kTasks * sizeof(std::uint64_t));
  Args args;
  args.o = out->data();
  args.nk = 1000;
  const auto module = device_->load(binary());
  device_->launch(*module, one_step(2, kTasks, 1000), args);
  std::array<std::uint64_t, kTasks> addresses{};
  device_->download(addresses.data(), *out, 0, out->bytes());
  for (const auto address : addresses) {
    ASSERT_NE(address, 0U);
    EXPECT_EQ(address % 64, 0U);
  }
}

TEST_F(CpuDeviceTest, PeakMemoryCountsWhatAKernelTouchesAfterEveryReset) {
  const auto module = device_->load(binary());
  const auto out = device_->allocate(sizeof(std::uint64_t));
  Args args;
  args.o = out->data();
  for (int round = 0; round < 2; ++round) {
    args.nk = 48 * kMiB;
    device_->reset_peak_memory();
    device_->launch(*module, one_step(2, 1, 48 * kMiB), args);
    EXPECT_GE(device_->peak_memory_bytes(), 40 * kMiB);
    EXPECT_LT(device_->peak_memory_bytes(), 80 * kMiB);
  }
  args.nk = 1;
  device_->reset_peak_memory();
  device_->launch(*module, one_step(2, 1, 1), args);
  EXPECT_LT(device_->peak_memory_bytes(), 20 * kMiB);
}

TEST_F(CpuDeviceTest, PeakMemoryCountsBuffersThatAreGoneAgain) {
  device_->reset_peak_memory();
  device_->allocate(64 * kMiB);
  EXPECT_GE(device_->peak_memory_bytes(), 60 * kMiB);
}

TEST_F(CpuDeviceTest, RefusesMoreMemoryThanThereIs) {
  const std::size_t available = Host().available_memory_bytes();
  try {
    device_->allocate(available + kMiB);
    FAIL() << "allocated more than there is";
  } catch (const OutOfMemory& error) {
    EXPECT_NE(std::string(error.what()).find(std::to_string(available + kMiB)), std::string::npos)
        << error.what();
  }
  EXPECT_THROW(device_->allocate(SIZE_MAX), OutOfMemory);
}

TEST_F(CpuDeviceTest, BuffersAreAlignedAndKeepWhatIsWritten) {
  const auto buffer = device_->allocate(1001);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % 256, 0U);
  EXPECT_EQ(buffer->bytes(), 1001U);
  device_->fill(*buffer, 0, 7, 1001);
  const std::array<unsigned char, 3> values{1, 2, 3};
  device_->upload(*buffer, 998, values.data(), 3);
  std::array<unsigned char, 5> back{};
  device_->download(back.data(), *buffer, 996, 5);
  EXPECT_EQ(back, (std::array<unsigned char, 5>{7, 7, 1, 2, 3}));
}

TEST_F(CpuDeviceTest, AccessBeyondABufferIsAnError) {
  const auto buffer = device_->allocate(16);
  std::array<unsigned char, 32> values{};
  EXPECT_THROW(device_->upload(*buffer, 8, values.data(), 9), std::out_of_range);
  EXPECT_THROW(device_->download(values.data(), *buffer, 17, 1), std::out_of_range);
  EXPECT_THROW(device_->fill(*buffer, 1, 0, SIZE_MAX), std::out_of_range);
}

TEST_F(CpuDeviceTest, ABrokenLibraryIsAnErrorThatNamesIt) {
  const std::string path = write_file(directory_.path() / "broken.so", "this is no shared object");
  try {
    device_->load({path, {"kernel"}});
    FAIL() << "loaded a broken library";
  } catch (const DeviceError& error) {
    EXPECT_FALSE(error.sticky());
    EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
  }
}

TEST_F(CpuDeviceTest, AMissingEntryPointIsAnErrorThatNamesIt) {
  Binary wrong = binary();
  wrong.symbols = {"no_such_kernel"};
  try {
    device_->load(wrong);
    FAIL() << "loaded a kernel that is not there";
  } catch (const DeviceError& error) {
    EXPECT_NE(std::string(error.what()).find("no_such_kernel"), std::string::npos) << error.what();
  }
}

TEST_F(CpuDeviceTest, AKernelThatTheBinaryLacksIsAnError) {
  const auto module = device_->load(binary());
  EXPECT_THROW(device_->launch(*module, one_step(3, 1, 0), Args{}), std::out_of_range);
}

TEST_F(CpuDeviceTest, RunsKernelsThatArePartOfTheProgram) {
  const auto problem = kernels::problem_from_text("forward f32 d64 b1 h2 kv2 nq33 nk40 bhnd");
  const auto builtin = kernels::cpu::builtin_kernels(problem.op, kernels::traits_of(problem));
  Args args = kernels::shape_args(problem);
  const LaunchPlan plan = builtin.plan(args);
  const std::size_t q_values = 2 * 33 * 64;
  const std::vector<float> ones(2 * 40 * 64, 1.0F);
  const auto keys = device_->allocate(ones.size() * sizeof(float));
  device_->upload(*keys, 0, ones.data(), keys->bytes());
  const auto out = device_->allocate(q_values * sizeof(float));
  const auto lse = device_->allocate(2 * 33 * sizeof(float));
  const auto workspace = device_->allocate(static_cast<std::size_t>(plan.workspace_bytes));
  args.q = args.k = args.v = keys->data();
  args.o = out->data();
  args.lse = static_cast<float*>(lse->data());
  args.workspace = workspace->data();
  const auto module = device_->load({"builtin:" + kernels::to_text(problem), {}});
  device_->launch(*module, plan, args);
  std::vector<float> output(q_values);
  device_->download(output.data(), *out, 0, out->bytes());
  for (const float value : output) ASSERT_NEAR(value, 1.0F, 1e-5F);
}

TEST_F(CpuDeviceTest, AnUnknownBuiltinKernelIsAnErrorThatDoesNotPoison) {
  EXPECT_THROW(device_->load({"builtin:nonsense", {}}), DeviceError);
  EXPECT_THROW(device_->load({"builtin:forward f32 d65 b1 h1 kv1 nq1 nk1 bhnd", {}}), DeviceError);
}

TEST(CpuDevice, DescribesThisMachine) {
  const kernels::DeviceInfo info = describe_cpu("test compiler");
  EXPECT_EQ(info.selector(), "cpu");
  EXPECT_EQ(info.compiler, "test compiler");
  EXPECT_EQ(info.uuid.substr(0, 4), "CPU-");
  EXPECT_EQ(info.uuid.size(), 20U);
  EXPECT_EQ(describe_cpu("other").uuid, info.uuid);
  EXPECT_GE(info.target.multiprocessors, 1);
  EXPECT_GT(info.target.memory_bytes, 64 * kMiB);
  EXPECT_GT(info.target.l2_bytes, 0U);
  EXPECT_FALSE(info.driver.empty());
}

}  // namespace
}  // namespace fcsa::runner::cpu
