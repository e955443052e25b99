#include "runner/cuda/nvml.h"

#include <fmt/format.h>

#include <array>
#include <stdexcept>
#include <utility>

namespace fcsa::runner::cuda {
namespace {

constexpr int kSuccess = 0;
constexpr int kTemperatureGpu = 0;
constexpr int kClockSm = 1;
constexpr int kClockMemory = 2;

DynamicLibrary open_nvml() {
  try {
    return DynamicLibrary::open_first({"libnvidia-ml.so.1", "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
                                       "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
                                       "/usr/lib/wsl/lib/libnvidia-ml.so.1"});
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(
        fmt::format("libnvidia-ml.so.1 not found: it comes with the NVIDIA driver, and without it clocks and "
                    "throttling are not recorded; {}",
                    error.what()));
  }
}

}  // namespace

Nvml::Nvml() : library_(open_nvml()), path_(library_.path_of("nvmlInit_v2")) {
  const auto init = reinterpret_cast<int (*)()>(library_.get("nvmlInit_v2"));
  if (const int result = init(); result != kSuccess) {
    throw std::runtime_error(fmt::format("nvmlInit_v2 failed with error {} ({})", result, path_));
  }
}

Nvml::~Nvml() {
  if (const auto shutdown = function<int()>("nvmlShutdown")) shutdown();
}

std::string Nvml::driver_version() const {
  const auto get = function<int(char*, unsigned)>("nvmlSystemGetDriverVersion");
  std::array<char, 80> text{};
  return get != nullptr && get(text.data(), text.size()) == kSuccess ? text.data() : "";
}

Nvml::Handle Nvml::device_with(const std::string& uuid) const {
  const auto get = function<int(const char*, Handle*)>("nvmlDeviceGetHandleByUUID");
  Handle device = nullptr;
  return get != nullptr && get(uuid.c_str(), &device) == kSuccess ? device : nullptr;
}

tuner::Clocks Nvml::clocks(const std::string& uuid) const {
  Handle device = device_with(uuid);
  if (device == nullptr) return {};
  tuner::Clocks clocks;
  unsigned value = 0;
  if (const auto get = function<int(Handle, int, unsigned*)>("nvmlDeviceGetClockInfo")) {
    if (get(device, kClockSm, &value) == kSuccess) clocks.sm_mhz = value;
    if (get(device, kClockMemory, &value) == kSuccess) clocks.memory_mhz = value;
  }
  if (const auto get = function<int(Handle, int, unsigned*)>("nvmlDeviceGetTemperature")) {
    if (get(device, kTemperatureGpu, &value) == kSuccess) clocks.temperature_c = value;
  }
  if (const auto get = function<int(Handle, unsigned*)>("nvmlDeviceGetPowerUsage")) {
    if (get(device, &value) == kSuccess) clocks.power_w = value / 1000.0;
  }
  using GetReasons = int(Handle, unsigned long long*);
  auto get_reasons = function<GetReasons>("nvmlDeviceGetCurrentClocksEventReasons");
  if (get_reasons == nullptr) get_reasons = function<GetReasons>("nvmlDeviceGetCurrentClocksThrottleReasons");
  unsigned long long reasons = 0;
  if (get_reasons != nullptr && get_reasons(device, &reasons) == kSuccess) {
    clocks.throttle_reasons = clocks_event_reasons_text(reasons);
  }
  return clocks;
}

std::string clocks_event_reasons_text(unsigned long long reasons) {
  constexpr unsigned long long kIdle = 0x1;
  constexpr auto kNames = std::to_array<std::pair<unsigned long long, const char*>>({
      {0x2, "applications_clocks_setting"},
      {0x4, "sw_power_cap"},
      {0x8, "hw_slowdown"},
      {0x10, "sync_boost"},
      {0x20, "sw_thermal_slowdown"},
      {0x40, "hw_thermal_slowdown"},
      {0x80, "hw_power_brake_slowdown"},
      {0x100, "display_clock_setting"},
  });
  std::string text;
  const auto add = [&](const std::string& name) { text += (text.empty() ? "" : ",") + name; };
  reasons &= ~kIdle;
  for (const auto& [bit, name] : kNames) {
    if ((reasons & bit) != 0) add(name);
    reasons &= ~bit;
  }
  if (reasons != 0) add(fmt::format("{:#x}", reasons));
  return text;
}

}  // namespace fcsa::runner::cuda
