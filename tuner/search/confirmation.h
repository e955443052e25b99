// The last word on a problem: who takes part in the confirmation race, and who won.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tuner/trials/trial.h"

namespace fcsa::tuner {

enum class Role { finalist, baseline, yardstick };

// What takes so many times as long as the fastest, and is of another family, has lost: it is neither raced,
// which would take longer than all the others, nor searched for longer.
inline constexpr double kLostFrom = 3;

struct Contender {
  Candidate candidate;
  Role role = Role::finalist;
  double search_ms = 0;  // median in the search; 0 for yardsticks
};

// The `finalists` fastest of the search, then the baselines not among them, then the yardsticks. Without
// those of other families than the fastest that have lost.
std::vector<Contender> line_up(std::vector<Contender> searched, const std::vector<Contender>& yardsticks,
                               std::size_t finalists);

struct Verdict {
  std::optional<std::size_t> winner;  // index into the contenders; none when no finalist or baseline finished
  std::optional<std::size_t> baseline;   // of the winner's family, else the first that finished
  std::optional<std::size_t> yardstick;  // the first that finished
  std::string message;                   // the tie and how it was decided, or why there is no winner
};

// The lowest median wins. Those whose 95% interval overlaps the winner's are tied with it: of them the
// baseline is preferred, then the one with the fewest parameters away from their default, then the fastest.
Verdict verdict_of(std::span<const Contender> contenders, std::span<const Evaluation> evaluations);

}  // namespace fcsa::tuner
