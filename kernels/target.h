// What a kernel may assume about the hardware it runs on, and how a device is described in records.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace fcsa::kernels {

enum class DeviceKind { cpu, cuda };
std::string_view to_text(DeviceKind kind);

// Limits that prune a search space, and what to compile for.
struct Target {
  DeviceKind kind = DeviceKind::cpu;
  // CUDA: "sm_75" ... "sm_90a". CPU: instruction set the kernels are compiled for: "avx512", "avx2", "neon",
  // "generic".
  std::string arch = "generic";
  int compute_capability = 0;            // CUDA: 10 * major + minor, e.g. 90; 0 on a CPU
  int multiprocessors = 1;               // SMs, or CPU cores usable by this process
  int max_threads_per_block = 1024;      // CUDA
  std::size_t smem_per_block_bytes = 0;  // CUDA: opt-in maximum of dynamic shared memory; CPU: L1 data cache
  std::size_t l2_bytes = 0;              // last cache shared by all multiprocessors (CPU: L2 per core)
  std::size_t memory_bytes = 0;

  bool operator==(const Target&) const = default;
};

// Limits of an architecture when no device is present (`fcsa compile --arch`). Throws std::invalid_argument
// for a name it doesn't know, listing those it does.
Target target_for_arch(std::string_view arch);

struct DeviceInfo {
  Target target;
  int index = 0;       // CUDA ordinal
  std::string name;    // "NVIDIA H100 80GB HBM3", "AMD EPYC 9654"
  std::string uuid;    // stable identity: GPU UUID; CPU: hash of model name, core count and instruction sets
  std::string driver;  // CUDA driver version "580.159.04 (CUDA 13.0)"; CPU: kernel release
  std::string compiler;  // "NVRTC 13.0" or "g++ 12.2.0 (Debian ...)": what builds its kernels

  std::string selector() const;  // "cuda:0", "cpu"
};

}  // namespace fcsa::kernels
