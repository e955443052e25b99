#include <gtest/gtest.h>

#include "runner/cuda/cuda_device.h"
#include "runner/cuda/driver.h"
#include "runner/cuda/nvml.h"
#include "runner/cuda/nvrtc_library.h"
#include "runner/cuda/ptxas_log.h"
#include "runner/process/temporary_directory.h"
#include "tests/runner/write_file.h"

namespace fcsa::runner::cuda {
namespace {

TEST(CudaErrors, ThatPoisonTheContextAreSticky) {
  EXPECT_TRUE(is_sticky(CUDA_ERROR_ILLEGAL_ADDRESS));
  EXPECT_TRUE(is_sticky(CUDA_ERROR_LAUNCH_FAILED));
  EXPECT_TRUE(is_sticky(CUDA_ERROR_LAUNCH_TIMEOUT));
  EXPECT_TRUE(is_sticky(CUDA_ERROR_ECC_UNCORRECTABLE));
  EXPECT_FALSE(is_sticky(CUDA_ERROR_OUT_OF_MEMORY));
  EXPECT_FALSE(is_sticky(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES));
  EXPECT_FALSE(is_sticky(CUDA_ERROR_INVALID_VALUE));
}

TEST(ArchName, HasTheSuffixWhereAGpuHasItsOwnTarget) {
  EXPECT_EQ(arch_name(75), "sm_75");
  EXPECT_EQ(arch_name(89), "sm_89");
  EXPECT_EQ(arch_name(90), "sm_90a");
  EXPECT_EQ(arch_name(100), "sm_100a");
  EXPECT_EQ(arch_name(103), "sm_103a");
  EXPECT_EQ(arch_name(120), "sm_120a");
  EXPECT_EQ(arch_name(121), "sm_121a");
}

TEST(ClocksEventReasons, AreNamedAndIdleIsNone) {
  EXPECT_EQ(clocks_event_reasons_text(0x0), "");
  EXPECT_EQ(clocks_event_reasons_text(0x1), "");
  EXPECT_EQ(clocks_event_reasons_text(0x4), "sw_power_cap");
  EXPECT_EQ(clocks_event_reasons_text(0x44), "sw_power_cap,hw_thermal_slowdown");
  EXPECT_EQ(clocks_event_reasons_text(0x10004), "sw_power_cap,0x10000");
}

TEST(Nvrtc, OfTheDriversMajorVersionIsAccepted) {
  EXPECT_EQ(refusal({12, 9}, 12040), "");
  EXPECT_EQ(refusal({13, 2}, 13000), "");
  EXPECT_EQ(refusal({12, 4}, 13000), "");
  EXPECT_EQ(refusal({13, 0}, 0), "");
}

TEST(Nvrtc, NewerThanTheDriverOrTooOldIsRefusedWithTheReason) {
  EXPECT_EQ(refusal({13, 0}, 12080), "NVRTC 13.0 is newer than the driver, which supports CUDA 12.8");
  EXPECT_EQ(refusal({12, 3}, 12080), "NVRTC 12.3 is older than 12.4");
}

TEST(Nvrtc, NotFoundIsAnErrorThatSaysWhereItLookedAndHowToGetIt) {
  const TemporaryDirectory folder;
  fcsa::testing::write_file(folder.path() / "libnvrtc.so.13", "this is no shared object");
  NvrtcSearch search;
  search.folders = {folder.path()};
  try {
    NvrtcLibrary::find(search);
    FAIL() << "found NVRTC in a folder without it";
  } catch (const std::runtime_error& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find("pip install nvidia-cuda-nvrtc"), std::string::npos) << what;
    EXPECT_NE(what.find(folder.path()), std::string::npos) << what;
    EXPECT_NE(what.find("libnvrtc.so.13"), std::string::npos) << what;
  }
}

TEST(PtxasLog, GivesTheLargestOfAllFunctions) {
  const auto findings = parse_ptxas_log(
      "ptxas info    : 0 bytes gmem\n"
      "ptxas info    : Compiling entry function '_Z1a' for 'sm_90a'\n"
      "    1320 bytes stack frame, 2292 bytes spill stores, 2632 bytes spill loads\n"
      "ptxas info    : Used 32 registers, used 1 barriers, 1320 bytes cumulative stack size, 128 bytes smem\n"
      "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
      "ptxas info    : Used 168 registers, used 1 barriers, 64 bytes smem, 360 bytes cmem[0]\n");
  EXPECT_EQ(findings.resources.registers, 168);
  EXPECT_EQ(findings.resources.stack_bytes, 1320);
  EXPECT_EQ(findings.resources.spill_bytes, 4924);
  EXPECT_EQ(findings.resources.smem_bytes, 128);
  EXPECT_TRUE(findings.warnings.empty());
}

TEST(PtxasLog, KeepsSerialisedWgmmaWarningsOnceAndLeavesHarmlessOnes) {
  const std::string serialised =
      "ptxas info    : (C7512) Potential Performance Loss: wgmma.mma_async instructions are serialized due "
      "to "
      "non wgmma instructions defining accumulator registers\n";
  const auto findings = parse_ptxas_log(
      serialised + serialised +
      "ptxas info    : (C7519) warpgroup.arrive is injected in around line 65 by compiler\n"
      "ptxas info    : (C7517) warpgroup.wait is injected in around line 55 by compiler\n"
      "ptxas warning : Value of threads per SM for entry f is out of range. .minnctapersm will be ignored\n");
  ASSERT_EQ(findings.warnings.size(), 2U);
  EXPECT_EQ(findings.warnings[0].rfind("C7512: Potential Performance Loss: wgmma.mma_async", 0), 0U);
  EXPECT_EQ(findings.warnings[1], "C7517: warpgroup.wait is injected in around line 55 by compiler");
}

}  // namespace
}  // namespace fcsa::runner::cuda
