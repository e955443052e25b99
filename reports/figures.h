// The plots of one section of the report, with their numbers.
#pragma once

#include <string>
#include <vector>

#include "reports/format.h"
#include "reports/plot.h"
#include "reports/sections.h"
#include "reports/svg.h"

namespace fcsa::reports {

// One plot of one device.
struct Figure {
  std::string title;       // "Speed"
  std::size_t device = 0;  // index into the devices
  std::string note;        // what the reader must know; may be empty
  SvgText text;
  Table numbers;
  Plot plot;
};

// Plots of one kind, for every device that has points in the section, on the same x axis; on the same y axis
// too, but for speeds, which only devices of the same kind share.
using FigureRow = std::vector<Figure>;

// Speed, time, speed-up, peak memory, extra memory, search progress.
std::vector<FigureRow> make_figures(const Section& section, const std::vector<DeviceResults>& devices);

// How speeds of a section are written on one kind of device: GFLOP/s where nothing reaches one TFLOP/s.
struct SpeedUnit {
  double flops = 1e12;
  std::string name = "TFLOP/s";
};
SpeedUnit speed_unit(const Section& section, const std::vector<DeviceResults>& devices,
                     kernels::DeviceKind kind);
// FLOP/s of a measured entry.
double flops_per_second(const Point& point, const tuner::Measurement& measurement);

}  // namespace fcsa::reports
