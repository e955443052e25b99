// From trials to a decision: which configuration to launch for which shape.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tuner/dispatch/rule.h"
#include "tuner/dispatch/shape_times.h"

namespace fcsa::tuner {

// One tuned shape and the configuration chosen for it.
struct DispatchEntry {
  kernels::Problem problem;
  std::size_t choice = 0;             // index into DispatchClass::configurations
  double chosen_ms = 0;               // measured, of the chosen configuration
  double best_ms = 0;                 // of the best one
  double baseline_ms = 0;             // of the family's baseline; 0 when not measured
  std::vector<double> times_ms = {};  // of each of DispatchClass::configurations; 0 when not measured
  // What a table made without this shape would choose here, and how much slower that is than the best; none
  // when it wasn't measured here, or there is no other shape.
  std::string left_out_choice = {};
  std::optional<double> left_out_regret = std::nullopt;
};

// Over the shapes of a class, each left out of the table in turn.
struct LeftOut {
  double median_regret = 0, worst_regret = 0;  // of those with a price
  std::size_t priced = 0, unpriced = 0;        // shapes
};

// All tuned shapes that share kernels (kernels::class_text).
struct DispatchClass {
  std::string class_text;
  kernels::Traits traits;
  std::vector<std::string> configurations;  // the fewest within epsilon of the best on every entry
  std::vector<DispatchEntry> entries;       // sorted by nq, nk, batch * heads
  double worst_regret = 0;                  // max over entries of chosen_ms / best_ms - 1
  LeftOut left_out = {};
  DispatchRule rule = {};  // over configurations and entries
};

struct DispatchTable {
  kernels::DeviceInfo device;  // where its times were measured
  std::string created_at;
  double epsilon = 0.02;
  std::vector<DispatchClass> classes;  // sorted by class_text
};

// exact: this shape was tuned. nearest: others of its class were, of which the nearest says which
// configurations are candidates. other_device: either, on a device of another model. default_choice: nothing
// like it was tuned, a family's baseline.
enum class Match { exact, nearest, other_device, default_choice };
std::string_view to_text(Match match);

struct Choice {
  std::string configuration;
  Match match = Match::default_choice;
  const DispatchEntry* entry = nullptr;  // this shape, or the nearest; owned by the table. Null by default
  double predicted_ms = 0;               // measured where the match is exact, else by the rule; 0 by default
  std::string reason;                    // a sentence for people: which tuned shape decided, on which device
  std::string passed_over = {};          // "; X doesn't fit: ..." of what would have been chosen
};

// Of the times of the entries.
DispatchRule fit_rule(const DispatchClass& dispatch, int multiprocessors);

// Of the shapes of one class, at least one.
DispatchClass make_dispatch_class(const std::vector<ShapeTimes>& shapes, const kernels::Target& target,
                                  double epsilon);

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

// For the device of the table, or another one, whose number of multiprocessors then counts. A tuned shape
// gets its own choice, another one of its class what the rule predicts to be the fastest; where that doesn't
// fit (kernels::misfit), the next that does. What was tuned with another scale or bound, or for other
// gradients, counts as well, if it has the same kernels, after the class itself. The library, the emitted
// headers and `fcsa explain` choose alike. Throws std::invalid_argument when no kernel serves the problem.
Choice choose(const DispatchTable& table, const kernels::Problem& problem);
Choice choose(const DispatchTable& table, const kernels::Problem& problem, const kernels::DeviceInfo& device);

// Where there is no table: the baseline of the first family that serves the problem. Throws
// std::invalid_argument when none does.
Choice default_choice(const kernels::Problem& problem, const kernels::DeviceInfo& device);

}  // namespace fcsa::tuner
