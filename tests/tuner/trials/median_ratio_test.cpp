#include "tuner/trials/median_ratio.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace fcsa::tuner {
namespace {

Measurement measured(double low, double median, double high, std::size_t samples = 20) {
  Measurement measurement;
  measurement.samples_ms.assign(samples, median);
  measurement.median_ms = median;
  measurement.ci_low_ms = low;
  measurement.ci_high_ms = high;
  return measurement;
}

TEST(MedianRatio, OfExactMediansIsExact) {
  const auto ratio =
      ratio_of_medians(std::array{measured(3, 3, 3), measured(4, 4, 4)}, std::array{measured(6, 6, 6)});
  EXPECT_DOUBLE_EQ(ratio.value, 2);
  EXPECT_DOUBLE_EQ(ratio.low, 2);
  EXPECT_DOUBLE_EQ(ratio.high, 2);
}

TEST(MedianRatio, AddsTheSquaresOfErrorsOnEitherSide) {
  // 3 parts up here and 4 parts down there: 5 parts up.
  const auto ratio = ratio_of_medians(std::array{measured(1, 1, std::exp(0.03))},
                                      std::array{measured(std::exp(-0.04), 1, 1)});
  EXPECT_DOUBLE_EQ(ratio.value, 1);
  EXPECT_DOUBLE_EQ(ratio.low, 1);
  EXPECT_NEAR(std::log(ratio.high), 0.05, 1e-12);
}

TEST(MedianRatio, TrustsFewSamplesLess) {
  const auto half_width = [](std::size_t samples) {
    return std::log(ratio_of_medians(std::array{measured(0.99, 1, 1.01, samples)}, {}).high);
  };
  EXPECT_DOUBLE_EQ(half_width(6), half_width(100));
  for (std::size_t samples = 2; samples < 6; ++samples)
    EXPECT_GT(half_width(samples), half_width(samples + 1));
  EXPECT_TRUE(std::isinf(half_width(1)));
}

}  // namespace
}  // namespace fcsa::tuner
