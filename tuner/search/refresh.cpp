#include "tuner/search/refresh.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <span>
#include <stdexcept>
#include <utility>

#include "tuner/dispatch/dispatch.h"
#include "tuner/trials/trial_history.h"

namespace fcsa::tuner {
namespace {

// The latest successful trial of the configuration, preferably of a confirmation, in which its baseline took
// part too, else of a probe. Null for a shape that was only probed: nothing was chosen for it.
const StoredTrial* as_tuned(const TrialList& trials, const std::string& configuration) {
  const auto rank = [](const StoredTrial* stored) {
    return std::pair(stored->trial.phase == Phase::confirm, stored->trial.phase == Phase::probe);
  };
  const StoredTrial* found = nullptr;
  bool tuned = false;
  for (const auto* stored : trials) {
    tuned = tuned || stored->trial.phase != Phase::probe;
    if (stored->trial.configuration != configuration) continue;
    if (found == nullptr || rank(found) <= rank(stored)) found = stored;
  }
  return tuned ? found : nullptr;
}

std::vector<RecordedWinner::Anchor> anchors_of(const std::vector<StoredTrial>& trials,
                                               const RecordedWinner& winner, const kernels::Target& target) {
  std::vector<RecordedWinner::Anchor> anchors;
  const std::string& race = winner.trial.trial.race_id;
  if (race.empty()) return anchors;
  const auto& own = *winner.candidate.family;
  const auto baseline = own.baseline(winner.candidate.problem, target);
  for (const auto& [id, session, trial] : trials) {
    if (trial.race_id != race || trial.evaluation.status != Status::ok) continue;
    try {
      const Candidate candidate = candidate_of(trial.problem, trial.configuration);
      const bool is_baseline = candidate.family == &own && candidate.configuration == baseline &&
                               !(baseline == winner.candidate.configuration);
      if (is_baseline || !candidate.family->tunable()) anchors.push_back({candidate, trial});
    } catch (const std::invalid_argument&) {
      continue;  // of a kernel that this build doesn't have
    }
  }
  return anchors;
}

// The best of those that ran, as an index into the anchors.
std::optional<std::size_t> chosen_anchor(const RecordedWinner& winner, RecordingEvaluator& evaluator,
                                         std::span<const Evaluation> evaluations) {
  const auto rank = [&](std::size_t i) {
    const auto& anchor = winner.anchors[i];
    return std::pair(evaluator.source_hash(anchor.candidate) != anchor.trial.source_hash,
                     !anchor.candidate.family->tunable());
  };
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < winner.anchors.size(); ++i)
    if (evaluations[i].status == Status::ok && (!best || rank(i) < rank(*best))) best = i;
  return best;
}

std::string changes(const RecordedWinner& winner, RecordingEvaluator& evaluator) {
  const auto& then = winner.trial.session.device;
  const auto& now = evaluator.device();
  std::vector<std::string> changed;
  if (then.uuid != now.uuid) changed.emplace_back("device");
  if (then.driver != now.driver) changed.emplace_back("driver");
  if (then.compiler != now.compiler) {
    changed.emplace_back("compiler");
  } else if (winner.trial.trial.source_hash != evaluator.source_hash(winner.candidate)) {
    changed.emplace_back("source");
  }
  return fmt::format("{}", fmt::join(changed, ", "));
}

}  // namespace

std::vector<RecordedWinner> recorded_winners(const std::vector<StoredTrial>& trials,
                                             const kernels::DeviceInfo& device) {
  std::vector<StoredTrial> tuned;
  std::copy_if(trials.begin(), trials.end(), std::back_inserter(tuned), [&](const StoredTrial& stored) {
    return same_model(stored.session.device, device) && stored.trial.phase != Phase::refresh;
  });
  std::vector<RecordedWinner> winners;
  const DispatchTable table = dispatch_table_for(tuned, device);
  const TrialHistory history(tuned, device);
  const auto shapes = by_shape(history.usable());
  for (const auto& dispatch : table.classes) {
    for (const auto& entry : dispatch.entries) {
      const std::string& configuration = dispatch.configurations[entry.choice];
      const StoredTrial* recorded = as_tuned(shapes.at(kernels::to_text(entry.problem)), configuration);
      if (recorded == nullptr) continue;
      RecordedWinner winner{candidate_of(entry.problem, configuration), *recorded, {}};
      winner.anchors = anchors_of(tuned, winner, device.target);
      winners.push_back(std::move(winner));
    }
  }
  return winners;
}

std::string_view to_text(Freshness freshness) {
  switch (freshness) {
    case Freshness::same:
      return "SAME";
    case Freshness::faster:
      return "FASTER";
    case Freshness::slower:
      return "SLOWER";
    case Freshness::unsure:
      return "UNSURE";
    case Freshness::failed:
      return "FAILED";
  }
  throw std::invalid_argument(fmt::format("freshness {} has no name", static_cast<int>(freshness)));
}

Freshness freshness_of(const Ratio& ratio, double tolerance) {
  const double most = 1 + tolerance, least = 1 / most;
  if (ratio.low > most) return Freshness::slower;
  if (ratio.high < least) return Freshness::faster;
  return ratio.low >= least && ratio.high <= most ? Freshness::same : Freshness::unsure;
}

RefreshResult refresh(const RecordedWinner& winner, RecordingEvaluator& evaluator, double tolerance) {
  std::vector<Candidate> contenders{winner.candidate};
  for (const auto& anchor : winner.anchors) contenders.push_back(anchor.candidate);
  std::vector<Evaluation> evaluations;
  for (auto& trial : evaluator.race(contenders, Phase::refresh))
    evaluations.push_back(std::move(trial.evaluation));
  const Measurement& recorded = winner.trial.trial.evaluation.measurement;
  const Measurement& now = evaluations.front().measurement;
  RefreshResult result;
  result.recorded_ms = recorded.median_ms;
  result.changed = changes(winner, evaluator);
  if (evaluations.front().status != Status::ok) {
    result.message = fmt::format("{}: {}", to_text(evaluations.front().status), evaluations.front().message);
    return result;
  }
  result.now_ms = now.median_ms;
  const auto of_anchors = std::span(evaluations).subspan(1);
  if (const auto chosen = chosen_anchor(winner, evaluator, of_anchors)) {
    const auto& anchor = winner.anchors[*chosen];
    const Measurement& anchor_now = of_anchors[*chosen].measurement;
    const Measurement& anchor_then = anchor.trial.evaluation.measurement;
    result.relative_to = configuration_text(anchor.candidate);
    result.drift = anchor_now.median_ms / anchor_then.median_ms;
    result.ratio = ratio_of_medians(std::array{now, anchor_then}, std::array{recorded, anchor_now});
  } else {
    result.ratio = ratio_of_medians(std::array{now}, std::array{recorded});
  }
  result.freshness = freshness_of(result.ratio, tolerance);
  return result;
}

}  // namespace fcsa::tuner
