// From trials to a decision: which configuration to launch for which shape.
#pragma once

#include <string>
#include <vector>

#include "tuner/store.h"

namespace fcsa::tuner {

// One tuned shape and the configuration chosen for it.
struct DispatchEntry {
  kernels::Problem problem;
  std::size_t choice = 0;  // index into DispatchClass::configurations
  double chosen_ms = 0;    // measured, of the chosen configuration
  double best_ms = 0;      // of the best one
  double baseline_ms = 0;  // of the family's baseline; 0 when not measured
};

// All tuned shapes that share kernels (kernels::class_text).
struct DispatchClass {
  std::string class_text;
  kernels::Traits traits;
  std::vector<std::string> configurations;  // the fewest within epsilon of the best on every entry
  std::vector<DispatchEntry> entries;       // sorted by nq, nk, batch * heads
  double worst_regret = 0;                  // max over entries of chosen_ms / best_ms - 1
};

struct DispatchTable {
  kernels::DeviceInfo device;
  std::string created_at;
  double epsilon = 0.02;
  std::vector<DispatchClass> classes;  // sorted by class_text
};

enum class Match { exact, nearest, default_choice };

struct Choice {
  std::string configuration;
  Match match = Match::default_choice;
  const DispatchEntry* entry = nullptr;  // the tuned shape that decided; null for default_choice
};

// Uses successful trials of one device whose source hash is the newest for their configuration; confirmation
// measurements are preferred to search ones. Throws std::invalid_argument when there is none.
DispatchTable make_dispatch_table(const std::vector<StoredTrial>& trials, const std::string& device_uuid,
                                  double epsilon = 0.02);

// Nearest in log2 of nq, nk and (batch * heads) within the class. The emitted headers use the same rule.
Choice choose(const DispatchTable& table, const kernels::Problem& problem);

}  // namespace fcsa::tuner
