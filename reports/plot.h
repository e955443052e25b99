// What a plot shows, and the gnuplot commands that draw it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fcsa::reports {

// Drawn as a CSS variable of the page, so that plots follow its light and dark colours.
enum class Colour {
  ink,
  faint,
  grid,
  panel,
  tuned,
  baseline,
  unfused,
  ramp1,
  ramp2,
  ramp3,
  ramp4,
  ramp5,
  ramp6,
  ramp7,
  ramp8,
  peer1,
  peer2,
  peer3,
  peer4,
  peer5,
  peer6,
  peer7,
  peer8
};
inline constexpr int kRampColours = 8, kPeerColours = 8;
std::string_view css_variable(Colour colour);  // "--tuned"
// How the colour is spelled in a gnuplot script; svg.h turns it back.
std::string gnuplot_colour(Colour colour);  // "rgb \"#050505\""
std::optional<Colour> colour_of_grey(int level);

struct Tick {
  double at = 0;
  std::string label;
};

struct Axis {
  bool logarithmic = false;
  double low = 0, high = 1;
  std::vector<Tick> ticks;  // empty: chosen by gnuplot
};

struct Sample {
  double x = 0, y = 0;
  double low = 0, high = 0;  // error bar; equal to y for none
  bool open = false;         // hollow marker
};

enum class Marker { circle, square, triangle, diamond, down, none };

struct Curve {
  std::string label;  // in the legend (legend.h), unless it is empty
  Colour colour = Colour::ink;
  Marker marker = Marker::circle;
  bool dashed = false;
  double width = 1.6;
  bool steps = false;
  std::vector<Sample> samples;
};

// A row of crosses for what could not be measured, labelled once.
struct Crosses {
  std::string label;
  Colour colour = Colour::ink;
  std::vector<double> x;
  double height = 1;  // fraction of the plot's height
};

// Text near a point of the plot, kept inside its edges.
enum class Side { above, left };
struct Label {
  double x = 0, y = 0;
  std::string text;
  Side side = Side::above;
};

struct Plot {
  std::string unit;  // written above the y axis
  std::string x_label;
  Axis x, y;
  std::vector<Curve> curves;
  std::vector<Crosses> crosses;
  std::vector<Label> labels;
  std::optional<double> reference;  // a thin horizontal line

  bool empty() const;  // nothing to draw
};

// Commands that draw one SVG into `output`.
std::string gnuplot_script(const Plot& plot, std::string_view output);

}  // namespace fcsa::reports
