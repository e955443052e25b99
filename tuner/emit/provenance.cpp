#include "tuner/emit/provenance.h"

#include <algorithm>
#include <set>

#include "tuner/trials/trial_history.h"

namespace fcsa::tuner {
namespace {

// Sources and times are those of the same trials, which the table was made from: a refresh, of other sources
// perhaps, is none of them.
void add_usable(Provenance& provenance, const TrialList& trials, const Trial& trial) {
  provenance.source_hashes[{kernels::class_text(trial.problem), trial.configuration}] = trial.source_hash;
  const Trial& kept = latest(trials, trial.problem, trial.configuration)->trial;
  provenance.measurements[{kernels::to_text(trial.problem), trial.configuration}] = {
      kept.phase, kept.evaluation.measurement};
}

}  // namespace

Provenance provenance_of(const DispatchTable& table, const std::vector<StoredTrial>& trials) {
  const TrialHistory history(trials, table.device);
  const TrialList& own = history.all();
  Provenance provenance;
  std::set<std::string> uuids;
  for (const auto* stored : own) {
    if (stored->trial.evaluation.status == Status::ok) ++provenance.timed;
    uuids.insert(stored->session.device.uuid);
    auto& commands = provenance.commands;
    if (std::find(commands.begin(), commands.end(), stored->session.command) == commands.end())
      commands.push_back(stored->session.command);
  }
  for (const auto& [shape, of_shape] : by_shape(history.usable()))
    for (const auto* stored : of_shape) add_usable(provenance, of_shape, stored->trial);
  provenance.devices = uuids.size();
  provenance.trials = own.size();
  if (!own.empty()) {
    provenance.first_at = own.front()->trial.finished_at;
    provenance.last_at = own.back()->trial.finished_at;
  }
  return provenance;
}

}  // namespace fcsa::tuner
