#include "tuner/trials/median_ratio.h"

#include <array>
#include <cmath>
#include <limits>

namespace fcsa::tuner {
namespace {

// The smallest and the largest of n samples enclose the median with a confidence of 1 - 2^(1-n): 1.96 over
// the quantile of the normal distribution that goes with it.
double widening(std::size_t samples) {
  constexpr std::array kFactors{2.906, 1.704, 1.278, 1.052};  // of 2 to 5 samples
  if (samples < 2) return std::numeric_limits<double>::infinity();
  return samples - 2 < kFactors.size() ? kFactors[samples - 2] : 1;
}

// Of the logarithm of a median: how far down and up its interval reaches.
struct Reach {
  double down = 0, up = 0;
};

Reach reach(const Measurement& m) {
  const double factor = widening(m.samples_ms.size());
  if (std::isinf(factor)) return {factor, factor};
  return {factor * std::log(m.median_ms / m.ci_low_ms), factor * std::log(m.ci_high_ms / m.median_ms)};
}

}  // namespace

Ratio ratio_of_medians(std::span<const Measurement> above, std::span<const Measurement> below) {
  double value = 0, down = 0, up = 0;  // of the logarithm; squares of the errors
  for (const auto& m : above) {
    const Reach error = reach(m);
    value += std::log(m.median_ms);
    down += error.down * error.down;
    up += error.up * error.up;
  }
  for (const auto& m : below) {
    const Reach error = reach(m);
    value -= std::log(m.median_ms);
    down += error.up * error.up;
    up += error.down * error.down;
  }
  return {std::exp(value), std::exp(value - std::sqrt(down)), std::exp(value + std::sqrt(up))};
}

}  // namespace fcsa::tuner
