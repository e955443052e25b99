// Measures what tuning chose once more, after a change of driver, toolkit or source: is it as fast as it was?
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "tuner/trials/median_ratio.h"
#include "tuner/trials/recording.h"
#include "tuner/trials/store.h"

namespace fcsa::tuner {

// A winner, and what there is to compare it with.
struct RecordedWinner {
  Candidate candidate;
  StoredTrial trial;  // as tuning measured it last: in a race, or where it was in none, alone
  struct Anchor {
    Candidate candidate;
    Trial trial;
  };
  // Of the same race: the baseline of its family, unless that is the winner, and the unfused yardsticks.
  std::vector<Anchor> anchors;
};

// What the dispatch table of a device chooses, for every shape that was tuned on its model; earlier refreshes
// don't count. Throws std::invalid_argument when there is nothing to choose from.
std::vector<RecordedWinner> recorded_winners(const std::vector<StoredTrial>& trials,
                                             const kernels::DeviceInfo& device);

enum class Freshness { same, faster, slower, unsure, failed };
std::string_view to_text(Freshness freshness);  // "SAME"

// SAME when the interval lies within the tolerance (0.02: 2% slower, or as much faster), FASTER or SLOWER
// when it lies outside of it, else UNSURE.
Freshness freshness_of(const Ratio& ratio, double tolerance);

struct RefreshResult {
  Freshness freshness = Freshness::failed;
  // Time now over recorded time. Where an anchor was raced both times, of the winner's time over the
  // anchor's: clocks and temperature differ between sessions, and hit both.
  Ratio ratio;
  std::string relative_to;  // the anchor's configuration; empty: compared by time
  double recorded_ms = 0, now_ms = 0;
  double drift = 0;     // of the anchor alone, now over recorded; 0 without one
  std::string changed;  // "device, driver, compiler"; "source" is only told where the compiler is the same
  std::string message;  // why it failed
};

// Races the winner with its anchors and records that as a refresh. Of the anchors one whose own source
// and compiler are the same is preferred, of these the baseline: what changed with the winner hides its
// change.
RefreshResult refresh(const RecordedWinner& winner, RecordingEvaluator& evaluator, double tolerance);

}  // namespace fcsa::tuner
