#include "library/plan_cache.h"

#include <xxhash.h>

#include <mutex>

namespace fcsa::library {
namespace {

// Of a shelf: more than a program has shapes, unless one of them grows with every call.
constexpr std::size_t kMostPlans = 256;

}  // namespace

PlanCache::~PlanCache() {
  for (const auto& shelf : shelves_)
    for (const auto& [key, plan] : shelf.plans) plan->release();
}

PlanCache::Key PlanCache::key_of(const fcsa_problem& problem, std::uint64_t context) {
  static_assert(
      sizeof(problem) == sizeof(std::size_t) + 28 * sizeof(std::int32_t) + 10 * sizeof(fcsa_strides) + 8,
      "it has padding");
  const XXH128_hash_t hash = XXH3_128bits_withSeed(&problem, sizeof(problem), context);
  return {hash.low64, hash.high64};
}

Plan* PlanCache::find(const Key& key) {
  Shelf& shelf = shelf_of(key);
  const std::shared_lock lock(shelf.mutex);
  const auto found = shelf.plans.find(key);
  if (found == shelf.plans.end()) return nullptr;
  found->second->retain();
  return found->second;
}

Plan& PlanCache::add(const Key& key, Plan* made) {
  Shelf& shelf = shelf_of(key);
  const std::unique_lock lock(shelf.mutex);
  if (shelf.plans.size() >= kMostPlans) {
    std::erase_if(shelf.plans, [](const auto& entry) {
      if (entry.second->shared()) return false;
      entry.second->release();
      return true;
    });
  }
  const auto [position, added] = shelf.plans.emplace(key, made);
  if (!added) made->release();
  position->second->retain();
  return *position->second;
}

}  // namespace fcsa::library
