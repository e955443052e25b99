#include "library/plan_cache.h"

#include <xxhash.h>

#include <mutex>
#include <new>
#include <vector>

namespace fcsa::library {
namespace {

// Of a shelf: more than a program has shapes, unless one of them grows with every call.
constexpr std::size_t kMostPlans = 256;

}  // namespace

PlanCache::~PlanCache() {
  forget(*this);
  for (const auto& shelf : shelves_)
    for (const auto& [key, plan] : shelf.plans) plan->release();
}

void PlanCache::lock_all() {
  for (auto& shelf : shelves_) shelf.mutex.lock();
}

void PlanCache::unlock_all() {
  for (auto& shelf : shelves_) shelf.mutex.unlock();
}

void PlanCache::renew_all() {
  for (auto& shelf : shelves_) new (&shelf.mutex) std::shared_mutex;
}

PlanCache::Key PlanCache::key_of(const fcsa_problem& problem, std::uint64_t context) {
  static_assert(
      sizeof(problem) == sizeof(std::size_t) + 30 * sizeof(std::int32_t) + 10 * sizeof(fcsa_strides) + 8,
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
  std::vector<Plan*> gone;  // released when nothing is locked: they may unload code
  Plan* kept = nullptr;
  {
    const std::unique_lock lock(shelf.mutex);
    if (shelf.plans.size() >= kMostPlans) {
      std::erase_if(shelf.plans, [&](const auto& entry) {
        if (entry.second->shared()) return false;
        gone.push_back(entry.second);
        return true;
      });
    }
    const auto [position, added] = shelf.plans.emplace(key, made);
    if (!added) gone.push_back(made);
    kept = position->second;
    kept->retain();
  }
  for (Plan* plan : gone) plan->release();
  return *kept;
}

}  // namespace fcsa::library
