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

// What was tuned with another scale or bound, but by the same kernels, was tuned for this problem too.
Problem as_tuned(const tuner::DispatchTable& table, Problem problem) {
  const std::string text = kernels::class_text(problem);
  const kernels::Traits traits = kernels::traits_of(problem);
  const Problem* same_kernels = nullptr;
  for (const auto& dispatch : table.classes) {
    if (dispatch.class_text == text) return problem;
    const bool same = dispatch.traits == traits && dispatch.entries.front().problem.op == problem.op;
    if (same) same_kernels = &dispatch.entries.front().problem;
  }
  if (same_kernels != nullptr) {
    problem.scale = same_kernels->scale;
    problem.logit_bound = same_kernels->logit_bound;
  }
  return problem;
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
