// Speed against arithmetic intensity, under what the device can do at most.
#pragma once

#include <vector>

#include "reports/figures.h"
#include "reports/peaks.h"

namespace fcsa::reports {

// Intensity counts compulsory traffic (kernels::bytes). A device without peaks has its points only, and says
// so.
FigureRow roofline_figures(const Section& section, const std::vector<DeviceResults>& devices,
                           const std::vector<DevicePeaks>& peaks);

}  // namespace fcsa::reports
