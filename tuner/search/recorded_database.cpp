#include "tuner/search/recorded_database.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <stdexcept>
#include <tuple>

#include "tuner/trials/recording.h"
#include "tuner/trials/store.h"

namespace fcsa::tuner {
namespace {

struct Recorded {
  const kernels::Family* family = nullptr;
  kernels::Op op = {};
  std::map<std::string, std::pair<kernels::Configuration, Evaluation>> trials;  // by configuration
};

RecordedSpace space_of(const std::string& name, const Recorded& recorded) {
  const auto parameters = recorded.family->parameters(recorded.op);
  const std::string kernel = kernels::kernel_name(*recorded.family, recorded.op);
  std::vector<kernels::Configuration> configurations;
  for (const auto& [text, trial] : recorded.trials) configurations.push_back(trial.first);
  RecordedSpace space{name, Space(kernel, parameters, configurations), {}, {}, {}};
  const std::size_t size = space.space.size();
  space.times_ms.resize(size);
  space.compile_s.resize(size);
  space.measure_s.resize(size);
  for (const auto& [text, trial] : recorded.trials) {
    const auto& [configuration, evaluation] = trial;
    const std::size_t position = *space.space.find(configuration);
    const auto& samples = evaluation.measurement.samples_ms;
    if (evaluation.status == Status::ok) space.times_ms[position] = evaluation.measurement.median_ms;
    space.compile_s[position] = evaluation.compile_ms / 1000;
    space.measure_s[position] = std::accumulate(samples.begin(), samples.end(), 0.0) / 1000;
  }
  return space;
}

}  // namespace

std::vector<RecordedSpace> spaces_from_database(const std::filesystem::path& file) {
  std::map<std::tuple<std::string, std::string, std::string>, Recorded> found;
  TrialFilter searched;
  searched.phase = Phase::search;
  for (const auto& stored : Store(file, Store::Mode::read_only).trials(searched)) {
    const Trial& trial = stored.trial;
    const Candidate candidate = candidate_of(trial.problem, trial.configuration);
    // What an older version tried may be outside of what is listed now.
    if (!kernels::listed(candidate.configuration, candidate.family->parameters(trial.problem.op))) continue;
    auto& recorded =
        found[{stored.session.device.name, kernels::to_text(trial.problem), candidate.family->name()}];
    recorded.family = candidate.family;
    recorded.op = trial.problem.op;
    recorded.trials.insert_or_assign(trial.configuration,
                                     std::pair(candidate.configuration, trial.evaluation));
  }
  std::vector<RecordedSpace> spaces;
  for (const auto& [key, recorded] : found) {
    const auto& [device, problem, family] = key;
    if (recorded.trials.size() > 1)
      spaces.push_back(space_of(fmt::format("{} {} on {}", family, problem, device), recorded));
  }
  if (spaces.empty())
    throw std::runtime_error(
        fmt::format("{}: no problem of it has two configurations or more in its search trials, so there is "
                    "nothing to search",
                    file.string()));
  return spaces;
}

}  // namespace fcsa::tuner
