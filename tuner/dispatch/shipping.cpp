#include "tuner/dispatch/shipping.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "tuner/dispatch/dispatch.h"
#include "tuner/trials/trial_history.h"

namespace fcsa::tuner {
namespace {

constexpr std::size_t kSamples = 5;

bool raced(const StoredTrial* stored) {
  return stored->trial.phase != Phase::search;
}

const std::string& configuration_of(const StoredTrial* stored) {
  return stored->trial.configuration;
}

// Of one shape, in order of time. What was raced of kernels that the table never chooses is left out: their
// sources may change, and the file is as good as it was.
std::set<std::string> worth_keeping(const TrialList& trials, const std::vector<std::string>& chosen) {
  std::set<std::string> kept(chosen.begin(), chosen.end()), used;
  for (const auto& configuration : chosen) used.insert(kernels::kernel_of(configuration));
  const auto latest = std::find_if(trials.rbegin(), trials.rend(), raced);
  if (latest == trials.rend()) {
    const auto faster = [](const auto* a, const auto* b) {
      return a->trial.evaluation.measurement.median_ms < b->trial.evaluation.measurement.median_ms;
    };
    kept.insert(configuration_of(*std::min_element(trials.begin(), trials.end(), faster)));
    return kept;
  }
  for (const auto* stored : trials)
    if (stored->trial.race_id == (*latest)->trial.race_id &&
        used.contains(kernels::kernel_of(configuration_of(stored))))
      kept.insert(configuration_of(stored));
  return kept;
}

// The races, and of what took part in none the latest search.
TrialList shipped_of_shape(const TrialList& trials, const std::vector<std::string>& chosen) {
  const auto kept = worth_keeping(trials, chosen);
  TrialList shipped;
  std::map<std::string, const StoredTrial*> searched;
  for (const auto* stored : trials) {
    if (!kept.contains(configuration_of(stored))) continue;
    if (raced(stored)) shipped.push_back(stored);
    searched[configuration_of(stored)] = stored;
  }
  for (const auto* stored : shipped) searched.erase(configuration_of(stored));
  for (const auto& [configuration, stored] : searched) shipped.push_back(stored);
  return shipped;
}

// "/home/me/bin/fcsa tune --db /home/me/h100.db" -> "fcsa tune --db FILE".
std::string anonymous_command(std::string command) {
  const auto end_of_word = [&](std::size_t begin) {
    const char end = begin < command.size() && command[begin] == '\'' ? '\'' : ' ';
    const auto found = command.find(end, begin + 1);
    return found == std::string::npos ? command.size() : end == '\'' ? found + 1 : found;
  };
  if (!command.empty()) command.replace(0, end_of_word(0), "fcsa");
  for (const std::string option : {" --db ", " --cache-dir "}) {
    const auto found = command.find(option);
    if (found == std::string::npos) continue;
    const std::size_t value = found + option.size();
    command.replace(value, end_of_word(value) - value, option == " --db " ? "FILE" : "FOLDER");
  }
  return command;
}

StoredTrial ready_to_ship(StoredTrial stored) {
  stored.session.host.clear();
  stored.session.command = anonymous_command(stored.session.command);
  auto& evaluation = stored.trial.evaluation;
  auto& measurement = evaluation.measurement;
  if (measurement.samples_ms.size() > kSamples) measurement.samples_ms.resize(kSamples);
  measurement.clocks = {.sm_mhz = measurement.clocks.sm_mhz,
                        .throttle_reasons = measurement.clocks.throttle_reasons};
  evaluation.compile_ms = 0;
  return stored;
}

}  // namespace

std::vector<StoredTrial> trials_to_ship(const std::vector<StoredTrial>& trials,
                                        const kernels::DeviceInfo& device) {
  std::vector<StoredTrial> own;
  std::copy_if(trials.begin(), trials.end(), std::back_inserter(own),
               [&](const StoredTrial& stored) { return same_model(stored.session.device, device); });
  const DispatchTable table = dispatch_table_for(own, device);
  std::map<std::string, std::vector<std::string>> chosen;
  for (const auto& dispatch : table.classes) chosen[dispatch.class_text] = dispatch.configurations;
  std::vector<StoredTrial> shipped;
  const TrialHistory history(own, device);
  for (const auto& [text, of_problem] : by_shape(history.usable())) {
    const auto& configurations = chosen.at(kernels::class_text(of_problem.front()->trial.problem));
    for (const auto* stored : shipped_of_shape(of_problem, configurations))
      shipped.push_back(ready_to_ship(*stored));
  }
  return shipped;
}

}  // namespace fcsa::tuner
