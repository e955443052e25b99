#include "kernels/target.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <stdexcept>
#include <vector>

namespace fcsa::kernels {
namespace {

constexpr std::size_t kKiB = 1024;
constexpr std::size_t kMiB = 1024 * kKiB;
constexpr std::size_t kGiB = 1024 * kMiB;

struct Architecture {
  std::string_view name;
  DeviceKind kind;
  int compute_capability;
  int multiprocessors;
  std::size_t smem_per_block_bytes;
  std::size_t l2_bytes;
  std::size_t memory_bytes;
};

// Shared memory is the architecture's opt-in limit (CUDA programming guide, technical specifications per
// compute capability); the other columns are those of a common board: T4, A100, A40, Orin, L40S, H100, B200,
// B300, Thor, RTX 5090, GB10.
constexpr auto kArchitectures = std::to_array<Architecture>({
    {"sm_75", DeviceKind::cuda, 75, 40, 64 * kKiB, 4 * kMiB, 16 * kGiB},
    {"sm_80", DeviceKind::cuda, 80, 108, 163 * kKiB, 40 * kMiB, 80 * kGiB},
    {"sm_86", DeviceKind::cuda, 86, 84, 99 * kKiB, 6 * kMiB, 48 * kGiB},
    {"sm_87", DeviceKind::cuda, 87, 16, 163 * kKiB, 4 * kMiB, 64 * kGiB},
    {"sm_89", DeviceKind::cuda, 89, 142, 99 * kKiB, 96 * kMiB, 48 * kGiB},
    {"sm_90", DeviceKind::cuda, 90, 132, 227 * kKiB, 50 * kMiB, 80 * kGiB},
    {"sm_90a", DeviceKind::cuda, 90, 132, 227 * kKiB, 50 * kMiB, 80 * kGiB},
    {"sm_100", DeviceKind::cuda, 100, 148, 227 * kKiB, 126 * kMiB, 180 * kGiB},
    {"sm_100a", DeviceKind::cuda, 100, 148, 227 * kKiB, 126 * kMiB, 180 * kGiB},
    {"sm_103", DeviceKind::cuda, 103, 148, 227 * kKiB, 126 * kMiB, 268 * kGiB},
    {"sm_103a", DeviceKind::cuda, 103, 148, 227 * kKiB, 126 * kMiB, 268 * kGiB},
    {"sm_110", DeviceKind::cuda, 110, 20, 227 * kKiB, 32 * kMiB, 128 * kGiB},
    {"sm_110a", DeviceKind::cuda, 110, 20, 227 * kKiB, 32 * kMiB, 128 * kGiB},
    {"sm_120", DeviceKind::cuda, 120, 170, 99 * kKiB, 96 * kMiB, 32 * kGiB},
    {"sm_120a", DeviceKind::cuda, 120, 170, 99 * kKiB, 96 * kMiB, 32 * kGiB},
    {"sm_121", DeviceKind::cuda, 121, 48, 99 * kKiB, 24 * kMiB, 128 * kGiB},
    {"sm_121a", DeviceKind::cuda, 121, 48, 99 * kKiB, 24 * kMiB, 128 * kGiB},
    {"avx512", DeviceKind::cpu, 0, 1, 32 * kKiB, 1 * kMiB, 16 * kGiB},
    {"avx2", DeviceKind::cpu, 0, 1, 32 * kKiB, 512 * kKiB, 16 * kGiB},
    {"neon", DeviceKind::cpu, 0, 1, 64 * kKiB, 1 * kMiB, 16 * kGiB},
    {"generic", DeviceKind::cpu, 0, 1, 32 * kKiB, 256 * kKiB, 16 * kGiB},
});

}  // namespace

std::string_view to_text(DeviceKind kind) {
  return kind == DeviceKind::cuda ? "cuda" : "cpu";
}

Target target_for_arch(std::string_view arch) {
  std::vector<std::string_view> known;
  for (const auto& a : kArchitectures) {
    if (a.name == arch) {
      return {.kind = a.kind,
              .arch = std::string(a.name),
              .compute_capability = a.compute_capability,
              .multiprocessors = a.multiprocessors,
              .smem_per_block_bytes = a.smem_per_block_bytes,
              .l2_bytes = a.l2_bytes,
              .memory_bytes = a.memory_bytes};
    }
    known.push_back(a.name);
  }
  throw std::invalid_argument(
      fmt::format("unknown architecture '{}': use one of {}", arch, fmt::join(known, ", ")));
}

std::string DeviceInfo::selector() const {
  return target.kind == DeviceKind::cuda ? fmt::format("cuda:{}", index) : "cpu";
}

}  // namespace fcsa::kernels
