// Which parameters mattered, as a table with bars.
#pragma once

#include "reports/figures.h"

namespace fcsa::reports {

FigureRow parameter_figures(const Section& section, const std::vector<DeviceResults>& devices);

}  // namespace fcsa::reports
