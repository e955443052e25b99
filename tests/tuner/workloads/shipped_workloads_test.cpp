#include <gtest/gtest.h>

#include <filesystem>

#include "tuner/workloads/served.h"

namespace fcsa::tuner {
namespace {

TEST(ShippedWorkloads, AreReadHaveANameAndASourceAndKernelsServeThem) {
  std::size_t files = 0;
  for (const auto& file : std::filesystem::directory_iterator(FCSA_TEST_SOURCES "/data/workloads")) {
    const auto workload = read_workload(file.path());
    ++files;
    EXPECT_FALSE(workload.source.empty()) << file.path();
    EXPECT_NE(workload.name, file.path().stem().string());
    for (const auto& entry : workload.entries) {
      EXPECT_FALSE(entry.name.empty()) << file.path() << ":" << entry.line;
      const auto target = kernels::target_for_arch("sm_90a");
      EXPECT_EQ(unserved(entry.problem, target), "") << file.path() << ":" << entry.line;
    }
  }
  EXPECT_GE(files, 9u);
}

}  // namespace
}  // namespace fcsa::tuner
