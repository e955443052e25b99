#include "tuner/trials/recording.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <random>
#include <stdexcept>

namespace fcsa::tuner {
namespace {

bool worth_reusing(Status status) {
  return status != Status::launch_failed && status != Status::out_of_memory;
}

std::string new_race_id() {
  std::random_device entropy;
  return fmt::format("{:08x}{:08x}", entropy(), entropy());
}

std::string identity(const Candidate& candidate) {
  return kernels::to_text(candidate.problem) + '\n' + configuration_text(candidate);
}

}  // namespace

std::string configuration_text(const Candidate& candidate) {
  return kernels::to_text(*candidate.family, candidate.problem.op, candidate.configuration);
}

Candidate candidate_of(const kernels::Problem& problem, const std::string& configuration) {
  auto kernel = kernels::parse_kernel(configuration);
  if (kernel.op != problem.op)
    throw std::invalid_argument(fmt::format("configuration '{}': expected {}{{parameter=value,...}}",
                                            configuration, kernels::kernel_name(*kernel.family, problem.op)));
  return {problem, kernel.family, std::move(kernel.configuration)};
}

std::string timestamp() {
  using namespace std::chrono;
  const auto now = time_point_cast<milliseconds>(system_clock::now());
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(system_clock::to_time_t(now)),
                     now.time_since_epoch().count() % 1000);
}

RecordingEvaluator::RecordingEvaluator(Evaluator& evaluator, TrialSink& sink, std::uint64_t seed, Clock clock)
    : evaluator_(evaluator), sink_(sink), seed_(seed), clock_(std::move(clock)) {}

// Only compiling and measuring count: hashing sources is the tuner's own work.
template <typename Call>
auto RecordingEvaluator::timed(Phase phase, Call&& call) {
  const auto start = clock_();
  auto result = call();
  spent_s_.at(static_cast<std::size_t>(phase)) += std::chrono::duration<double>(clock_() - start).count();
  return result;
}

const RecordingEvaluator::Known& RecordingEvaluator::look_up(const Candidate& candidate) {
  const auto [entry, inserted] = known_.try_emplace(identity(candidate));
  if (inserted) {
    Known& known = entry->second;
    known.source_hash = evaluator_.source_hash(candidate);
    const TrialKey key{
        evaluator_.device().uuid,      evaluator_.device().driver, kernels::to_text(candidate.problem),
        configuration_text(candidate), known.source_hash,          evaluator_.cache_state()};
    if (auto trial = sink_.find(key); trial && worth_reusing(trial->evaluation.status)) {
      known.earlier = std::move(trial->evaluation);
    }
  }
  return entry->second;
}

RecordingEvaluator::Result RecordingEvaluator::evaluate(const Candidate& candidate) {
  if (const auto& known = look_up(candidate); known.earlier) return {*known.earlier, true};
  Evaluation evaluation = timed(Phase::search, [&] { return evaluator_.evaluate(candidate); });
  const Trial trial = trial_of(candidate, Phase::search, "", evaluation);
  sink_.record({&trial, 1});
  known_.at(identity(candidate)).earlier = evaluation;
  return {std::move(evaluation), false};
}

void RecordingEvaluator::prefetch(std::span<const Candidate> candidates) {
  std::vector<Candidate> wanted;
  for (const auto& candidate : candidates) {
    const auto& known = look_up(candidate);
    if (!known.earlier && prefetched_.insert(known.source_hash).second) wanted.push_back(candidate);
  }
  if (!wanted.empty()) evaluator_.prefetch(wanted);
}

void RecordingEvaluator::cancel(std::span<const Candidate> candidates) {
  std::vector<Candidate> unwanted;
  for (const auto& candidate : candidates) {
    const auto& known = look_up(candidate);
    if (!known.earlier && prefetched_.erase(known.source_hash) > 0) unwanted.push_back(candidate);
  }
  if (!unwanted.empty()) evaluator_.cancel(unwanted);
}

std::size_t RecordingEvaluator::first_ready(std::span<const Candidate> candidates) {
  for (std::size_t i = 0; i < candidates.size(); ++i)
    if (look_up(candidates[i]).earlier) return i;
  const double before_s = spent_s(Phase::search);
  const std::size_t ready = timed(Phase::search, [&] { return evaluator_.first_ready(candidates); });
  waited_s_ += spent_s(Phase::search) - before_s;
  return ready;
}

std::vector<Trial> RecordingEvaluator::race(std::span<const Candidate> candidates, Phase phase) {
  for (const auto& candidate : candidates) look_up(candidate);
  auto evaluations = timed(phase, [&] { return evaluator_.race(candidates); });
  if (evaluations.size() != candidates.size()) {
    throw std::logic_error(
        fmt::format("race of {} candidates returned {} evaluations", candidates.size(), evaluations.size()));
  }
  const std::string race_id = new_race_id();
  std::vector<Trial> trials;
  trials.reserve(candidates.size());
  for (std::size_t i = 0; i < candidates.size(); ++i)
    trials.push_back(trial_of(candidates[i], phase, race_id, std::move(evaluations[i])));
  sink_.record(trials);
  return trials;
}

Trial RecordingEvaluator::trial_of(const Candidate& candidate, Phase phase, const std::string& race_id,
                                   Evaluation evaluation) {
  return {.problem = candidate.problem,
          .configuration = configuration_text(candidate),
          .source_hash = look_up(candidate).source_hash,
          .phase = phase,
          .race_id = race_id,
          .finished_at = timestamp(),
          .seed = seed_,
          .evaluation = std::move(evaluation)};
}

}  // namespace fcsa::tuner
