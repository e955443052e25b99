#include "reports/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

namespace fcsa::reports {
namespace {

constexpr std::array<std::string_view, 23> kVariables = {
    "--ink",   "--faint", "--grid",  "--panel", "--tuned", "--baseline", "--unfused", "--ramp1",
    "--ramp2", "--ramp3", "--ramp4", "--ramp5", "--ramp6", "--ramp7",    "--ramp8",   "--peer1",
    "--peer2", "--peer3", "--peer4", "--peer5", "--peer6", "--peer7",    "--peer8"};

// gnuplot's numbers of the filled marker and its hollow twin.
struct PointType {
  int filled = 0, open = 0;
  double size = 0;
};

PointType point_type(Marker marker) {
  switch (marker) {
    case Marker::circle:
      return {7, 6, 0.6};
    case Marker::square:
      return {5, 4, 0.8};
    case Marker::triangle:
      return {9, 8, 0.65};
    case Marker::diamond:
      return {13, 12, 0.7};
    case Marker::down:
      return {11, 10, 0.65};
    case Marker::none:
      break;
  }
  return {7, 6, 0.0};
}

// Labels are ours (numbers, lengths, role names), but a quote must never end the string early.
std::string in_quotes(std::string_view text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("''") : std::string(1, c);
  return result + "'";
}

// In the label of a tick a percent sign begins a format.
std::string tick_text(const std::string& label) {
  std::string text;
  for (const char c : label) text += c == '%' ? std::string("%%") : std::string(1, c);
  return in_quotes(text);
}

std::string axis_commands(std::string_view name, const Axis& axis) {
  std::string text =
      axis.logarithmic ? fmt::format("set logscale {}\n", name) : fmt::format("unset logscale {}\n", name);
  text += fmt::format("set {}range [{:.9g}:{:.9g}]\n", name, axis.low, axis.high);
  if (axis.ticks.empty()) return text + fmt::format("set {}tics autofreq\n", name);
  text += fmt::format("set {}tics (", name);
  for (std::size_t i = 0; i < axis.ticks.size(); ++i) {
    text += fmt::format("{}{} {:.9g}", i > 0 ? ", " : "", tick_text(axis.ticks[i].label), axis.ticks[i].at);
  }
  return text + ")\n";
}

std::string data_block(const std::string& name, const std::vector<Sample>& samples) {
  std::string text = fmt::format("${} << EOD\n", name);
  for (const Sample& s : samples)
    text += fmt::format("{:.9g} {:.9g} {:.9g} {:.9g}\n", s.x, s.y, s.low, s.high);
  return text + "EOD\n";
}

// Clauses of the plot command, and the data blocks they read.
struct Commands {
  std::string blocks;
  std::vector<std::string> clauses;
  int used = 0;

  std::string block(const std::vector<Sample>& samples) {
    const std::string name = fmt::format("d{}", used++);
    blocks += data_block(name, samples);
    return "$" + name;
  }
};

void add_points(Commands& commands, const std::string& data, Colour colour, int type, double size) {
  commands.clauses.push_back(fmt::format("{} using 1:2 with points lc {} lw 1.2 pt {} ps {} notitle", data,
                                         gnuplot_colour(colour), type, size));
}

// Error bars below, markers on top; a hollow marker hides the line behind it.
void add_markers(Commands& commands, const Curve& curve, bool open) {
  std::vector<Sample> samples;
  std::copy_if(curve.samples.begin(), curve.samples.end(), std::back_inserter(samples),
               [&](const Sample& s) { return s.open == open; });
  if (samples.empty() || curve.marker == Marker::none) return;
  const PointType type = point_type(curve.marker);
  const std::string data = commands.block(samples);
  const bool any_bar =
      std::any_of(samples.begin(), samples.end(), [](const Sample& s) { return s.low < s.high; });
  if (any_bar) {
    commands.clauses.push_back(
        fmt::format("{} using 1:3:(0):($4-$3) with vectors nohead lc {} lw 1.2 notitle", data,
                    gnuplot_colour(curve.colour)));
  }
  add_points(commands, data, open ? Colour::panel : curve.colour, type.filled, type.size);
  if (open) add_points(commands, data, curve.colour, type.open, type.size);
}

void add_curve(Commands& commands, const Curve& curve) {
  if (curve.samples.empty()) return;
  const std::string look =
      fmt::format("lc {} lw {} dt {}", gnuplot_colour(curve.colour), curve.width, curve.dashed ? 2 : 1);
  const std::string data = commands.block(curve.samples);
  commands.clauses.push_back(
      fmt::format("{} using 1:2 with {} {} notitle", data, curve.steps ? "steps" : "lines", look));
  add_markers(commands, curve, false);
  add_markers(commands, curve, true);
}

double x_position(const Plot& plot, double x) {
  const auto scale = [&](double v) { return plot.x.logarithmic ? std::log(v) : v; };
  return (scale(x) - scale(plot.x.low)) / (scale(plot.x.high) - scale(plot.x.low));
}

// The label goes where there is most room: left of the first cross or right of the last.
std::string cross_commands(const Plot& plot, const Crosses& crosses) {
  std::string text;
  const std::string colour = gnuplot_colour(crosses.colour);
  double first = 1, last = 0;
  for (const double x : crosses.x) {
    const double position = x_position(plot, x);
    first = std::min(first, position);
    last = std::max(last, position);
    text += fmt::format("set label '' at graph {:.4f},{:.4f} point pt 2 ps 0.8 lw 1.8 lc {}\n", position,
                        crosses.height, colour);
  }
  constexpr double kGap = 0.025;
  const bool left = first >= 1 - last;
  const double room = left ? first : 1 - last;
  const bool below = room < 0.33;
  const double at = below ? 0.5 : left ? first - kGap : last + kGap;
  return text + fmt::format("set label {} at graph {:.4f},{:.4f} {} textcolor {}\n", in_quotes(crosses.label),
                            at, crosses.height - (below ? 0.075 : 0.0),
                            below  ? "center"
                            : left ? "right"
                                   : "left",
                            colour);
}

std::string label_command(const Plot& plot, const Label& label) {
  constexpr double kNearEdge = 0.85;
  const bool left = label.side == Side::left;
  return fmt::format("set label {} at {:.9g},{:.9g} {} offset {} front textcolor {}\n", in_quotes(label.text),
                     label.x, label.y, left || x_position(plot, label.x) > kNearEdge ? "right" : "center",
                     left ? "-0.9,0.3" : "0,0.7", gnuplot_colour(Colour::ink));
}

std::string decoration(const Plot& plot) {
  const std::string ink = gnuplot_colour(Colour::ink), faint = gnuplot_colour(Colour::faint),
                    grid = gnuplot_colour(Colour::grid);
  std::string text = fmt::format("set border 3 lc {} lw 1\n", faint);
  text += fmt::format("set grid xtics ytics back lt 1 lc {0} lw 0.8, lt 1 lc {0} lw 0.8\n", grid);
  text += fmt::format("set tics nomirror out scale 0.4,0 textcolor {}\n", ink);
  text += fmt::format("set xlabel {} offset 0,0.3 textcolor {}\n", in_quotes(plot.x_label), ink);
  text += fmt::format("set label {} at graph 0, graph 1 offset -5,1.05 left textcolor {}\n",
                      in_quotes(plot.unit), ink);
  text += "unset key\nset rmargin 1.8\n";
  text += "set lmargin 8\nset tmargin 1.9\nset bmargin 3.1\n";
  return text;
}

}  // namespace

std::string_view css_variable(Colour colour) {
  return kVariables[static_cast<std::size_t>(colour)];
}

std::string gnuplot_colour(Colour colour) {
  const int level = static_cast<int>(colour) + 1;
  return fmt::format("rgb \"#{0:02x}{0:02x}{0:02x}\"", level);
}

std::optional<Colour> colour_of_grey(int level) {
  if (level < 1 || level > static_cast<int>(kVariables.size())) return {};
  return static_cast<Colour>(level - 1);
}

bool Plot::empty() const {
  const bool any_curve =
      std::any_of(curves.begin(), curves.end(), [](const Curve& c) { return !c.samples.empty(); });
  return !any_curve && crosses.empty();
}

std::string gnuplot_script(const Plot& plot, std::string_view output) {
  std::string text = fmt::format(
      "reset\nset terminal svg size 360,250 noenhanced font 'sans-serif,12' rounded\nset output {}\n",
      in_quotes(output));
  text += decoration(plot) + axis_commands("x", plot.x) + axis_commands("y", plot.y);
  Commands commands;
  for (const Crosses& crosses : plot.crosses) text += cross_commands(plot, crosses);
  for (const Label& label : plot.labels) text += label_command(plot, label);
  if (plot.reference) {
    commands.clauses.push_back(fmt::format("{:.9g} with lines lc {} lw 1 dt 3 notitle", *plot.reference,
                                           gnuplot_colour(Colour::faint)));
  }
  for (const Curve& curve : plot.curves) add_curve(commands, curve);
  if (commands.clauses.empty()) commands.clauses.emplace_back("NaN notitle");
  text += commands.blocks + "plot ";
  for (std::size_t i = 0; i < commands.clauses.size(); ++i) {
    text += (i > 0 ? ", \\\n  " : "") + commands.clauses[i];
  }
  return text + "\nunset output\n";
}

}  // namespace fcsa::reports
