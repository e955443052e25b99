// Plans that were made, by problem and CUDA context.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <shared_mutex>
#include <unordered_map>

#include "library/fork.h"
#include "library/plan.h"

namespace fcsa::library {

// Thread-safe. Holds a reference to each of its plans; what nobody else holds goes when there are too many.
class PlanCache : public HeldDuringFork {
 public:
  PlanCache() { hold_during_fork(*this); }
  ~PlanCache() override;
  PlanCache(const PlanCache&) = delete;
  PlanCache& operator=(const PlanCache&) = delete;

  // 128 bits of hash of both: equal only for equal ones, as far as anybody will ever see.
  struct Key {
    std::uint64_t low, high;
    bool operator==(const Key&) const = default;
  };
  static Key key_of(const fcsa_problem& problem, std::uint64_t context);

  // Retained for the caller; null when it isn't there.
  Plan* find(const Key& key);
  // Takes the reference to `made`, and retains for the caller what is in the cache then: that, or what
  // another thread has added since.
  Plan& add(const Key& key, Plan* made);

  void lock_all() override;
  void unlock_all() override;
  void renew_all() override;

 private:
  struct LowBits {
    std::size_t operator()(const Key& key) const { return key.low; }
  };
  // There are several, so that threads with problems or contexts of their own don't meet.
  struct alignas(64) Shelf {
    std::shared_mutex mutex;
    std::unordered_map<Key, Plan*, LowBits> plans;
  };
  Shelf& shelf_of(const Key& key) { return shelves_[key.high % shelves_.size()]; }

  std::array<Shelf, 16> shelves_;
};

}  // namespace fcsa::library
