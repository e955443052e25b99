// Runs gnuplot, as a program, on many plots at once.
#pragma once

#include <string>
#include <vector>

#include "reports/plot.h"

namespace fcsa::reports {

struct RenderedPlots {
  std::vector<std::string>
      svgs;             // in order, as gnuplot wrote them; empty for an empty plot and when `problem` is set
  std::string problem;  // why there are no plots and what to do; empty when there are
};

// The program is $FCSA_GNUPLOT, else gnuplot on the PATH. Its absence or failure is reported, not thrown.
RenderedPlots render_plots(const std::vector<Plot>& plots);

}  // namespace fcsa::reports
