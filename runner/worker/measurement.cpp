#include "runner/worker/measurement.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace fcsa::runner {
namespace {

using namespace std::chrono_literals;

constexpr int kWarmUpLaunches = 3;
constexpr double kWarmUpMs = 20;
constexpr double kWarmUpShare = 0.25;  // of max_seconds, whatever the two above say
constexpr int kMinSamples = 2;
constexpr int kMaxLaunchesPerSample = 4096;
constexpr double kThrottleRatio = 0.75;
constexpr auto kThrottlePause = 50ms;
constexpr int kMaxThrottlePauses = 20;
// Reading the clocks through NVML takes a good part of a millisecond.
constexpr auto kClockInterval = 5ms;

// Launches one contender over and over and keeps what was measured.
class Runner {
 public:
  Runner(Device& device, const MeasuredKernel& contender, const MeasurementOptions& options)
      : device_(device), contender_(contender), options_(options) {}

  // Also finds how many launches make a sample long enough to time.
  void warm_up() {
    int launches = 0;
    double total_ms = 0;
    double last_ms = 0;
    const auto enough = [&] {
      if (total_ms >= kWarmUpShare * options_.max_seconds * 1e3) return true;
      return launches >= kWarmUpLaunches && total_ms >= kWarmUpMs && last_ms >= options_.min_sample_ms;
    };
    do {
      if (launches > 0 && last_ms < options_.min_sample_ms && batch_ < kMaxLaunchesPerSample) batch_ *= 2;
      last_ms = time_batch();
      launches += batch_;
      total_ms += last_ms;
    } while (!enough() && launches < kWarmUpLaunches + 4 * kMaxLaunchesPerSample);
    spent_ms_ = total_ms;
  }

  void sample() {
    const double ms = time_batch();
    spent_ms_ += ms;
    samples_.push_back(ms / batch_);
  }

  void drop_latest() { samples_.pop_back(); }

  bool finished() const {
    const int count = static_cast<int>(samples_.size());
    const bool out_of_time = spent_ms_ >= options_.max_seconds * 1e3;
    if (options_.launches > 0) return count > 0 && (out_of_time || count * batch_ >= options_.launches);
    return count >= options_.max_samples || (count >= kMinSamples && out_of_time);
  }

  bool narrow() const {
    if (options_.launches > 0 || static_cast<int>(samples_.size()) < options_.min_samples) return false;
    const auto summary = tuner::summarize(samples_);
    return summary.high - summary.low <= options_.target_relative_interval * summary.median;
  }

  // The clocks that are kept were read when between half and all of the samples had been taken.
  void note_clocks(const tuner::Clocks& clocks) {
    if (samples_.size() < next_clocks_) return;
    clocks_ = clocks;
    next_clocks_ = 2 * samples_.size();
  }

  tuner::Measurement result() const {
    const auto summary = tuner::summarize(samples_);
    return {.samples_ms = samples_,
            .launches_per_sample = batch_,
            .cache = options_.cache,
            .median_ms = summary.median,
            .ci_low_ms = summary.low,
            .ci_high_ms = summary.high,
            .clocks = clocks_};
  }

 private:
  double time_batch() {
    return device_.time_ms([this] {
      for (int i = 0; i < batch_; ++i) {
        device_.launch(*contender_.module, contender_.plan, contender_.args[next_args_]);
        next_args_ = (next_args_ + 1) % contender_.args.size();
      }
    });
  }

  Device& device_;
  const MeasuredKernel& contender_;
  const MeasurementOptions& options_;
  int batch_ = 1;
  std::size_t next_args_ = 0;
  double spent_ms_ = 0;
  std::vector<double> samples_;
  tuner::Clocks clocks_;
  std::size_t next_clocks_ = 1;
};

// Compares the clock with that of the warm-up. Only for GPUs: a CPU's clock read between samples is an idle
// one.
class ThrottleGuard {
 public:
  explicit ThrottleGuard(Device& device)
      : device_(device),
        watches_(device.info().target.kind == kernels::DeviceKind::cuda),
        warm_mhz_(device.clocks().sm_mhz) {}

  bool due() const { return std::chrono::steady_clock::now() >= next_; }

  // Reads the clocks. True when the round before must be dropped; the pause is over then.
  bool throttled() {
    clocks_ = device_.clocks();
    next_ = std::chrono::steady_clock::now() + kClockInterval;
    if (!watches_ || pauses_ >= kMaxThrottlePauses || clocks_.sm_mhz >= kThrottleRatio * warm_mhz_)
      return false;
    ++pauses_;
    std::this_thread::sleep_for(kThrottlePause);
    return true;
  }

  const tuner::Clocks& clocks() const { return clocks_; }

 private:
  Device& device_;
  bool watches_;
  double warm_mhz_;
  tuner::Clocks clocks_;
  std::chrono::steady_clock::time_point next_{};
  int pauses_ = 0;
};

class Race {
 public:
  Race(Device& device, std::span<const MeasuredKernel> contenders, const MeasurementOptions& options,
       const std::function<void(std::size_t)>& starting)
      : starting_(starting) {
    runners_.reserve(contenders.size());
    for (const auto& contender : contenders) runners_.emplace_back(device, contender, options);
    for (std::size_t i = 0; i < runners_.size(); ++i) {
      announce(i);
      runners_[i].warm_up();
    }
  }

  void run(ThrottleGuard& guard) {
    for (std::size_t first = 0; !finished(); ++first) {
      const auto sampled = round(first);
      if (!guard.due()) continue;
      if (guard.throttled()) {
        for (const auto i : sampled) runners_[i].drop_latest();
      }
      for (const auto i : sampled) runners_[i].note_clocks(guard.clocks());
    }
  }

  std::vector<tuner::Measurement> results() const {
    std::vector<tuner::Measurement> results;
    for (const auto& runner : runners_) results.push_back(runner.result());
    return results;
  }

 private:
  // One sample of everyone who wants more; each round begins with another contender.
  std::vector<std::size_t> round(std::size_t first) {
    std::vector<std::size_t> sampled;
    for (std::size_t k = 0; k < runners_.size(); ++k) {
      const std::size_t i = (first + k) % runners_.size();
      if (runners_[i].finished()) continue;
      announce(i);
      runners_[i].sample();
      sampled.push_back(i);
    }
    return sampled;
  }

  // Everyone goes on until all intervals are narrow, so that all are sampled over the same stretch of time.
  bool finished() const {
    return std::all_of(runners_.begin(), runners_.end(),
                       [](const Runner& runner) { return runner.finished() || runner.narrow(); });
  }

  void announce(std::size_t i) const {
    if (starting_) starting_(i);
  }

  const std::function<void(std::size_t)>& starting_;
  std::vector<Runner> runners_;
};

}  // namespace

std::vector<tuner::Measurement> measure(Device& device, std::span<const MeasuredKernel> contenders,
                                        const MeasurementOptions& options,
                                        const std::function<void(std::size_t)>& starting) {
  if (contenders.empty()) return {};
  Race race(device, contenders, options, starting);
  ThrottleGuard guard(device);
  race.run(guard);
  return race.results();
}

}  // namespace fcsa::runner
