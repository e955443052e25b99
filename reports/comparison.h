// From trials to what a report compares: for every problem on every device the tuned configuration, the
// family's baseline and the unfused yardstick.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tuner/trials/store.h"

namespace fcsa::reports {

enum class Role { tuned, baseline, unfused };
inline constexpr std::array kRoles = {Role::tuned, Role::baseline, Role::unfused};
std::string_view to_text(Role role);

// What is known of one role. Pointers are into the trials given to collect().
struct Entry {
  std::string configuration;  // empty when nothing worked or nothing was tried
  const tuner::StoredTrial* trial =
      nullptr;  // the measurement shown, or why there is none; null: never tried
  const tuner::Measurement* memory = nullptr;  // where peak memory was measured; null: unknown
  bool confirmed = false;                      // measured in the confirmation race

  bool measured() const;  // tried and ok, so that trial has times
  bool out_of_memory() const;
  std::string status_text() const;  // tuner's status, "not_measured" when never tried
};

// Precondition: tried.
inline const tuner::Measurement& measurement_of(const Entry& entry) {
  return entry.trial->trial.evaluation.measurement;
}

// One problem on one device in one cache state.
struct Point {
  kernels::Problem problem;
  tuner::CacheState cache = tuner::CacheState::warm;
  std::array<Entry, kRoles.size()> entries;
  std::vector<std::string> ties;                  // configurations whose interval reaches into the winner's
  std::vector<const tuner::StoredTrial*> trials;  // all, oldest first
  // Wall time that each of them took: since the trial before it in its session, or since that began.
  std::vector<double> took_s;

  const Entry& of(Role role) const { return entries[static_cast<std::size_t>(role)]; }
  Entry& of(Role role) { return entries[static_cast<std::size_t>(role)]; }
  bool confirmed() const { return of(Role::tuned).confirmed; }
};

// How many times faster, with the interval that the two 95% intervals allow at worst.
struct Ratio {
  double value = 0, low = 0, high = 0;
};
// Empty unless both were measured in the same confirmation race.
std::optional<Ratio> speedup(const Point& point, Role of, Role over);

struct DeviceResults {
  kernels::DeviceInfo device;                     // as the latest session describes it
  std::string label;                              // its name, with its uuid where others have that name too
  std::vector<Point> points;                      // sorted by class, nq, nk, batch, heads
  std::vector<const tuner::StoredTrial*> trials;  // all of this device, oldest first
};

// Unfused, or another family that is only there to be compared with.
bool is_yardstick(std::string_view configuration);
// One per device uuid, GPUs first. `trials` must outlive the result.
std::vector<DeviceResults> collect(const std::vector<tuner::StoredTrial>& trials);

}  // namespace fcsa::reports
