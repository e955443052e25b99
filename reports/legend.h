// The legend of a plot, as HTML: it wraps where a page is narrow, and is set in the page's font.
#pragma once

#include <string>

#include "reports/plot.h"

namespace fcsa::reports {

// What is drawn last, on top, is named first. Empty for a plot with fewer than two labelled curves.
std::string legend_html(const Plot& plot);

}  // namespace fcsa::reports
