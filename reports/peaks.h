// What a device can do at most, by its maker's data sheet: the lines of a roofline.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/target.h"

namespace fcsa::reports {

// "f16", "bf16" and "tf32" of the tensor cores (dense), "f32" outside them. A device need not have all.
struct DevicePeaks {
  std::string device;           // kernels::DeviceInfo::name
  double bytes_per_second = 0;  // of the device's memory
  std::map<std::string, double> flops_per_second;
  std::string source;
};

// Reads [{"device", "bytes_per_second", "flops_per_second": {"bf16", ...}, "source"}, ...]. Throws
// std::invalid_argument that begins with `origin` for anything else.
std::vector<DevicePeaks> peaks_from_json(std::string_view text, const std::string& origin);
// reports/known_peaks.json.
std::vector<DevicePeaks> known_peaks();

// The first with the device's name; null when there is none.
const DevicePeaks* find_peaks(const std::vector<DevicePeaks>& peaks, const kernels::DeviceInfo& device);

}  // namespace fcsa::reports
