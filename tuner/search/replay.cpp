#include "tuner/search/replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <stdexcept>

#include "tuner/search/pending_queue.h"

namespace fcsa::tuner {
namespace {

// Compile processes and one device, in simulated time.
class SimulatedMachine {
 public:
  SimulatedMachine(const RecordedSpace& recorded, std::size_t jobs)
      : recorded_(recorded), free_at_s_(jobs, 0) {}

  void apply(const PendingQueue::Change& change) {
    for (const auto position : change.cancelled)
      std::erase_if(queue_, [&](const Queued& queued) { return queued.position == position; });
    for (const auto position : change.asked)
      if (!ready_at_s_.contains(position)) queue_.push_back({position, now_s_});  // else compiled earlier
  }

  // The one of these that is compiled first, what was asked first first, is measured.
  std::size_t measure(const std::vector<std::size_t>& unmeasured) {
    start_compilations(now_s_);
    std::size_t chosen = first_ready(unmeasured);
    // Processes that get free meanwhile may be done with something shorter before.
    while (start_compilations(measurable_at(chosen))) chosen = first_ready(unmeasured);
    waited_s_ += measurable_at(chosen) - now_s_;
    now_s_ = measurable_at(chosen) + recorded_.measure_s[chosen];
    return chosen;
  }

  double now_s() const { return now_s_; }
  double waited_s() const { return waited_s_; }

 private:
  struct Queued {
    std::size_t position;
    double since_s;
  };

  // The first of the queue goes to the process that is free first. What would begin later than `until_s` may
  // still be cancelled, and stays in the queue. Whether any began.
  bool start_compilations(double until_s) {
    bool any = false;
    while (!queue_.empty()) {
      double& free_at_s = *std::min_element(free_at_s_.begin(), free_at_s_.end());
      if (free_at_s > until_s) break;
      const Queued first = queue_.front();
      queue_.pop_front();
      free_at_s = std::max(free_at_s, first.since_s) + recorded_.compile_s[first.position];
      ready_at_s_[first.position] = free_at_s;
      any = true;
    }
    return any;
  }

  double measurable_at(std::size_t position) const {
    const auto ready = ready_at_s_.find(position);
    if (ready == ready_at_s_.end()) return std::numeric_limits<double>::infinity();
    return std::max(ready->second, now_s_);
  }

  std::size_t first_ready(const std::vector<std::size_t>& unmeasured) const {
    return *std::min_element(unmeasured.begin(), unmeasured.end(), [&](std::size_t a, std::size_t b) {
      return measurable_at(a) < measurable_at(b);
    });
  }

  const RecordedSpace& recorded_;
  std::vector<double> free_at_s_;  // of each process
  std::deque<Queued> queue_;
  std::map<std::size_t, double> ready_at_s_;
  double now_s_ = 0, waited_s_ = 0;
};

void check(const RecordedSpace& recorded, const ReplayOptions& options) {
  check_strategy_name(options.strategy);
  if (options.pending == 0 || options.compile_jobs == 0 || options.evaluations == 0)
    throw std::invalid_argument(
        "a replay needs at least one evaluation, one pending and one compile process");
  if (options.pending > recorded.space.size())
    throw std::invalid_argument(fmt::format("{}: {} pending, but it has only {} configurations",
                                            recorded.name, options.pending, recorded.space.size()));
}

}  // namespace

std::optional<std::size_t> ReplayRun::evaluations_to(double fraction, double optimum_ms) const {
  const auto found = std::find_if(steps.begin(), steps.end(), [&](const Step& step) {
    return step.best_ms <= optimum_ms * (1 + fraction);
  });
  if (found == steps.end()) return std::nullopt;
  return static_cast<std::size_t>(found - steps.begin()) + 1;
}

ReplayRun replay(const RecordedSpace& recorded, const ReplayOptions& options, std::uint64_t seed) {
  check(recorded, options);
  const auto strategy = make_strategy(options.strategy, recorded.space, seed);
  PendingQueue queue(*strategy, {.pending = options.pending, .measured = options.evaluations});
  SimulatedMachine machine(recorded, options.compile_jobs);
  ReplayRun run;
  machine.apply(queue.fill());
  const auto& told = strategy->history().told();
  double best_ms = std::numeric_limits<double>::infinity();
  while (run.steps.size() < options.evaluations) {
    const auto unmeasured = queue.unmeasured();
    if (unmeasured.empty()) break;
    const std::size_t position = machine.measure(unmeasured);
    machine.apply(queue.measured(position, recorded.times_ms[position]));
    while (run.steps.size() < std::min(told.size(), options.evaluations)) {
      best_ms = std::min(best_ms, recorded.times_ms[told[run.steps.size()].position].value_or(best_ms));
      run.steps.push_back({best_ms, machine.now_s()});
    }
  }
  run.finished = run.steps.size() < options.evaluations ? strategy->finished() : "";
  run.device_waited_s = machine.waited_s();
  run.cancelled = queue.cancelled();
  return run;
}

}  // namespace fcsa::tuner
