#include "reports/peaks.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/reports/fabricated.h"

namespace fcsa::reports {
namespace {

constexpr const char* kOne = R"([{"device": "My GPU", "bytes_per_second": 1e12,
  "flops_per_second": {"bf16": 2e14}, "source": "measured"}])";

std::string fault(const std::string& text) {
  try {
    peaks_from_json(text, "my.json");
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "none";
}

TEST(Peaks, AreReadWithTheirSource) {
  const auto peaks = peaks_from_json(kOne, "my.json");
  ASSERT_EQ(peaks.size(), 1U);
  EXPECT_EQ(peaks[0].device, "My GPU");
  EXPECT_EQ(peaks[0].bytes_per_second, 1e12);
  EXPECT_EQ(peaks[0].flops_per_second.at("bf16"), 2e14);
  EXPECT_EQ(peaks[0].source, "measured");
}

TEST(Peaks, OfKnownDevicesAllHaveASourceAndAreOrdered) {
  for (const DevicePeaks& peaks : known_peaks()) {
    EXPECT_FALSE(peaks.source.empty()) << peaks.device;
    EXPECT_GE(peaks.flops_per_second.at("bf16"), peaks.flops_per_second.at("tf32")) << peaks.device;
    EXPECT_GE(peaks.flops_per_second.at("tf32"), peaks.flops_per_second.at("f32")) << peaks.device;
    EXPECT_GT(peaks.flops_per_second.at("f32"), peaks.bytes_per_second) << peaks.device;
  }
}

TEST(Peaks, AreFoundByTheWholeNameOnly) {
  const auto known = known_peaks();
  EXPECT_NE(find_peaks(known, fabricated::gpu()), nullptr);
  kernels::DeviceInfo other = fabricated::gpu();
  other.name = "NVIDIA H100";
  EXPECT_EQ(find_peaks(known, other), nullptr);
}

TEST(Peaks, SayWhatIsWrongAndWhere) {
  EXPECT_NE(fault("{}").find("my.json"), std::string::npos);
  EXPECT_NE(fault("[").find("my.json"), std::string::npos);
  std::string text = kOne;
  EXPECT_NE(fault(text.replace(text.find("bf16"), 4, "fp64")).find("'fp64'"), std::string::npos);
  text = kOne;
  EXPECT_NE(fault(text.replace(text.find("1e12"), 4, "-1.0")).find("bytes_per_second"), std::string::npos);
  text = kOne;
  EXPECT_NE(fault(text.replace(text.find("source"), 6, "origin")).find("source"), std::string::npos);
}

}  // namespace
}  // namespace fcsa::reports
