#include "library/selection.h"

#include <fmt/format.h>

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

}  // namespace

Selection select(const Problem& problem, const kernels::DeviceInfo& device,
                 std::span<const TunedTable> tables) {
  try {
    std::string passed_over;
    for (const auto& tuned : tables) {
      const auto choice = tuner::choose(tuned.table, problem, device);
      if (choice.match == tuner::Match::default_choice) {  // which the next table may do better than
        passed_over += choice.passed_over;
        continue;
      }
      return selection_of(problem, choice.configuration,
                          fmt::format("{} (in {})", choice.reason, tuned.file));
    }
    const auto choice = tuner::default_choice(problem, device);
    return selection_of(problem, choice.configuration, choice.reason + passed_over);
  } catch (const std::invalid_argument& error) {
    throw Failure(FCSA_UNSUPPORTED, error.what());
  }
}

}  // namespace fcsa::library
