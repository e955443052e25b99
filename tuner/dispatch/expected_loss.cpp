#include "tuner/dispatch/expected_loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fcsa::tuner {
namespace {

double octaves_between(const kernels::Position& a, const kernels::Position& b) {
  return std::sqrt(kernels::squared_distance(a, b));
}

double octaves_to_others(const DispatchClass& dispatch, std::size_t entry) {
  double least = std::numeric_limits<double>::infinity();
  const auto& positions = dispatch.rule.positions;
  for (std::size_t other = 0; other < positions.size(); ++other)
    if (other != entry) least = std::min(least, octaves_between(positions[entry], positions[other]));
  return least;
}

}  // namespace

double LossModel::at(double octaves) const {
  return per_octave * std::min(octaves, reach) + kUnknownLoss * std::max(octaves - reach, 0.0);
}

LossModel loss_model(const DispatchClass& dispatch) {
  // Least squares through no loss at no distance. What is known elsewhere counts as one shape an octave away.
  double products = kUnknownLoss, squares = 1;
  LossModel model;
  for (std::size_t i = 0; i < dispatch.entries.size(); ++i) {
    const auto& regret = dispatch.entries[i].left_out_regret;
    if (!regret) continue;
    const double octaves = octaves_to_others(dispatch, i);
    products += octaves * *regret;
    squares += octaves * octaves;
    model.reach = std::max(model.reach, octaves);
  }
  model.per_octave = products / squares;
  return model;
}

std::optional<double> expected_loss(const DispatchTable& table, const Choice& choice,
                                    const kernels::Problem& problem, const kernels::DeviceInfo& device) {
  if (choice.entry == nullptr) return std::nullopt;
  if (choice.entry->problem == problem) return choice.predicted_ms / choice.entry->best_ms - 1;
  for (const auto& dispatch : table.classes) {
    const auto* first = dispatch.entries.data();
    if (choice.entry < first || choice.entry >= first + dispatch.entries.size()) continue;
    const auto index = static_cast<std::size_t>(choice.entry - first);
    const auto position = kernels::position_of(problem, device.target.multiprocessors);
    return loss_model(dispatch).at(octaves_between(position, dispatch.rule.positions[index]));
  }
  return std::nullopt;
}

}  // namespace fcsa::tuner
