#include "reports/legend.h"

#include <fmt/format.h>

#include "reports/format.h"

namespace fcsa::reports {
namespace {

std::string marker_svg(Marker marker) {
  switch (marker) {
    case Marker::circle:
      return "<circle cx=\"14\" cy=\"6\" r=\"3.5\"/>";
    case Marker::square:
      return "<path d=\"M9.8 1.8h8.4v8.4h-8.4z\"/>";
    case Marker::triangle:
      return "<path d=\"M14 1.8l4.2 7.6h-8.4z\"/>";
    case Marker::diamond:
      return "<path d=\"M14 1l4.2 5-4.2 5-4.2-5z\"/>";
    case Marker::down:
      return "<path d=\"M14 10.2l4.2-7.6h-8.4z\"/>";
    case Marker::none:
      break;
  }
  return "";
}

std::string entry_html(const Curve& curve) {
  return fmt::format(
      "<li><svg viewBox=\"0 0 28 12\" aria-hidden=\"true\" style=\"color:var({})\"><path d=\"M1 6h26\" "
      "stroke=\"currentColor\" stroke-width=\"{}\"{}/><g fill=\"currentColor\">{}</g></svg>{}</li>",
      css_variable(curve.colour), curve.width, curve.dashed ? " stroke-dasharray=\"5 3\"" : "",
      marker_svg(curve.marker), html_escape(curve.label));
}

}  // namespace

std::string legend_html(const Plot& plot) {
  std::string entries;
  std::size_t count = 0;
  for (auto curve = plot.curves.rbegin(); curve != plot.curves.rend(); ++curve) {
    if (curve->label.empty() || curve->samples.empty()) continue;
    entries += entry_html(*curve);
    ++count;
  }
  return count < 2 ? "" : "<ul class=\"legend\">" + entries + "</ul>";
}

}  // namespace fcsa::reports
