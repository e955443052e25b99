// The search for one problem: which families serve it, what was found so far, what to try first.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "tuner/search/confirmation.h"
#include "tuner/search/space.h"
#include "tuner/search/strategy.h"
#include "tuner/search/tuning.h"
#include "tuner/trials/recording.h"

namespace fcsa::tuner {

struct ProblemSearch {
  struct PerFamily {
    const kernels::Family* family = nullptr;
    Candidate baseline;
    std::optional<double> baseline_ms = std::nullopt;  // none when it failed or wasn't measured yet
    std::size_t evaluations = 0;                       // measured or reused, the baseline included
    std::size_t compile_failures = 0;                  // of the latest evaluations, one after the other

    // Nothing compiles: the source or the compiler is broken, not the candidates.
    bool hopeless() const { return compile_failures >= 16; }
  };

  kernels::Problem problem;
  std::vector<PerFamily> families;    // tunable ones that serve the problem, in order of preference
  std::vector<Contender> yardsticks;  // their baselines
  std::vector<Contender> succeeded;   // each configuration once, with its search median
  bool confirmed = false;             // its race was run
  std::string first_failure;          // configuration, status and message
  ProblemOutcome outcome;
};

// Sorts the families that serve the problem; the outcome's message says why when none does.
ProblemSearch make_problem_search(const kernels::Problem& problem,
                                  const std::vector<const kernels::Family*>& families,
                                  const kernels::Target& target);

// Counts the result, keeps its time when it succeeded and updates the outcome's best so far.
void note(ProblemSearch& search, ProblemSearch::PerFamily& per_family, const Candidate& candidate,
          const RecordingEvaluator::Result& result);

// The fastest configurations of the family on the nearest problems of the same class, nearest problem first,
// without those tried already: a good start is worth more than a random one.
std::vector<kernels::Configuration> warm_start(std::span<const ProblemSearch> finished,
                                               const ProblemSearch& search, const Space& space);

// Distance of two shapes of one class: of log2 nq, log2 nk and log2 (batch * heads), squared.
double shape_distance(const kernels::Problem& a, const kernels::Problem& b);

}  // namespace fcsa::tuner
