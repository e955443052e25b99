// From trials to a decision: which configuration to launch for which shape.
#pragma once

#include <string>
#include <string_view>
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
  kernels::DeviceInfo device;  // where its times were measured
  std::string created_at;
  double epsilon = 0.02;
  std::vector<DispatchClass> classes;  // sorted by class_text
};

// exact: this shape was tuned. nearest: shapes of its class were, on this device or one of the same model.
// other_device: on a device of another model. default_choice: nothing like it was tuned, a family's baseline.
enum class Match { exact, nearest, other_device, default_choice };
std::string_view to_text(Match match);

struct Choice {
  std::string configuration;
  Match match = Match::default_choice;
  const DispatchEntry* entry = nullptr;  // the tuned shape that decided, owned by the table; null by default
  double predicted_ms = 0;  // measured where the match is exact, else estimated; 0: nothing to estimate from
  std::string reason;       // a sentence for people: which tuned shape decided, on which device
};

// Devices whose trials can be pooled: the same silicon and as many multiprocessors, whatever the uuid.
bool same_model(const kernels::DeviceInfo& a, const kernels::DeviceInfo& b);

// Successful trials of the device and others of its model, oldest first: without configurations that this
// build doesn't know, whose source has changed since, or that gave a wrong result on any shape of the class.
std::vector<const StoredTrial*> usable_trials(const std::vector<StoredTrial>& trials,
                                              const kernels::DeviceInfo& device);

// Uses successful trials of a device, and of others of its model, whose source hash is the newest for their
// configuration; confirmation measurements are preferred to search ones. Throws std::invalid_argument when
// there is none.
DispatchTable make_dispatch_table(const std::vector<StoredTrial>& trials, const std::string& device_uuid,
                                  double epsilon = 0.02);

// The table to consult on a device: of its own model where that was tuned; else of the nearest that was: of
// the same compute capability (CPU: instruction set), then with as many multiprocessors, then as much memory.
// Throws std::invalid_argument when there is none.
DispatchTable dispatch_table_for(const std::vector<StoredTrial>& trials, const kernels::DeviceInfo& device,
                                 double epsilon = 0.02);

// For the device of the table, or another one, whose number of multiprocessors then counts. Nearest in log2
// of nq, nk and (batch * heads) within the class. The emitted headers use the same rule. Throws
// std::invalid_argument when no kernel serves the problem.
Choice choose(const DispatchTable& table, const kernels::Problem& problem);
Choice choose(const DispatchTable& table, const kernels::Problem& problem, const kernels::DeviceInfo& device);

// Where there is no table: the baseline of the first family that serves the problem. Throws
// std::invalid_argument when none does.
Choice default_choice(const kernels::Problem& problem, const kernels::DeviceInfo& device);

}  // namespace fcsa::tuner
