// The report as one HTML page that needs nothing else.
#pragma once

#include <string>
#include <vector>

#include "reports/figures.h"
#include "reports/sections.h"

namespace fcsa::reports {

struct Page {
  const std::vector<DeviceResults>& devices;
  const std::vector<Section>& sections;
  std::vector<std::vector<FigureRow>> figures;  // of each section
  std::vector<std::string> svgs;  // of all figures in that order, as gnuplot wrote them; empty: no plot
  std::vector<std::string> notes;
  std::string more;  // a section as HTML, after the others; empty: none
};

std::string page_html(const Page& page);

}  // namespace fcsa::reports
