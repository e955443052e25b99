#include "kernels/target.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace fcsa::kernels {
namespace {

TEST(Target, OfAnArchitectureHasItsLimits) {
  const Target hopper = target_for_arch("sm_90a");
  EXPECT_EQ(hopper.kind, DeviceKind::cuda);
  EXPECT_EQ(hopper.arch, "sm_90a");
  EXPECT_EQ(hopper.compute_capability, 90);
  EXPECT_EQ(hopper.smem_per_block_bytes, 232448U);
  EXPECT_EQ(hopper.max_threads_per_block, 1024);
  EXPECT_EQ(target_for_arch("sm_75").smem_per_block_bytes, 65536U);
  EXPECT_EQ(target_for_arch("sm_120a").smem_per_block_bytes, 101376U);
}

TEST(Target, OfAnInstructionSetIsACpu) {
  const Target target = target_for_arch("avx2");
  EXPECT_EQ(target.kind, DeviceKind::cpu);
  EXPECT_EQ(target.compute_capability, 0);
  EXPECT_GT(target.smem_per_block_bytes, 0U);
}

TEST(Target, OfAnUnknownArchitectureIsAnErrorThatListsTheKnown) {
  try {
    target_for_arch("sm_61");
    FAIL() << "sm_61 was accepted";
  } catch (const std::invalid_argument& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find("'sm_61'"), std::string::npos) << what;
    EXPECT_NE(what.find("sm_90a"), std::string::npos) << what;
  }
}

TEST(DeviceInfo, SelectorNamesKindAndOrdinal) {
  DeviceInfo info;
  EXPECT_EQ(info.selector(), "cpu");
  info.target = target_for_arch("sm_80");
  info.index = 3;
  EXPECT_EQ(info.selector(), "cuda:3");
}

TEST(DeviceKind, HasAName) {
  EXPECT_EQ(to_text(DeviceKind::cpu), "cpu");
  EXPECT_EQ(to_text(DeviceKind::cuda), "cuda");
}

}  // namespace
}  // namespace fcsa::kernels
