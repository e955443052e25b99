#include "library/selection.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "library/failure.h"

namespace fcsa::library {
namespace {

using kernels::Problem;
using tuner::Match;

Selection selection_of(const Problem& problem, const std::string& configuration, std::string reason) {
  const auto& family = kernels::family_of_kernel(configuration);
  return {&family,
          kernels::configuration_from_text(configuration, kernels::kernel_name(family, problem.op),
                                           family.parameters(problem.op)),
          std::move(reason)};
}

// What was tuned with another scale or bound, but by the same kernels, was tuned for this problem too.
Problem as_tuned(const tuner::DispatchTable& table, Problem problem) {
  const auto has_class = [&](const auto& same) {
    return std::any_of(table.classes.begin(), table.classes.end(), same);
  };
  if (has_class([&](const auto& c) { return c.class_text == kernels::class_text(problem); })) return problem;
  const auto traits = kernels::traits_of(problem);
  for (const auto& dispatch : table.classes) {
    if (!(dispatch.traits == traits) || dispatch.entries.empty()) continue;
    const Problem& tuned = dispatch.entries.front().problem;
    if (tuned.op != problem.op) continue;
    problem.scale = tuned.scale;
    problem.logit_bound = tuned.logit_bound;
    break;
  }
  return problem;
}

std::string reason_of(const tuner::Choice& choice, const TunedTable& tuned) {
  const bool exact = choice.match == Match::exact;
  return fmt::format("{} ({}, {:.4g} ms), in {}",
                     exact ? "tuned for this shape" : "best for the nearest tuned shape",
                     kernels::to_text(choice.entry->problem), choice.entry->chosen_ms, tuned.source);
}

// A configuration that was tuned for another shape, on another device or by an older fcsa may not fit.
std::string misfit(const Selection& selection, const Problem& problem, const kernels::Target& target) {
  const std::string unsupported = selection.family->unsupported(problem, target);
  return !unsupported.empty()
             ? unsupported
             : kernels::invalid_reason(*selection.family, problem, selection.configuration, target);
}

std::optional<tuner::Choice> choice_of(const TunedTable& tuned, const Problem& problem) {
  try {
    auto choice = tuner::choose(tuned.table, as_tuned(tuned.table, problem));
    return choice.match == Match::default_choice ? std::nullopt : std::optional(choice);
  } catch (const std::invalid_argument&) {
    return std::nullopt;  // nothing serves it there
  }
}

}  // namespace

Selection select(const Problem& problem, const kernels::DeviceInfo& device,
                 std::span<const TunedTable> tables) {
  std::string unfit;
  for (const auto& tuned : tables) {
    const auto choice = choice_of(tuned, problem);
    if (!choice) continue;
    Selection selection = selection_of(problem, choice->configuration, reason_of(*choice, tuned));
    const std::string why = misfit(selection, problem, device.target);
    if (why.empty()) return selection;
    unfit += fmt::format("; {} is {}, but doesn't fit: {}", choice->configuration, selection.reason, why);
  }
  try {
    tuner::DispatchTable untuned;
    untuned.device = device;
    const auto choice = tuner::choose(untuned, problem);
    return selection_of(problem, choice.configuration,
                        "built-in default: nothing like it was tuned for this device" + unfit);
  } catch (const std::invalid_argument& error) {
    throw Failure(FCSA_UNSUPPORTED, error.what());
  }
}

}  // namespace fcsa::library
