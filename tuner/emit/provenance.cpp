#include "tuner/emit/provenance.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace fcsa::tuner {
namespace {

// Of the table's model, in order of time.
std::vector<const StoredTrial*> trials_of(const DispatchTable& table,
                                          const std::vector<StoredTrial>& trials) {
  std::vector<const StoredTrial*> own;
  for (const auto& stored : trials)
    if (same_model(stored.session.device, table.device)) own.push_back(&stored);
  std::stable_sort(own.begin(), own.end(), [](const auto* a, const auto* b) {
    return std::tie(a->trial.finished_at, a->id) < std::tie(b->trial.finished_at, b->id);
  });
  return own;
}

void add_timed(Provenance& provenance, const Trial& trial) {
  const std::string problem = kernels::to_text(trial.problem);
  ++provenance.timed;
  provenance.source_hashes[{kernels::class_text(trial.problem), trial.configuration}] = trial.source_hash;
  const auto [place, added] =
      provenance.measurements.try_emplace({problem, trial.configuration}, TimedTrial{});
  if (!added && place->second.phase == Phase::confirm && trial.phase == Phase::search) return;
  place->second = {trial.phase, trial.evaluation.measurement};
}

}  // namespace

Provenance provenance_of(const DispatchTable& table, const std::vector<StoredTrial>& trials) {
  const auto own = trials_of(table, trials);
  Provenance provenance;
  std::set<std::string> uuids;
  for (const auto* stored : own) {
    if (stored->trial.evaluation.status == Status::ok) add_timed(provenance, stored->trial);
    uuids.insert(stored->session.device.uuid);
    auto& commands = provenance.commands;
    if (std::find(commands.begin(), commands.end(), stored->session.command) == commands.end())
      commands.push_back(stored->session.command);
  }
  provenance.devices = uuids.size();
  provenance.trials = own.size();
  if (!own.empty()) {
    provenance.first_at = own.front()->trial.finished_at;
    provenance.last_at = own.back()->trial.finished_at;
  }
  return provenance;
}

}  // namespace fcsa::tuner
