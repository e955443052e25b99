#include "tuner/dispatch/explanation.h"

#include <algorithm>
#include <cmath>

#include "tuner/dispatch/rivals.h"

namespace fcsa::tuner {
namespace {

constexpr std::size_t kMostNeighbours = 4, kMostRivals = 8;

std::vector<Neighbour> neighbours_of(const DispatchClass& dispatch, const kernels::Problem& problem,
                                     int multiprocessors) {
  const auto position = kernels::position_of(problem, multiprocessors);
  std::vector<Neighbour> neighbours;
  for (std::size_t i = 0; i < dispatch.entries.size(); ++i)
    neighbours.push_back(
        {&dispatch.entries[i], std::sqrt(kernels::squared_distance(position, dispatch.rule.positions[i]))});
  std::stable_sort(neighbours.begin(), neighbours.end(),
                   [](const auto& a, const auto& b) { return a.octaves < b.octaves; });
  if (neighbours.size() > kMostNeighbours) neighbours.resize(kMostNeighbours);
  return neighbours;
}

std::vector<Rival> rivals_for(const Explanation& explanation, const TrialList& trials, int multiprocessors) {
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
    if (const auto* stored = latest(trials, explanation.choice.entry->problem, rival.configuration))
      rival.trial = stored->trial;
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
  explanation.rivals =
      rivals_for(explanation, TrialHistory(trials, table.device).of_class(text), multiprocessors);
  return explanation;
}

}  // namespace fcsa::tuner
