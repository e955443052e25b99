// The tuning loop: the baselines of all problems first (with `until` those of a problem when its turn comes),
// then for every problem what is known to be good, what the strategy asks for and a confirmation race.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tuner/dispatch/dispatch.h"
#include "tuner/trials/evaluator.h"

namespace fcsa::tuner {

struct TuningOptions {
  std::string strategy = "auto";
  // Wall time over all problems. Each gets an equal share of what is left; what it doesn't use goes to the
  // rest. The evaluator stops what is under way when it is over: problems that were not reached, or not
  // confirmed, say so in their message.
  std::chrono::duration<double> budget{600};
  std::size_t max_evaluations = 0;  // per problem and family, baseline and reused ones included; 0: no limit
  // Configurations asked for and not measured yet: two to three times as many as compile at a time keep the
  // device busy, more make the search plan with less knowledge. The same number gives the same search.
  std::size_t pending = 32;
  // As if nobody knew the device: the simplest valid configuration takes the place of each family's baseline.
  bool cold = false;
  std::size_t finalists = 4;  // raced in the confirmation, with baseline and yardsticks
  std::uint64_t seed = 1;
  // Beside the grid, what makes its dispatch table good elsewhere: tunes the emptiest shape of each class
  // too, and probes (dispatch_probes.h) in a fifth of the budget and what is left of the rest. only: nothing
  // but probes, of what the sink has.
  enum class Dispatch { no, yes, only };
  Dispatch dispatch = Dispatch::no;
  double epsilon = 0.02;  // of the dispatch table
  // The problem on which the most is expected to be lost is searched next, and none when that is at most this
  // (0.05: 5% of its time) on each that is left; then there are no probes either. Problems that were tuned
  // before are not searched again.
  std::optional<double> until = std::nullopt;
  // Of every problem, tried right after the baselines where they are valid.
  std::vector<kernels::Configuration> first = {};
  // Of a problem, tried after those and what won on the problems before it: what was best in earlier runs, or
  // on another device, say.
  std::function<std::vector<kernels::Configuration>(const kernels::Problem&)> known = {};
  // What the budget is measured with; tests supply their own.
  std::function<std::chrono::steady_clock::time_point()> clock = &std::chrono::steady_clock::now;
};

// Reported after every trial and at the start of every problem.
struct Progress {
  std::size_t problem = 0, problems = 0;        // 1-based, and how many
  std::size_t evaluation = 0, evaluations = 0;  // of this problem; an estimate of the total
  double elapsed_s = 0, remaining_s = 0;        // remaining: an estimate, never beyond the budget
  const Candidate* candidate = nullptr;         // null at the start of a problem
  const Evaluation* evaluation_result = nullptr;
  std::string best;                     // text of the best configuration so far
  double best_ms = 0, baseline_ms = 0;  // 0 until known
  bool reused = false;                  // result of an earlier session, not measured again
  std::string probe;  // what is going to be measured for the dispatch table; empty during the search
};

struct ProblemOutcome {
  kernels::Problem problem;
  std::string best;    // empty when nothing worked
  double best_ms = 0;  // from the confirmation race
  double baseline_ms = 0;
  double unfused_ms = 0;     // 0 when it didn't run (out of memory, say)
  std::size_t measured = 0;  // evaluated in the search, by this run
  std::size_t reused = 0;    // taken from earlier trials
  std::size_t failed = 0;    // of measured and reused: neither ok nor pruned
  std::size_t pruned = 0;    // by constraints, or by the evaluator (registers, spills)
  std::size_t space = 0;     // configurations that the constraints allow
  bool added = false;        // not asked for: the emptiest shape of its class
  // Not searched, with TuningOptions::until: what is expected to be lost there. Infinite: nothing is known.
  std::optional<double> expected_loss = std::nullopt;
  std::string finished;  // why the search ended before its time; empty when it didn't
  std::string message;   // why there is no best, that it is a tie, or that the race didn't run
};

// What the dispatch table of a class is like after the probes.
struct DispatchOutcome {
  std::string class_text;
  std::size_t probes = 0;  // by this run
  std::size_t shapes = 0, configurations = 0;
  double worst_regret = 0;
  LeftOut left_out;
};

struct TuningOutcome {
  std::vector<ProblemOutcome> problems;
  std::vector<DispatchOutcome> classes;  // without TuningOptions::dispatch none
  bool interrupted = false;              // stop flag seen
  bool out_of_time = false;              // something was stopped at the end of the budget
  double total_s = 0;                    // wall time
  double evaluating_s =
      0;                 // of that, in Evaluator::evaluate, race and first_ready; the rest is the tuner's own
  double waiting_s = 0;  // of that, in first_ready: the device waited for a compiler
};

// Tunes problems over the families that serve them: searches the tunable ones, and races the finalists of
// each problem with the baselines and the yardsticks. Every trial goes to the sink as soon as it exists.
// Search trials that the sink already has (same key) are reused, failures too, except launch_failed and
// out_of_memory; races are run again. Returns early, without losing anything, when stop becomes true:
// problems not confirmed say so in their message. Throws std::invalid_argument for an unknown strategy; what
// the evaluator or the sink throws passes through.
TuningOutcome tune(const std::vector<kernels::Problem>& problems,
                   const std::vector<const kernels::Family*>& families, Evaluator& evaluator, TrialSink& sink,
                   const TuningOptions& options, const std::function<void(const Progress&)>& on_progress,
                   const std::atomic<bool>& stop);

}  // namespace fcsa::tuner
