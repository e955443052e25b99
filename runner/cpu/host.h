// What the operating system says about this machine and this process.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace fcsa::runner::cpu {

// Reads /proc and /sys under `root`, so that tests can supply their own.
class Host {
 public:
  explicit Host(std::filesystem::path root = "/") : root_(std::move(root)) {}

  std::string model_name() const;  // "AMD EPYC 9654 96-Core Processor"; "unknown CPU" when it isn't told
  std::string instruction_flags() const;  // as /proc/cpuinfo lists them
  // Cores that this process may use: its affinity mask, cut by the CPU quota of its control group, at
  // least 1.
  int usable_cores() const;
  // Data or unified cache of the first core; 0 when it isn't told.
  std::size_t cache_bytes(int level) const;
  std::size_t memory_bytes() const;
  // What can be allocated without swapping or being killed: MemAvailable, and what the control groups leave.
  // Page cache counts as available.
  std::size_t available_memory_bytes() const;
  // Clock of the core that runs the caller, now; 0 when it isn't told (virtual machines).
  double core_mhz() const;

 private:
  std::filesystem::path root_;
};

// Resident set of this process.
std::size_t resident_bytes();

// Highest resident set since construction or the latest reset, beyond what it was then.
class PeakResident {
 public:
  PeakResident() { reset(); }
  void reset();
  std::size_t bytes() const;

 private:
  std::size_t at_reset_ = 0;
  std::size_t lifetime_peak_at_reset_ = 0;
  bool kernel_resets_ = false;
};

}  // namespace fcsa::runner::cpu
