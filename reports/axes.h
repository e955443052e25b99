// Ranges and ticks of the axes of the reports.
#pragma once

#include <vector>

#include "reports/plot.h"

namespace fcsa::reports {

// Sequence lengths on a log2 axis, labelled "512", "1k", "2k"; a single length stands in the middle.
Axis length_axis(const std::vector<int>& lengths);
// From zero to a little above the largest value.
Axis zero_axis(const std::vector<double>& values, bool headroom);
// Factors around one, not from zero: "0.95x", "1.1x".
Axis ratio_axis(const std::vector<double>& values, bool headroom);
// Shares of one, from the largest round number below the smallest value: "80%".
Axis share_axis(const std::vector<double>& values);
// Positive values on a log axis with ticks at 1, 2, 5, 10 or, over wide ranges, powers of ten. `headroom`
// leaves room at the top for crosses.
Axis decimal_axis(const std::vector<double>& values, bool headroom);
// The same with ticks at powers of two: bytes ("64 MiB") or factors ("0.5x", "4x").
enum class Binary { bytes, factor };
Axis binary_axis(const std::vector<double>& values, Binary kind, bool headroom);

}  // namespace fcsa::reports
