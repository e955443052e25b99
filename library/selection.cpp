#include "library/selection.h"

#include <fmt/format.h>

#include <stdexcept>
#include <utility>

#include "library/failure.h"
#include "tuner/trials/recording.h"

namespace fcsa::library {
namespace {

using kernels::Problem;

Selection selection_of(const Problem& problem, const std::string& configuration, std::string reason) {
  auto candidate = tuner::candidate_of(problem, configuration);
  return {candidate.family, std::move(candidate.configuration), std::move(reason)};
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
