#include "kernels/occupancy.h"

#include <utility>

namespace fcsa::kernels {
namespace {

constexpr int kRegisters = 65536;
constexpr std::size_t kSystemBytes = 1024;  // of shared memory, for each block

struct Limits {
  int threads, blocks;
};

Limits limits_of(int compute_capability) {
  switch (compute_capability) {
    case 75:
      return {1024, 16};
    case 86:
    case 87:
      return {1536, 16};
    case 89:
    case 120:
    case 121:
      return {1536, 24};
    default:
      return {2048, 32};
  }
}

// Registers are given to warps in units of 256.
int registers_of_block(const Launch& launch, int registers) {
  const auto warps = static_cast<int>(ceil_div(launch.threads, 32));
  return warps * static_cast<int>(ceil_div(32LL * registers, 256)) * 256;
}

}  // namespace

Occupancy occupancy(const Target& target, const Launch& launch, int registers) {
  const Limits limits = limits_of(target.compute_capability);
  const int warps_threads = static_cast<int>(ceil_div(launch.threads, 32)) * 32;
  Occupancy result{limits.blocks, 0, "blocks"};
  const auto limit = [&](long long blocks, const char* by) {
    if (blocks >= result.blocks) return;
    result.blocks = static_cast<int>(blocks);
    result.limited_by = by;
  };
  limit(limits.threads / warps_threads, "threads");
  if (registers > 0) limit(kRegisters / registers_of_block(launch, registers), "registers");
  limit(static_cast<long long>((target.smem_per_block_bytes + kSystemBytes) /
                               (launch.smem_bytes + kSystemBytes)),
        "shared memory");
  result.of_threads = static_cast<double>(result.blocks) * warps_threads / limits.threads;
  return result;
}

}  // namespace fcsa::kernels
