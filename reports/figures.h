// The plots of one section of the report, with their numbers.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reports/format.h"
#include "reports/peaks.h"
#include "reports/peers.h"
#include "reports/plot.h"
#include "reports/sections.h"
#include "reports/svg.h"

namespace fcsa::reports {

// One plot or table of one device.
struct Figure {
  std::string title;       // "Speed"
  std::size_t device = 0;  // index into the devices
  std::string note;        // what the reader must know; may be empty
  std::string missing;     // why there may be nothing to show
  bool is_table = false;   // the numbers are the figure
  SvgText text;
  Table numbers;
  Plot plot;

  bool empty() const { return is_table ? numbers.rows.empty() : plot.empty(); }
};

// Plots of one kind, for every device that has points in the section, on the same x axis; on the same y axis
// too, but for speeds, which only devices of the same kind share.
using FigureRow = std::vector<Figure>;

// Speed, speed-ups, roofline, time, memory, search progress, parameters. `peers` may be null.
std::vector<FigureRow> make_figures(const Section& section, const std::vector<DeviceResults>& devices,
                                    const std::vector<DevicePeaks>& peaks, const Peers* peers);

// How speeds of a section are written on one kind of device: GFLOP/s where nothing reaches one TFLOP/s.
struct SpeedUnit {
  double flops = 1e12;
  std::string name = "TFLOP/s";
};
SpeedUnit speed_unit(const Section& section, const std::vector<DeviceResults>& devices,
                     kernels::DeviceKind kind);
// FLOP/s of a measured entry.
double flops_per_second(const Point& point, const tuner::Measurement& measurement);
// What a reader of hollow markers must know.
inline constexpr std::string_view kUnconfirmedNote =
    "Hollow markers: unconfirmed, measured alone during the search.";
// A role's look in every plot, without samples.
Curve role_curve(Role role);

// Coordinates of all that the figures on devices of one kind show, and axes for these figures.
struct Extent {
  std::vector<double> x, y;
};
Extent extent_of(const FigureRow& row, const std::vector<DeviceResults>& devices, kernels::DeviceKind kind);
FigureRow with_axes(FigureRow row, const std::vector<DeviceResults>& devices, kernels::DeviceKind kind,
                    const std::pair<Axis, Axis>& x_and_y);

}  // namespace fcsa::reports
