#include "reports/peaks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "kernels/embedded.h"

namespace fcsa::reports {

const std::vector<kernels::EmbeddedFile>& embedded_data();

namespace {

constexpr std::array<std::string_view, 4> kArithmetic = {"f16", "bf16", "tf32", "f32"};

double positive(const nlohmann::json& json, const std::string& name) {
  const double value = json.get<double>();
  if (!(value > 0)) throw std::invalid_argument(fmt::format("{} is {}, not above zero", name, value));
  return value;
}

DevicePeaks peaks_of(const nlohmann::json& json) {
  DevicePeaks peaks;
  peaks.device = json.at("device").get<std::string>();
  peaks.bytes_per_second = positive(json.at("bytes_per_second"), "bytes_per_second");
  peaks.source = json.at("source").get<std::string>();
  for (const auto& [name, value] : json.at("flops_per_second").items()) {
    if (std::find(kArithmetic.begin(), kArithmetic.end(), name) == kArithmetic.end())
      throw std::invalid_argument(
          fmt::format("flops_per_second has '{}', which is none of {}", name, fmt::join(kArithmetic, ", ")));
    peaks.flops_per_second[name] = positive(value, name);
  }
  return peaks;
}

}  // namespace

std::vector<DevicePeaks> peaks_from_json(std::string_view text, const std::string& origin) {
  std::vector<DevicePeaks> list;
  try {
    const auto json = nlohmann::json::parse(text);
    if (!json.is_array()) throw std::invalid_argument("it is not a list of devices");
    for (const auto& device : json) list.push_back(peaks_of(device));
  } catch (const std::exception& error) {
    throw std::invalid_argument(fmt::format("{}: device {}: {}", origin, list.size() + 1, error.what()));
  }
  return list;
}

std::vector<DevicePeaks> known_peaks() {
  const kernels::EmbeddedFile& file = embedded_data().front();
  return peaks_from_json(file.text, std::string(file.path));
}

const DevicePeaks* find_peaks(const std::vector<DevicePeaks>& peaks, const kernels::DeviceInfo& device) {
  const auto found = std::find_if(peaks.begin(), peaks.end(),
                                  [&](const auto& known) { return known.device == device.name; });
  return found == peaks.end() ? nullptr : &*found;
}

}  // namespace fcsa::reports
