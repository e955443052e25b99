// The search for one problem: which families serve it, what was found so far, what to try first.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "tuner/search/confirmation.h"
#include "tuner/search/tuning.h"
#include "tuner/trials/recording.h"

namespace fcsa::tuner {

struct ProblemSearch {
  struct PerFamily {
    const kernels::Family* family = nullptr;
    Candidate baseline;
    struct Tried {
      kernels::Configuration configuration;
      std::optional<double> time_ms;  // none when it failed
    };
    std::vector<Tried> tried = {};     // measured or reused, each once, the baseline first
    std::size_t compile_failures = 0;  // of the latest evaluations, one after the other

    // Nothing compiles: the source or the compiler is broken, not the candidates.
    bool hopeless() const { return compile_failures >= 16; }
    bool has_tried(const kernels::Configuration& configuration) const;
    std::optional<double> best_ms() const;  // none as long as nothing succeeded
  };

  kernels::Problem problem;
  std::size_t place = 0;              // among the problems of the run
  std::vector<PerFamily> families;    // tunable ones that serve the problem, in order of preference
  std::vector<Contender> yardsticks;  // their baselines
  std::vector<Contender> succeeded;   // each configuration once, with its search median
  bool confirmed = false;             // its race was run
  std::optional<kernels::Configuration> winner = std::nullopt;  // of the race
  std::string first_failure;                                    // configuration, status and message
  ProblemOutcome outcome;

  PerFamily* family_of(const kernels::Configuration& configuration);  // null where none serves the problem
  // Other families are so much faster that a search of this one isn't worth its time.
  bool has_lost(const PerFamily& per_family) const;
};

// Sorts the families that serve the problem; the outcome's message says why when none does.
ProblemSearch make_problem_search(const kernels::Problem& problem,
                                  const std::vector<const kernels::Family*>& families,
                                  const kernels::Target& target);

// Counts the result, keeps its time when it succeeded and updates the outcome's best so far.
void note(ProblemSearch& search, ProblemSearch::PerFamily& per_family, const Candidate& candidate,
          const RecordingEvaluator::Result& result);

// Those of families that serve the problem, each once and in this order, without what was tried already.
std::vector<Candidate> untried(ProblemSearch& search, std::span<const kernels::Configuration> configurations);

// What won on the other problems, the nearest first, then what else was fast on the nearest: of problems of
// the same class, or where there is none of the nearest class (class_distance). Each once, at most a dozen.
std::vector<kernels::Configuration> winners_elsewhere(std::span<const ProblemSearch> finished,
                                                      const kernels::Problem& problem);

}  // namespace fcsa::tuner
