#include "tuner/dispatch/explanation.h"

#include <algorithm>
#include <cmath>

#include "tuner/dispatch/rivals.h"

namespace fcsa::tuner {
namespace {

constexpr std::size_t kMostNeighbours = 4, kMostRivals = 8;

std::vector<Neighbour> neighbours_of(const DispatchClass& dispatch, const kernels::Problem& problem,
                                     int multiprocessors) {
  const auto position = kernels::position_of(sizes_of(problem), multiprocessors);
  std::vector<Neighbour> neighbours;
  for (std::size_t i = 0; i < dispatch.entries.size(); ++i)
    neighbours.push_back(
        {&dispatch.entries[i], std::sqrt(kernels::squared_distance(position, dispatch.rule.positions[i]))});
  std::stable_sort(neighbours.begin(), neighbours.end(),
                   [](const auto& a, const auto& b) { return a.octaves < b.octaves; });
  if (neighbours.size() > kMostNeighbours) neighbours.resize(kMostNeighbours);
  return neighbours;
}

// Of the configuration on the problem: the latest of a race, else the latest. Trials in order of time.
std::optional<Trial> latest_trial(const std::vector<const StoredTrial*>& trials,
                                  const kernels::Problem& problem, const std::string& configuration) {
  const Trial* latest = nullptr;
  for (const auto* stored : trials) {
    const Trial& trial = stored->trial;
    if (trial.configuration != configuration || trial.problem != problem) continue;
    if (trial.phase == Phase::search && latest != nullptr && latest->phase != Phase::search) continue;
    latest = &trial;
  }
  return latest == nullptr ? std::nullopt : std::optional<Trial>(*latest);
}

std::vector<Rival> rivals_for(const Explanation& explanation, const std::vector<const StoredTrial*>& trials,
                              int multiprocessors) {
  const auto measured = rivals_of(times_of_shapes(trials), multiprocessors);
  const auto predicted = measured.predicted_ms(explanation.problem, multiprocessors);
  const auto& chosen = explanation.dispatch->configurations;
  std::vector<Rival> rivals;
  for (std::size_t i = 0; i < predicted.size(); ++i) {
    const auto& configuration = measured.configurations[i];
    const bool in_table = std::find(chosen.begin(), chosen.end(), configuration) != chosen.end();
    rivals.push_back({configuration, in_table, predicted[i]});
  }
  std::stable_sort(rivals.begin(), rivals.end(), [&](const auto& a, const auto& b) {
    const auto key = [&](const Rival& rival) {
      return std::pair(rival.configuration != explanation.choice.configuration, rival.predicted_ms);
    };
    return key(a) < key(b);
  });
  if (rivals.size() > kMostRivals) rivals.resize(kMostRivals);
  for (auto& rival : rivals)
    rival.trial = latest_trial(trials, explanation.choice.entry->problem, rival.configuration);
  return rivals;
}

}  // namespace

Explanation explain(const std::vector<StoredTrial>& trials, const DispatchTable& table,
                    const kernels::Problem& problem, const kernels::DeviceInfo& device) {
  Explanation explanation{problem, choose(table, problem, device)};
  if (explanation.choice.entry == nullptr) return explanation;
  for (const auto& dispatch : table.classes)
    for (const auto& entry : dispatch.entries)
      if (&entry == explanation.choice.entry) explanation.dispatch = &dispatch;
  const std::string& text = explanation.dispatch->class_text;
  const int multiprocessors = device.target.multiprocessors;
  explanation.neighbours = neighbours_of(*explanation.dispatch, problem, multiprocessors);
  auto usable = usable_trials(trials, table.device);
  std::erase_if(usable,
                [&](const auto* stored) { return kernels::class_text(stored->trial.problem) != text; });
  explanation.rivals = rivals_for(explanation, usable, multiprocessors);
  return explanation;
}

}  // namespace fcsa::tuner
