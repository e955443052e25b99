#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "runner/device/device.h"
#include "tests/runner/scoped_environment.h"

namespace fcsa::runner {
namespace {

using fcsa::testing::ScopedEnvironment;

Inventory::Library library_named(const Inventory& inventory, const std::string& name) {
  const auto found = std::ranges::find(inventory.libraries, name, &Inventory::Library::name);
  return found != inventory.libraries.end() ? *found : Inventory::Library{};
}

TEST(Inventory, WithoutAGpuHasTheCpuAndSaysWhatIsMissing) {
  const ScopedEnvironment no_driver("FCSA_LIBCUDA", "/nonexistent/libcuda.so.1");
  const ScopedEnvironment no_nvrtc("FCSA_NVRTC", "/nonexistent/libnvrtc.so");
  const Inventory inventory = take_inventory();
  ASSERT_EQ(inventory.devices.size(), 1U);
  EXPECT_EQ(inventory.devices[0].info.selector(), "cpu");
  EXPECT_TRUE(inventory.devices[0].usable) << inventory.devices[0].missing;
  EXPECT_EQ(inventory.devices[0].missing, "");
  const std::string driver_problem = library_named(inventory, "libcuda").problem;
  EXPECT_NE(driver_problem.find("install the NVIDIA driver"), std::string::npos) << driver_problem;
  EXPECT_NE(driver_problem.find("/nonexistent/libcuda.so.1"), std::string::npos) << driver_problem;
  const std::string nvrtc_problem = library_named(inventory, "NVRTC").problem;
  EXPECT_NE(nvrtc_problem.find("/nonexistent/libnvrtc.so"), std::string::npos) << nvrtc_problem;
  EXPECT_EQ(library_named(inventory, "C++ compiler").problem, "");
}

TEST(Inventory, WithoutACompilerSaysThatTheCpuCannotBeUsed) {
  const ScopedEnvironment no_driver("FCSA_LIBCUDA", "/nonexistent");
  const ScopedEnvironment no_compiler("FCSA_CXX", "/nonexistent");
  const Inventory inventory = take_inventory();
  ASSERT_FALSE(inventory.devices.empty());
  const DeviceReport& cpu = inventory.devices.back();
  EXPECT_FALSE(cpu.usable);
  EXPECT_NE(cpu.missing.find("install g++"), std::string::npos) << cpu.missing;
  EXPECT_EQ(cpu.info.compiler, "none");
}

TEST(OpenDevice, OpensTheCpuWithTheCompilerItWouldUse) {
  const auto device = open_device("cpu");
  EXPECT_EQ(device->info().selector(), "cpu");
  EXPECT_NE(device->info().compiler, "none");
}

TEST(OpenDevice, RefusesMalformedSelectors) {
  for (const char* selector : {"", "gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", "cuda:0x", "cpu:0"}) {
    EXPECT_THROW(open_device(selector), std::invalid_argument) << selector;
  }
}

TEST(OpenDevice, WithoutADriverSaysWhatToInstall) {
  const ScopedEnvironment no_driver("FCSA_LIBCUDA", "/nonexistent");
  try {
    open_device("cuda:0");
    FAIL() << "opened a GPU without a driver";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("install the NVIDIA driver"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace fcsa::runner
