#include "cli/shards.h"

#include <algorithm>
#include <numeric>

namespace fcsa::cli {
namespace {

// What a trial costs beside the kernel's own time, in the kernel's arithmetic.
constexpr double kFixedFlops = 1e12;

}  // namespace

std::vector<kernels::Problem> part_of(const std::vector<kernels::Problem>& problems, const Shard& shard) {
  std::vector<std::size_t> order(problems.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return kernels::flops(problems[a]) > kernels::flops(problems[b]);
  });
  std::vector<double> costs(static_cast<std::size_t>(shard.count), 0);
  std::vector<std::size_t> own;
  for (const auto index : order) {
    const auto cheapest = std::min_element(costs.begin(), costs.end());
    *cheapest += kFixedFlops + kernels::flops(problems[index]);
    if (cheapest - costs.begin() == shard.index) own.push_back(index);
  }
  std::sort(own.begin(), own.end());
  std::vector<kernels::Problem> part;
  part.reserve(own.size());
  for (const auto index : own) part.push_back(problems[index]);
  return part;
}

std::string with_rank(std::string path, const Shard& shard) {
  constexpr std::string_view kRank = "{rank}";
  for (auto at = path.find(kRank); at != std::string::npos; at = path.find(kRank))
    path.replace(at, kRank.size(), std::to_string(shard.index));
  return path;
}

}  // namespace fcsa::cli
