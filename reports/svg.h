// Makes what gnuplot wrote fit to stand in an HTML page.
#pragma once

#include <string>
#include <string_view>

namespace fcsa::reports {

struct SvgText {
  std::string title;        // accessible name
  std::string description;  // the numbers in words
};

// Drops the prologue, comments and fixed size; prefixes every id, so that several plots can share a page;
// replaces the colours of plot.h by CSS variables and leaves the font to the page. Throws
// std::invalid_argument when `svg` is not an SVG document.
std::string embed_svg(std::string_view svg, std::string_view id_prefix, const SvgText& text);

}  // namespace fcsa::reports
