#include "runner/compile/source_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <stdexcept>
#include <utility>

#include "runner/compile/binary_cache.h"
#include "runner/device/compiler.h"
#include "tuner/trials/recording.h"

namespace fcsa::runner {
namespace {

using tuner::StoredTrial;

// Empty when this build doesn't know the configuration.
std::string hash_in_this_build(const StoredTrial& stored) {
  const auto& [id, session, trial] = stored;
  try {
    const auto [problem, family, configuration] = tuner::candidate_of(trial.problem, trial.configuration);
    const auto& target = session.device.target;
    return source_hash(family->source(problem, configuration), target,
                       {session.device.compiler, compile_options(target)});
  } catch (const std::invalid_argument&) {
    return {};
  }
}

}  // namespace

std::vector<const StoredTrial*> stale_trials(const std::vector<StoredTrial>& trials) {
  // Problems of a class share their kernels.
  using Kernel = std::tuple<std::string, std::string, std::string, std::string>;
  std::map<Kernel, std::string> hashes;
  std::vector<const StoredTrial*> stale;
  for (const auto& stored : trials) {
    const auto& device = stored.session.device;
    const Kernel kernel{kernels::class_text(stored.trial.problem), stored.trial.configuration,
                        device.target.arch, device.compiler};
    auto known = hashes.find(kernel);
    if (known == hashes.end()) known = hashes.emplace(kernel, hash_in_this_build(stored)).first;
    if (known->second != stored.trial.source_hash) stale.push_back(&stored);
  }
  return stale;
}

std::string how_to_renew(const std::string& file, const std::vector<StoredTrial>& trials,
                         const std::vector<const StoredTrial*>& stale) {
  std::map<std::string, std::size_t> by_kernel;
  std::vector<std::string> commands;
  for (const auto* stored : stale) {
    ++by_kernel[kernels::kernel_of(stored->trial.configuration)];
    const std::string& command = stored->session.command;
    if (std::find(commands.begin(), commands.end(), command) == commands.end()) commands.push_back(command);
  }
  std::string kernels;
  for (const auto& [kernel, count] : by_kernel)
    kernels += fmt::format("{}{} of {}", kernels.empty() ? "" : ", ", count, kernel);
  const std::string& device = stale.front()->session.device.name;
  return fmt::format(
      "{}: {} of {} trials were measured with other kernel sources than this build's ({}). Measure them "
      "again "
      "on a {}, and make the file again:\n  {}\n  fcsa db --db FILE ship --device '{}' --out {}\n"
      "If only the text of these kernels changed, not their machine code, no GPU is needed: `fcsa db codes` "
      "of "
      "a build of the former sources, then `fcsa db restamp` of this one:\n"
      "  fcsa db codes {} --out codes.jsonl\n  fcsa db restamp --codes codes.jsonl {}\n",
      file, stale.size(), trials.size(), kernels, device, fmt::join(commands, "\n  "), device, file, file,
      file);
}

}  // namespace fcsa::runner
