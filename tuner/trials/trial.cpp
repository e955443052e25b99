#include "tuner/trials/trial.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <utility>

namespace fcsa::tuner {
namespace {

template <typename Enum>
using Names = std::pair<Enum, std::string_view>;

constexpr std::array kStatuses{
    Names<Status>{Status::ok, "ok"},
    Names<Status>{Status::pruned, "pruned"},
    Names<Status>{Status::compile_failed, "compile_failed"},
    Names<Status>{Status::launch_failed, "launch_failed"},
    Names<Status>{Status::out_of_memory, "out_of_memory"},
    Names<Status>{Status::wrong_result, "wrong_result"},
    Names<Status>{Status::timed_out, "timed_out"},
    Names<Status>{Status::crashed, "crashed"},
};
constexpr std::array kPhases{
    Names<Phase>{Phase::search, "search"},
    Names<Phase>{Phase::confirm, "confirm"},
    Names<Phase>{Phase::probe, "probe"},
    Names<Phase>{Phase::refresh, "refresh"},
};
constexpr std::array kCacheStates{
    Names<CacheState>{CacheState::warm, "warm"},
    Names<CacheState>{CacheState::cold, "cold"},
};

template <typename Table, typename Enum>
std::string_view name_of(const Table& table, Enum value, const char* what) {
  for (const auto& [candidate, name] : table) {
    if (candidate == value) return name;
  }
  throw std::invalid_argument(std::string(what) + " " + std::to_string(static_cast<int>(value)) +
                              " has no name");
}

template <typename Table>
auto value_of(const Table& table, std::string_view text, const char* what) {
  std::string accepted;
  for (const auto& [value, name] : table) {
    if (name == text) return value;
    accepted += (accepted.empty() ? "" : ", ") + std::string(name);
  }
  throw std::invalid_argument("unknown " + std::string(what) + " '" + std::string(text) +
                              "'; use one of: " + accepted);
}

// Largest k with P(Binomial(n, 1/2) < k) <= 0.025: the k-th smallest and k-th largest of n samples enclose
// the median with at least 95% confidence. Zero when n is too small (n < 6).
std::size_t order_statistic_rank(std::size_t n) {
  const auto count = static_cast<double>(n);
  double cumulative = 0;
  std::size_t k = 0;
  while (k < n) {
    const auto drawn = static_cast<double>(k);
    const double log_term = std::lgamma(count + 1) - std::lgamma(drawn + 1) - std::lgamma(count - drawn + 1) -
                            count * std::log(2.0);
    cumulative += std::exp(log_term);
    if (cumulative > 0.025) break;
    ++k;
  }
  return k;
}

}  // namespace

std::string_view to_text(Status status) {
  return name_of(kStatuses, status, "status");
}
std::string_view to_text(Phase phase) {
  return name_of(kPhases, phase, "phase");
}
std::string_view to_text(CacheState state) {
  return name_of(kCacheStates, state, "cache state");
}

Status status_from_text(std::string_view text) {
  return value_of(kStatuses, text, "status");
}
Phase phase_from_text(std::string_view text) {
  return value_of(kPhases, text, "phase");
}
CacheState cache_state_from_text(std::string_view text) {
  return value_of(kCacheStates, text, "cache state");
}

void check_plausible(const Trial& trial) {
  const Measurement& measurement = trial.evaluation.measurement;
  if (trial.evaluation.status != Status::ok) return;
  const auto refuse = [](std::string_view name, double value, const char* rule) {
    throw std::invalid_argument(fmt::format("{} is {}: a successful trial has {}", name, value, rule));
  };
  const auto positive = [](double value) { return std::isfinite(value) && value > 0; };
  if (!positive(measurement.median_ms))
    refuse("median_ms", measurement.median_ms, "a finite time above 0 there");
  for (const auto& [name, value] :
       {std::pair("ci_low_ms", measurement.ci_low_ms), std::pair("ci_high_ms", measurement.ci_high_ms)})
    if (!std::isfinite(value) || value < 0) refuse(name, value, "a finite time there");
  for (const double sample : measurement.samples_ms)
    if (!positive(sample)) refuse("one of samples_ms", sample, "finite times above 0 there");
  if (measurement.launches_per_sample < 1)
    refuse("launches_per_sample", measurement.launches_per_sample, "at least 1 there");
}

Summary summarize(std::vector<double> samples) {
  if (samples.empty()) throw std::invalid_argument("summarize: there are no samples");
  std::sort(samples.begin(), samples.end());
  const std::size_t n = samples.size();
  Summary summary;
  summary.median = n % 2 == 1 ? samples[n / 2] : (samples[n / 2 - 1] + samples[n / 2]) / 2;
  const std::size_t rank = std::max<std::size_t>(order_statistic_rank(n), 1);
  summary.low = samples[rank - 1];
  summary.high = samples[n - rank];
  return summary;
}

}  // namespace fcsa::tuner
