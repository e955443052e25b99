// NVML, loaded at run time: driver version, clocks, temperature, power and throttle reasons.
#pragma once

#include <string>

#include "runner/process/dynamic_library.h"
#include "tuner/trials/trial.h"

namespace fcsa::runner::cuda {

// Everything NVML tells is optional: where it doesn't, numbers are zero and texts empty.
class Nvml {
 public:
  // Loads and initialises it. Throws std::runtime_error that says what is missing.
  Nvml();
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  std::string driver_version() const;  // "580.159.04"
  const std::string& path() const { return path_; }

  // Of the device with this UUID ("GPU-..."), now.
  tuner::Clocks clocks(const std::string& uuid) const;

 private:
  using Handle = void*;
  Handle device_with(const std::string& uuid) const;

  template <typename Signature>
  Signature* function(const char* name) const {
    return reinterpret_cast<Signature*>(library_.find(name));
  }

  DynamicLibrary library_;
  std::string path_;
};

// Names of the bits of nvmlDeviceGetCurrentClocksEventReasons, comma-separated; the idle bit is left out.
std::string clocks_event_reasons_text(unsigned long long reasons);

}  // namespace fcsa::runner::cuda
