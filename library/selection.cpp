#include "library/selection.h"

#include <fmt/format.h>

#include <optional>
#include <stdexcept>
#include <utility>

#include "library/failure.h"

namespace fcsa::library {
namespace {

using kernels::Problem;

Selection selection_of(const Problem& problem, const std::string& configuration, std::string reason) {
  const auto& family = kernels::family_of_kernel(configuration);
  return {&family,
          kernels::configuration_from_text(configuration, kernels::kernel_name(family, problem.op),
                                           family.parameters(problem.op)),
          std::move(reason)};
}

bool wants_the_same(const Problem& a, const Problem& b) {
  return a.bias_gradient == b.bias_gradient && a.scale_gradient == b.scale_gradient &&
         a.deterministic == b.deterministic;
}

// The problem in the terms of another one of the same kernels.
Problem in_terms_of(const Problem& tuned, Problem problem) {
  problem.scale = tuned.scale;
  problem.logit_bound = tuned.logit_bound;
  problem.bias_gradient = tuned.bias_gradient;
  problem.scale_gradient = tuned.scale_gradient;
  problem.deterministic = tuned.deterministic;
  return problem;
}

// What was tuned with another scale or bound, but by the same kernels, was tuned for this problem too; and
// where there is nothing closer, what was tuned for fewer or more gradients.
Problem as_tuned(const tuner::DispatchTable& table, const Problem& problem) {
  const std::string text = kernels::class_text(problem);
  const kernels::Traits traits = kernels::traits_of(problem);
  std::optional<Problem> closest;
  for (const auto& dispatch : table.classes) {
    if (dispatch.class_text == text) return problem;
    const Problem other = in_terms_of(dispatch.entries.front().problem, problem);
    if (dispatch.traits != traits || dispatch.class_text != kernels::class_text(other)) continue;
    if (!closest || wants_the_same(other, problem)) closest = other;
  }
  return closest.value_or(problem);
}

// A configuration that was tuned for another shape, on another device or by an older fcsa may not fit.
std::string misfit(const Selection& selection, const Problem& problem, const kernels::Target& target) {
  const std::string unsupported = selection.family->unsupported(problem, target);
  return !unsupported.empty()
             ? unsupported
             : kernels::invalid_reason(*selection.family, problem, selection.configuration, target);
}

// Nothing when it would be a default, which the next table may do better than.
std::optional<tuner::Choice> tuned_choice(const TunedTable& tuned, const Problem& problem,
                                          const kernels::DeviceInfo& device) {
  auto choice = tuner::choose(tuned.table, as_tuned(tuned.table, problem), device);
  return choice.match == tuner::Match::default_choice ? std::nullopt : std::optional(std::move(choice));
}

}  // namespace

Selection select(const Problem& problem, const kernels::DeviceInfo& device,
                 std::span<const TunedTable> tables) {
  try {
    std::string misfits;
    for (const auto& tuned : tables) {
      const auto choice = tuned_choice(tuned, problem, device);
      if (!choice) continue;
      auto selection =
          selection_of(problem, choice->configuration, fmt::format("{} (in {})", choice->reason, tuned.file));
      const std::string why = misfit(selection, problem, device.target);
      if (why.empty()) return selection;
      misfits += fmt::format("; {} doesn't fit: {}; it is there by {}", choice->configuration, why,
                             selection.reason);
    }
    const auto choice = tuner::default_choice(problem, device);
    return selection_of(problem, choice.configuration, choice.reason + misfits);
  } catch (const std::invalid_argument& error) {
    throw Failure(FCSA_UNSUPPORTED, error.what());
  }
}

}  // namespace fcsa::library
