#include "tuner/search/tuning.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "tuner/dispatch/break_points.h"
#include "tuner/dispatch/probes.h"
#include "tuner/search/expected_losses.h"
#include "tuner/search/pending_queue.h"
#include "tuner/search/problem_search.h"
#include "tuner/search/space.h"
#include "tuner/search/strategy.h"

namespace fcsa::tuner {
namespace {

// Of each family and problem its own, so that neither the order nor the number of problems changes a search.
std::uint64_t strategy_seed(const TuningOptions& options, const Candidate& baseline) {
  const std::string text = kernels::to_text(baseline.problem) + '\n' + baseline.family->name();
  return XXH3_64bits_withSeed(text.data(), text.size(), options.seed);
}

class Tuning {
 public:
  Tuning(Evaluator& evaluator, TrialSink& sink, const TuningOptions& options,
         const std::function<void(const Progress&)>& on_progress, const std::atomic<bool>& stop)
      : sink_(sink),
        evaluator_(evaluator, sink, options.seed, options.clock),
        options_(options),
        on_progress_(on_progress),
        stop_(stop),
        start_s_(now_s()),
        deadline_s_(start_s_ + options.budget.count()),
        search_deadline_s_(options.dispatch == TuningOptions::Dispatch::no
                               ? deadline_s_
                               : deadline_s_ - kProbeShare * options.budget.count()) {}

  TuningOutcome run(const std::vector<kernels::Problem>& problems,
                    const std::vector<const kernels::Family*>& families) {
    TuningOutcome outcome;
    evaluator_.end_at(std::chrono::steady_clock::now() +
                      std::chrono::duration_cast<std::chrono::steady_clock::duration>(options_.budget));
    if (options_.dispatch != TuningOptions::Dispatch::only) search(problems, families);
    if (options_.dispatch != TuningOptions::Dispatch::no) outcome.classes = probe(problems);
    std::sort(searches_.begin(), searches_.end(),
              [](const auto& a, const auto& b) { return a.place < b.place; });
    for (auto& search : searches_) outcome.problems.push_back(std::move(search.outcome));
    outcome.interrupted = interrupted_;
    outcome.out_of_time = out_of_time_;
    outcome.total_s = now_s() - start_s_;
    outcome.evaluating_s = evaluator_.spent_s();
    outcome.waiting_s = evaluator_.waited_s();
    return outcome;
  }

 private:
  using PerFamily = ProblemSearch::PerFamily;

  double now_s() const { return std::chrono::duration<double>(options_.clock().time_since_epoch()).count(); }

  bool stopping() {
    interrupted_ = interrupted_ || stop_.load();
    return interrupted_ || out_of_time_;
  }

  // Nothing when it was stopped, by the user or at the end of the budget.
  template <typename Work>
  auto unless_interrupted(const Work& work) -> std::optional<decltype(work())> {
    try {
      return work();
    } catch (const Interrupted&) {
      out_of_time_ = !stop_.load();
      stopping();
      return std::nullopt;
    }
  }

  void search(const std::vector<kernels::Problem>& problems,
              const std::vector<const kernels::Family*>& families) {
    const auto add = [&](const kernels::Problem& problem) -> ProblemSearch& {
      auto& search =
          searches_.emplace_back(make_problem_search(problem, families, evaluator_.device().target));
      search.place = searches_.size() - 1;
      if (options_.cold) forget_baselines(search);
      return search;
    };
    for (const auto& problem : problems) add(problem);
    if (options_.dispatch == TuningOptions::Dispatch::yes)
      for (const auto& problem : emptiest_shapes(problems)) add(problem).outcome.added = true;
    prefetch_baselines();
    if (options_.until) return search_where_most_is_lost();
    for (current_ = 0; current_ < searches_.size(); ++current_) measure_baselines();
    for (current_ = 0; current_ < searches_.size(); ++current_) {
      to_come_ = searches_.size() - current_;
      tune_current();
    }
  }

  void search_where_most_is_lost() {
    for (current_ = 0; current_ < searches_.size(); ++current_) {
      to_come_ = bring_forward_most_lost();
      if (to_come_ == 0 || stopping() || now_s() >= search_deadline_s_) break;
      searches_[current_].outcome.expected_loss.reset();
      measure_baselines();
      tune_current();
    }
    enough_ = current_ < searches_.size() && to_come_ == 0;
    for (std::size_t i = current_; i < searches_.size(); ++i) leave_out(searches_[i]);
  }

  // To the current place. How many are expected to lose too much.
  std::size_t bring_forward_most_lost() {
    const ExpectedLosses losses(sink_.recorded(), evaluator_.device(), options_.epsilon,
                                [&](const Trial& trial) { return is_current(trial); });
    const auto left = std::span(searches_).subspan(current_);
    for (auto& search : left)
      search.outcome.expected_loss = search.families.empty() ? 0 : losses.of(search.problem);
    const auto loss = [](const ProblemSearch& search) { return *search.outcome.expected_loss; };
    const auto most = std::max_element(left.begin(), left.end(),
                                       [&](const auto& a, const auto& b) { return loss(a) < loss(b); });
    std::rotate(left.begin(), most, most + 1);
    return static_cast<std::size_t>(
        std::count_if(left.begin(), left.end(), [&](const auto& s) { return loss(s) > *options_.until; }));
  }

  bool is_current(const Trial& trial) {
    try {
      return evaluator_.source_hash(candidate_of(trial.problem, trial.configuration)) == trial.source_hash;
    } catch (const std::invalid_argument&) {
      return false;  // of a family or a parameter that is no more
    }
  }

  void leave_out(ProblemSearch& search) const {
    if (search.families.empty())
      return search.outcome.expected_loss.reset();  // its message says that none serves it
    const double loss = *search.outcome.expected_loss;
    const std::string expected =
        std::isinf(loss) ? "nothing like it was tuned" : fmt::format("expected to lose {:.1f}%", 100 * loss);
    search.outcome.message =
        loss <= *options_.until ? "not searched: " + expected : unfinished(search) + "; " + expected;
  }

  std::vector<DispatchOutcome> probe(const std::vector<kernels::Problem>& problems) {
    std::set<std::string> texts;
    for (const auto& problem : problems) texts.insert(kernels::class_text(problem));
    const auto trials = sink_.recorded();
    std::vector<ProbedClass> classes;
    classes.reserve(texts.size());
    for (const auto& text : texts) classes.emplace_back(text, trials, evaluator_.device(), options_.epsilon);
    std::size_t started = 0;
    const auto each_s = [&] {
      return started == 0 ? expected_race_s()
                          : evaluator_.spent_s(Phase::probe) / static_cast<double>(started);
    };
    const ProbeCalls calls{
        .may_start = [&] { return !enough_ && !stopping() && now_s() + each_s() < deadline_s_; },
        .starting =
            [&](const ProbedClass& probed, const Probe& probe) {
              ++started;
              report_probe(probed, probe);
            }};
    unless_interrupted([&] {
      run_probes(classes, evaluator_, calls);
      return true;
    });
    std::vector<DispatchOutcome> outcomes;
    for (const auto& probed : classes) {
      if (const auto* dispatch = probed.dispatch())
        outcomes.push_back({probed.class_text(), probed.probes(), dispatch->entries.size(),
                            dispatch->configurations.size(), dispatch->worst_regret, dispatch->left_out});
    }
    return outcomes;
  }

  void report_probe(const ProbedClass& probed, const Probe& probe) const {
    if (!on_progress_) return;
    Progress progress;
    progress.evaluation = probed.probes() + 1;
    progress.elapsed_s = now_s() - start_s_;
    progress.remaining_s = std::max(deadline_s_ - now_s(), 0.0);
    progress.probe = fmt::format("{}: {}, {} configurations", to_text(probe.kind),
                                 kernels::to_text(probe.problem), probe.configurations.size());
    on_progress_(progress);
  }

  void forget_baselines(ProblemSearch& search) {
    for (auto& per_family : search.families) {
      const Space& space = space_of(*per_family.family, search.problem);
      if (space.size() > 0) per_family.baseline.configuration = space.at(space.simplest());
    }
  }

  void prefetch_baselines() {
    std::vector<Candidate> baselines;
    for (const auto& search : searches_) {
      for (const auto& per_family : search.families) baselines.push_back(per_family.baseline);
    }
    evaluator_.prefetch(baselines);
  }

  // Of the current problem. Before any search, so that even a budget that is too short compares every problem
  // with something.
  void measure_baselines() {
    for (auto& per_family : searches_[current_].families) {
      if (stopping()) return;
      evaluate(per_family, per_family.baseline);
    }
  }

  void tune_current() {
    auto& search = searches_[current_];
    if (search.families.empty() && search.yardsticks.empty()) return;
    if (!stopping()) report({});
    search_until_s_ = now_s() + share_s();
    try_known(search);
    explore(search, search_until_s_);
    if (!stopping()) confirm(search);
    if (stopping() && !search.confirmed) search.outcome.message = unfinished(search);
  }

  // Before any strategy: a few seconds are enough to compare a dozen that are good elsewhere.
  void try_known(ProblemSearch& search) {
    auto waiting = known_candidates(search);
    evaluator_.prefetch(waiting);
    while (!stopping() && now_s() < search_until_s_ && !waiting.empty()) {
      untried_ = waiting.size();
      const auto ready = unless_interrupted([&] { return evaluator_.first_ready(waiting); });
      if (!ready) break;
      const Candidate candidate = waiting[*ready];
      waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(*ready));
      auto& per_family = *search.family_of(candidate.configuration);
      if (evaluations_left(per_family) > 0 && !per_family.hopeless()) evaluate(per_family, candidate);
    }
    evaluator_.cancel(waiting);
  }

  // In the order in which they are tried.
  std::vector<Candidate> known_candidates(ProblemSearch& search) {
    auto known = options_.first;
    const auto add = [&](std::vector<kernels::Configuration> more) {
      known.insert(known.end(), more.begin(), more.end());
    };
    add(winners_elsewhere(std::span(searches_).first(current_), search.problem));
    if (options_.known) add(options_.known(search.problem));
    auto candidates = untried(search, known);
    std::erase_if(candidates, [&](const Candidate& candidate) { return !worth_trying(candidate); });
    return candidates;
  }

  // What its space would say, without making one.
  bool worth_trying(const Candidate& candidate) const {
    const auto& [problem, family, configuration] = candidate;
    return kernels::listed(configuration, family->parameters(problem.op)) &&
           kernels::invalid_reason(*family, problem, configuration, evaluator_.device().target).empty();
  }

  // Families share the time. Those that have lost get none, unless all that is known of them is their
  // simplest configuration.
  void explore(ProblemSearch& search, double until_s) {
    std::vector<PerFamily*> worth;
    for (auto& per_family : search.families)
      if (options_.cold || !search.has_lost(per_family)) worth.push_back(&per_family);
    for (std::size_t i = 0; i < worth.size() && !stopping(); ++i) {
      const double left_s = std::max(until_s - now_s(), 0.0);
      search_family(*worth[i], now_s() + left_s / static_cast<double>(worth.size() - i));
    }
  }

  std::string unfinished(const ProblemSearch& search) const {
    const std::string when = search.outcome.measured + search.outcome.reused > 0
                                 ? "before the confirmation race"
                                 : "before its first trial was finished";
    if (interrupted_) return fmt::format("interrupted {}; run again to resume", when);
    return fmt::format("the budget of {:.4g} s ended {}; run again with a larger one to resume",
                       options_.budget.count(), when);
  }

  // An equal share of what is left of the budget, less the trial that runs when it is over and the coming
  // race, which may take longer than those before: while that is a guess, at least half.
  double share_s() const {
    const double equal_s = (search_deadline_s_ - now_s()) / static_cast<double>(to_come_);
    const double after_s = mean_evaluation_s() + kRaceMargin * expected_race_s();
    return std::max(equal_s - after_s, races_ == 0 ? equal_s / 2 : 0.0);
  }

  // The mean of races, or the latest where it was shorter: the first ones compile and verify yardsticks, too.
  // Until a race was run: twice what as many measurements took, without compilation and verification, most of
  // which is done by then.
  double expected_race_s() const {
    const double races_s = evaluator_.spent_s(Phase::confirm);
    if (races_ > 0) return std::min(races_s / static_cast<double>(races_), latest_race_s_);
    if (succeeded_ == 0) return 0;
    return 2 * sampling_s_ / static_cast<double>(succeeded_) * static_cast<double>(options_.finalists + 2);
  }

  void search_family(PerFamily& per_family, double until_s) {
    auto& search = searches_[current_];
    const Space space =
        space_of(*per_family.family, search.problem).worth_trying(search.problem, evaluator_.device().target);
    search.outcome.space += space.size();
    search.outcome.pruned += space.total() - space.size();
    if (now_s() >= until_s) return;
    const auto strategy =
        make_strategy(options_.strategy, space, strategy_seed(options_, per_family.baseline));
    for (const auto& [position, time_ms] : tried_in(per_family, space)) strategy->tell(position, time_ms);
    untried_ = space.size() - strategy->history().told().size();
    search_until_s_ = until_s;
    PendingQueue queue(*strategy, {.pending = options_.pending, .measured = evaluations_left(per_family)});
    evaluator_.prefetch(candidates_at(queue.fill().asked, per_family, space));
    auto waiting = queue.unmeasured();
    while (!stopping() && now_s() < until_s && !waiting.empty() && !per_family.hopeless()) {
      const auto candidates = candidates_at(waiting, per_family, space);
      const auto ready = unless_interrupted([&] { return evaluator_.first_ready(candidates); });
      if (!ready) break;
      const auto time_ms = evaluate(per_family, candidates[*ready]);
      if (interrupted_) break;  // it may not have been measured
      const auto change = queue.measured(waiting[*ready], time_ms);
      evaluator_.cancel(candidates_at(change.cancelled, per_family, space));
      evaluator_.prefetch(candidates_at(change.asked, per_family, space));
      waiting = queue.unmeasured();
    }
    evaluator_.cancel(candidates_at(waiting, per_family, space));
    search.outcome.finished = strategy->finished();
    search_until_s_ = now_s();
  }

  static std::vector<Candidate> candidates_at(const std::vector<std::size_t>& positions,
                                              const PerFamily& per_family, const Space& space) {
    std::vector<Candidate> candidates;
    candidates.reserve(positions.size());
    for (const auto position : positions)
      candidates.push_back({per_family.baseline.problem, per_family.family, space.at(position)});
    return candidates;
  }

  // In the order of the space, not of what was compiled first: the same answers give the same search.
  static std::map<std::size_t, std::optional<double>> tried_in(const PerFamily& per_family,
                                                               const Space& space) {
    std::map<std::size_t, std::optional<double>> tried;
    for (const auto& one : per_family.tried)
      if (const auto position = space.find(one.configuration)) tried.emplace(*position, one.time_ms);
    return tried;
  }

  // One for all problems of a class, which differ in what is worth trying only: its rules are asked of
  // tens of thousands of combinations of values.
  const Space& space_of(const kernels::Family& family, const kernels::Problem& problem) {
    const auto key = std::pair(&family, kernels::class_text(problem));
    return spaces_.try_emplace(key, family, problem, evaluator_.device().target).first->second;
  }

  std::size_t evaluations_left(const PerFamily& per_family) const {
    if (options_.max_evaluations == 0) return std::numeric_limits<std::size_t>::max();
    return options_.max_evaluations - std::min(options_.max_evaluations, per_family.tried.size());
  }

  std::optional<double> evaluate(PerFamily& per_family, const Candidate& candidate) {
    const auto evaluated = unless_interrupted([&] { return evaluator_.evaluate(candidate); });
    if (!evaluated) return std::nullopt;
    const auto& result = *evaluated;
    if (!result.reused) ++measured_;
    if (untried_ > 0) --untried_;
    note(searches_[current_], per_family, candidate, result);
    Progress progress;
    progress.candidate = &candidate;
    progress.evaluation_result = &result.evaluation;
    progress.reused = result.reused;
    report(progress);
    if (result.evaluation.status != Status::ok) return std::nullopt;
    const Measurement& measurement = result.evaluation.measurement;
    ++succeeded_;
    sampling_s_ += std::accumulate(measurement.samples_ms.begin(), measurement.samples_ms.end(), 0.0) *
                   measurement.launches_per_sample / 1e3;
    return measurement.median_ms;
  }

  void confirm(ProblemSearch& search) {
    const auto contenders = line_up(search.succeeded, search.yardsticks, options_.finalists);
    std::vector<Candidate> candidates;
    candidates.reserve(contenders.size());
    for (const auto& contender : contenders) candidates.push_back(contender.candidate);
    if (search.succeeded.empty() && !search.families.empty()) {
      search.outcome.message = "every configuration tried failed, first " + search.first_failure;
    }
    if (candidates.empty()) return;
    const double before_s = evaluator_.spent_s(Phase::confirm);
    auto trials = unless_interrupted([&] { return evaluator_.race(candidates, Phase::confirm); });
    if (!trials) return;
    latest_race_s_ = evaluator_.spent_s(Phase::confirm) - before_s;
    search.confirmed = true;
    std::vector<Evaluation> evaluations;
    for (auto& trial : *trials) evaluations.push_back(std::move(trial.evaluation));
    ++races_;
    auto& outcome = search.outcome;
    const auto verdict = verdict_of(contenders, evaluations);
    const auto median_ms = [&](std::optional<std::size_t> index) {
      return index ? evaluations[*index].measurement.median_ms : 0.0;
    };
    if (verdict.winner) search.winner = candidates[*verdict.winner].configuration;
    outcome.best = verdict.winner ? configuration_text(candidates[*verdict.winner]) : "";
    outcome.best_ms = median_ms(verdict.winner);
    outcome.baseline_ms = median_ms(verdict.baseline);
    outcome.unfused_ms = median_ms(verdict.yardstick);
    if (!search.succeeded.empty()) outcome.message = verdict.message;
  }

  void report(Progress progress) const {
    if (!on_progress_) return;
    const auto& outcome = searches_[current_].outcome;
    progress.problem = current_ + 1;
    progress.problems = searches_.size();
    progress.evaluation = outcome.measured + outcome.reused;
    progress.evaluations = progress.evaluation + expected_evaluations();
    progress.elapsed_s = now_s() - start_s_;
    progress.remaining_s = expected_remaining_s();
    progress.best = outcome.best;
    progress.best_ms = outcome.best_ms;
    progress.baseline_ms = outcome.baseline_ms;
    on_progress_(progress);
  }

  // To come in the search under way.
  std::size_t expected_evaluations() const {
    const double left_s = std::max(search_until_s_ - now_s(), 0.0);
    std::size_t expected = untried_;
    if (const double each_s = mean_evaluation_s(); left_s / each_s < static_cast<double>(expected)) {
      expected = static_cast<std::size_t>(left_s / each_s);
    }
    for (const auto& per_family : searches_[current_].families) {
      expected = std::min(expected, evaluations_left(per_family));
    }
    return expected;
  }

  double mean_evaluation_s() const {
    if (measured_ == 0) return 0;
    return evaluator_.spent_s(Phase::search) / static_cast<double>(measured_);
  }

  // Problems to come are expected to take all they may: their number of evaluations, or else the rest of the
  // budget.
  double expected_remaining_s() const {
    const double budget_s = std::max(deadline_s_ - now_s(), 0.0);
    if (options_.dispatch != TuningOptions::Dispatch::no) return budget_s;
    const auto later = static_cast<double>(searches_.size() - current_ - 1);
    if (later > 0 && options_.max_evaluations == 0) return budget_s;
    const double later_s =
        later * (static_cast<double>(options_.max_evaluations) * mean_evaluation_s() + expected_race_s());
    const double current_s =
        static_cast<double>(expected_evaluations()) * mean_evaluation_s() + expected_race_s();
    return std::min(current_s + later_s, budget_s);
  }

  static constexpr double kProbeShare = 0.2;  // of the budget
  static constexpr double kRaceMargin = 1.25;

  TrialSink& sink_;
  RecordingEvaluator evaluator_;
  const TuningOptions& options_;
  const std::function<void(const Progress&)>& on_progress_;
  const std::atomic<bool>& stop_;
  double start_s_, deadline_s_, search_deadline_s_;
  std::vector<ProblemSearch> searches_;
  std::map<std::pair<const kernels::Family*, std::string>, Space> spaces_;
  std::size_t current_ = 0;  // of searches_
  std::size_t to_come_ = 0;  // problems that share what is left of the budget
  bool enough_ = false;      // little is expected to be lost on what is left
  std::size_t untried_ = 0;  // in the space being searched
  double search_until_s_ = 0;
  double latest_race_s_ = 0;
  double sampling_s_ = 0;  // of what succeeded in the search
  std::size_t succeeded_ = 0, measured_ = 0, races_ = 0;
  bool interrupted_ = false, out_of_time_ = false;
};

}  // namespace

TuningOutcome tune(const std::vector<kernels::Problem>& problems,
                   const std::vector<const kernels::Family*>& families, Evaluator& evaluator, TrialSink& sink,
                   const TuningOptions& options, const std::function<void(const Progress&)>& on_progress,
                   const std::atomic<bool>& stop) {
  check_strategy_name(options.strategy);
  return Tuning(evaluator, sink, options, on_progress, stop).run(problems, families);
}

}  // namespace fcsa::tuner
