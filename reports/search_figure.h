// How the search went: the best speed so far against the number of evaluations.
#pragma once

#include "reports/figures.h"

namespace fcsa::reports {

// One curve per sequence length (at most eight, evenly spread). Failed attempts count as evaluations, pruned
// ones and yardsticks don't. On the axes of the other devices of the same kind.
FigureRow search_figures(const Section& section, const std::vector<DeviceResults>& devices);

}  // namespace fcsa::reports
