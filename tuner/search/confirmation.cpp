#include "tuner/search/confirmation.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace fcsa::tuner {
namespace {

std::string text_of(const Contender& contender) {
  const auto& candidate = contender.candidate;
  return kernels::to_text(*candidate.family, candidate.problem.op, candidate.configuration);
}

std::size_t changed_parameters(const Contender& contender) {
  const auto& candidate = contender.candidate;
  std::size_t changed = 0;
  for (const auto& parameter : candidate.family->parameters(candidate.problem.op)) {
    if (candidate.configuration.at(parameter.name) != parameter.default_value) ++changed;
  }
  return changed;
}

std::string describe_failures(std::span<const Contender> contenders,
                              std::span<const Evaluation> evaluations) {
  std::string text = "no configuration finished the confirmation race";
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    if (contenders[i].role == Role::yardstick) continue;
    text += fmt::format("; {}: {} {}", text_of(contenders[i]), to_text(evaluations[i].status),
                        evaluations[i].message);
  }
  return text;
}

std::string describe_interval(const Measurement& measurement) {
  return fmt::format("{:.4g} ms ({:.4g} to {:.4g})", measurement.median_ms, measurement.ci_low_ms,
                     measurement.ci_high_ms);
}

std::string describe_tie(std::span<const Contender> contenders, std::span<const Evaluation> evaluations,
                         std::size_t winner, std::size_t rival) {
  const bool baseline = contenders[winner].role == Role::baseline;
  return fmt::format("tie: the intervals of {}, {}, and {}, {}, overlap; chose the {}",
                     text_of(contenders[winner]), describe_interval(evaluations[winner].measurement),
                     text_of(contenders[rival]), describe_interval(evaluations[rival].measurement),
                     baseline ? "baseline" : "simpler");
}

// The first that finished with the role, preferably of the family.
std::optional<std::size_t> first_finished(std::span<const Contender> contenders,
                                          std::span<const Evaluation> evaluations, Role role,
                                          const kernels::Family* family) {
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    if (contenders[i].role != role || evaluations[i].status != Status::ok) continue;
    if (contenders[i].candidate.family == family) return i;
    if (!found) found = i;
  }
  return found;
}

}  // namespace

std::vector<Contender> line_up(std::vector<Contender> searched, const std::vector<Contender>& yardsticks,
                               std::size_t finalists) {
  std::stable_sort(searched.begin(), searched.end(),
                   [](const Contender& a, const Contender& b) { return a.search_ms < b.search_ms; });
  std::vector<Contender> contenders;
  const auto has_lost = [&](const Contender& contender) {
    const Contender& fastest = searched.front();
    return contender.candidate.family != fastest.candidate.family &&
           contender.search_ms > kLostFrom * fastest.search_ms;
  };
  for (std::size_t i = 0; i < searched.size(); ++i)
    if ((i < finalists || searched[i].role == Role::baseline) && !has_lost(searched[i]))
      contenders.push_back(searched[i]);
  contenders.insert(contenders.end(), yardsticks.begin(), yardsticks.end());
  return contenders;
}

Verdict verdict_of(std::span<const Contender> contenders, std::span<const Evaluation> evaluations) {
  std::vector<std::size_t> finished;
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    if (contenders[i].role != Role::yardstick && evaluations[i].status == Status::ok) finished.push_back(i);
  }
  Verdict verdict;
  verdict.yardstick = first_finished(contenders, evaluations, Role::yardstick, nullptr);
  if (finished.empty()) {
    verdict.message = describe_failures(contenders, evaluations);
    return verdict;
  }
  const auto time = [&](std::size_t i) -> const Measurement& { return evaluations[i].measurement; };
  const auto faster = [&](std::size_t a, std::size_t b) { return time(a).median_ms < time(b).median_ms; };
  std::stable_sort(finished.begin(), finished.end(), faster);
  const std::size_t fastest = finished.front();
  std::erase_if(finished,
                [&](std::size_t i) { return i != fastest && time(i).ci_low_ms > time(fastest).ci_high_ms; });

  const auto preference = [&](std::size_t i) {
    return std::tuple(contenders[i].role == Role::baseline ? 0 : 1, changed_parameters(contenders[i]),
                      time(i).median_ms);
  };
  const std::size_t winner = *std::min_element(finished.begin(), finished.end(),
                                               [&](auto a, auto b) { return preference(a) < preference(b); });
  if (finished.size() > 1) {
    const std::size_t rival = winner == fastest ? finished[1] : fastest;
    verdict.message = describe_tie(contenders, evaluations, winner, rival);
  }
  verdict.winner = winner;
  verdict.baseline =
      first_finished(contenders, evaluations, Role::baseline, contenders[winner].candidate.family);
  return verdict;
}

}  // namespace fcsa::tuner
