// How fast the search got to what it found.
#pragma once

#include "reports/figures.h"

namespace fcsa::reports {

enum class Effort { evaluations, time };

// The best so far, as a share of the best of the search, against the effort that it took; one curve per
// length. Measured alone, so these speeds are no basis for ratios between configurations.
FigureRow search_figures(const Section& section, const std::vector<DeviceResults>& devices, Effort effort);

}  // namespace fcsa::reports
