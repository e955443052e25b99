// The numbers of the report as tables: winners, overview, CSV files and the Markdown summary.
#pragma once

#include <string>
#include <vector>

#include "reports/format.h"
#include "reports/sections.h"

namespace fcsa::reports {

// One row per problem of a section on one device: the tuned configuration with its interval and speed-ups.
Table winners_table(const Section& section, const std::vector<DeviceResults>& devices, std::size_t device);

// The tuned kernel on every device, a row for each length that more than one device was tuned for; empty when
// there is none.
Table devices_table(const Section& section, const std::vector<DeviceResults>& devices);

// One line per section and device.
struct OverviewRow {
  std::size_t section = 0, device = 0;
  std::size_t problems = 0, confirmed = 0, solved = 0;  // solved: something worked
  std::string lengths;                                  // "512 to 16k"
  std::string best_speed;                               // "12.3 TFLOP/s at 8k"
  std::string
      over_baseline;  // geometric mean and range of the confirmed, "1.41x (1.20 to 1.93)"; empty: none
  std::string over_unfused;
};
std::vector<OverviewRow> overview(const std::vector<Section>& sections,
                                  const std::vector<DeviceResults>& devices);

// One row per device, problem and role; see the header lines for the columns. Empty where there is no number.
// A speed-up is of the row's own configuration.
std::string speed_csv(const std::vector<DeviceResults>& devices);
std::string memory_csv(const std::vector<DeviceResults>& devices);

std::string summary_markdown(const std::vector<Section>& sections, const std::vector<DeviceResults>& devices,
                             const std::vector<std::string>& notes);

}  // namespace fcsa::reports
