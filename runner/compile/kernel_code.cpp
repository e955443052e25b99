#include "runner/compile/kernel_code.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "runner/compile/compile_pool.h"
#include "runner/compile/machine_code.h"
#include "runner/compile/source_check.h"
#include "runner/device/json.h"
#include "runner/process/channel.h"
#include "tuner/trials/recording.h"

namespace fcsa::runner {
namespace {

using nlohmann::json;
using tuner::StoredTrial;

// Compilations ahead of the one that is waited for: sources are tens of kilobytes.
constexpr std::size_t kAhead = 64;

KernelCode identity_of(const StoredTrial& stored) {
  const auto& device = stored.session.device;
  KernelCode code;
  code.problem_class = kernels::class_text(stored.trial.problem);
  code.configuration = stored.trial.configuration;
  code.arch = device.target.arch;
  code.measured_with = device.compiler;
  code.source_hash = stored.trial.source_hash;
  return code;
}

bool can_be_compared(const StoredTrial& stored) {
  return stored.session.device.target.kind == kernels::DeviceKind::cuda &&
         stored.trial.evaluation.status == tuner::Status::ok;
}

// Without what is at its default, as in the text of a configuration: a field that is new changes nothing.
json without_defaults(json object, const json& defaults) {
  for (const auto& [name, value] : defaults.items())
    if (object.at(name) == value) object.erase(name);
  return object;
}

std::string launch_hash(const tuner::Candidate& candidate) {
  json plan = candidate.family->plan(kernels::traits_of(candidate.problem), candidate.configuration,
                                     kernels::shape_args(candidate.problem));
  for (auto& step : plan["steps"]) step = without_defaults(step, kernels::Launch{});
  for (auto& map : plan["maps"]) map = without_defaults(map, kernels::TensorMap{});
  return content_hash(plan.dump());
}

// The trials of one kernel.
struct Group {
  KernelCode code;
  kernels::Target target;
  std::vector<kernels::Problem> problems;
};

std::vector<Group> groups_of(std::span<const StoredTrial> trials) {
  std::vector<Group> groups;
  std::map<std::vector<std::string>, std::size_t> places;
  std::set<std::pair<std::size_t, std::string>> seen;
  for (const auto& stored : trials) {
    if (!can_be_compared(stored)) continue;
    auto code = identity_of(stored);
    const auto [place, added] = places.try_emplace(
        {code.problem_class, code.configuration, code.arch, code.measured_with, code.source_hash},
        groups.size());
    if (added) groups.push_back({std::move(code), stored.session.device.target, {}});
    if (seen.emplace(place->second, kernels::to_text(stored.trial.problem)).second)
      groups[place->second].problems.push_back(stored.trial.problem);
  }
  return groups;
}

// Fills in what needs no compilation. Nothing, with the error noted, when this build has no such kernel.
std::optional<CompileRequest> request_for(Group& group, CompilePool& pool) {
  auto& code = group.code;
  const auto description = pool.describe(group.target);
  code.compiler = description.version;
  try {
    auto candidate = tuner::candidate_of(group.problems.front(), code.configuration);
    CompileRequest request{
        candidate.family->source(candidate.problem, candidate.configuration), group.target, {}};
    request.key = source_hash(request.source, group.target, description);
    code.build_hash =
        source_hash(request.source, group.target, {code.measured_with, compile_options(group.target)});
    for (const auto& problem : group.problems) {
      candidate.problem = problem;
      code.launches[kernels::to_text(problem)] = launch_hash(candidate);
    }
    return request;
  } catch (const std::invalid_argument& error) {
    code.error = error.what();
    return std::nullopt;
  }
}

void add_code(KernelCode& code, const Compilation& compiled) {
  if (compiled.status != tuner::Status::ok) {
    code.error = fmt::format("{}: {}", tuner::to_text(compiled.status), compiled.message);
    return;
  }
  std::ifstream file(compiled.cached.binary.path, std::ios::binary);
  const std::string cubin{std::istreambuf_iterator<char>(file), {}};
  if (!file) throw std::runtime_error(fmt::format("cannot read {}", compiled.cached.binary.path));
  try {
    code.code = machine_code_hash(cubin);
  } catch (const std::invalid_argument& error) {
    code.error = error.what();
  }
}

std::string text_member(const json& object, const char* name) {
  return object.contains(name) ? member<std::string>(object, name) : std::string();
}

KernelCode code_from_json(const json& object) {
  KernelCode code;
  code.problem_class = member<std::string>(object, "class");
  code.configuration = member<std::string>(object, "configuration");
  code.arch = member<std::string>(object, "arch");
  code.measured_with = member<std::string>(object, "measured_with");
  code.source_hash = member<std::string>(object, "source_hash");
  code.build_hash = text_member(object, "build_hash");
  code.compiler = text_member(object, "compiler");
  code.code = text_member(object, "code");
  code.error = text_member(object, "error");
  if (object.contains("launches"))
    code.launches = member<std::map<std::string, std::string>>(object, "launches");
  return code;
}

const KernelCode* find(std::span<const KernelCode> codes, const KernelCode& wanted) {
  const auto found = std::find_if(codes.begin(), codes.end(), [&](const KernelCode& code) {
    return code.identity() == wanted.identity();
  });
  return found == codes.end() ? nullptr : &*found;
}

bool launched_alike(const KernelCode& before, const KernelCode& now, const std::string& problem) {
  const auto was = before.launches.find(problem), is = now.launches.find(problem);
  return was != before.launches.end() && is != now.launches.end() && was->second == is->second;
}

// Empty when they are the same.
std::string difference(const KernelCode* before, const KernelCode* now, const std::string& problem) {
  if (now == nullptr) return "no successful trial on a CUDA device, so not compared";
  if (!now->error.empty()) return "not compared: " + now->error;
  if (before == nullptr) return "not compared: the former build's codes don't have it";
  if (!before->error.empty()) return "not compared, by the former build: " + before->error;
  if (!before->measured()) return "not compared: measured with other source than the former build's";
  for (const auto& compiler : {before->compiler, now->compiler})
    if (compiler != now->measured_with)
      return fmt::format("not compared: measured with {}, compiled with {}", now->measured_with, compiler);
  if (before->code != now->code) return "other machine code";
  if (!launched_alike(*before, *now, problem)) return "launched in another way";
  return {};
}

void count(std::vector<Restamping::Stale>& list, Restamping::Stale kernel) {
  const auto known = std::find_if(list.begin(), list.end(), [&](const Restamping::Stale& other) {
    return std::tie(other.problem_class, other.configuration, other.reason) ==
           std::tie(kernel.problem_class, kernel.configuration, kernel.reason);
  });
  ++(known == list.end() ? list.emplace_back(std::move(kernel)) : *known).trials;
}

}  // namespace

std::vector<KernelCode> kernel_codes(std::span<const StoredTrial> trials, const CompileOnlyOptions& options) {
  auto groups = groups_of(trials);
  std::vector<KernelCode> codes;
  if (groups.empty()) return codes;
  CompilePool pool({.executable = options.executable,
                    .kind = "nvrtc",
                    .jobs = options.compile_jobs,
                    .cache_directory =
                        options.cache_directory.empty() ? default_cache_directory() : options.cache_directory,
                    .deadline = options.deadline});
  std::deque<std::optional<CompileRequest>> requests;
  for (auto& group : groups) {
    while (requests.size() < kAhead && codes.size() + requests.size() < groups.size()) {
      requests.push_back(request_for(groups[codes.size() + requests.size()], pool));
      if (requests.back()) pool.submit(*requests.back());
    }
    if (requests.front()) add_code(group.code, pool.wait(*requests.front()));
    requests.pop_front();
    codes.push_back(std::move(group.code));
  }
  return codes;
}

std::string to_json(const KernelCode& code) {
  nlohmann::ordered_json object;
  const auto add = [&](const char* name, const auto& value) {
    if (!value.empty()) object[name] = value;
  };
  object["class"] = code.problem_class;
  object["configuration"] = code.configuration;
  object["arch"] = code.arch;
  object["measured_with"] = code.measured_with;
  object["source_hash"] = code.source_hash;
  add("build_hash", code.build_hash);
  add("compiler", code.compiler);
  add("code", code.code);
  add("launches", code.launches);
  add("error", code.error);
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::vector<KernelCode> kernel_codes_from_json(std::string_view lines) {
  std::vector<KernelCode> codes;
  for (std::size_t number = 1; !lines.empty(); ++number) {
    const auto line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    if (line.empty()) continue;
    try {
      codes.push_back(code_from_json(json::parse(line)));
    } catch (const std::exception& error) {
      throw std::invalid_argument(fmt::format("line {}: {}", number, error.what()));
    }
  }
  return codes;
}

Restamping restamp(std::vector<StoredTrial> trials, std::span<const KernelCode> before,
                   std::span<const KernelCode> now) {
  Restamping result;
  std::vector<std::size_t> stale;
  for (const auto* stored : stale_trials(trials))
    stale.push_back(static_cast<std::size_t>(stored - trials.data()));
  result.valid = trials.size() - stale.size();
  for (const auto i : stale) {
    auto& trial = trials[i].trial;
    const auto wanted = identity_of(trials[i]);
    const auto* current = find(now, wanted);
    auto reason = difference(find(before, wanted), current, kernels::to_text(trial.problem));
    if (!reason.empty()) {
      count(result.stale, {wanted.problem_class, wanted.configuration, std::move(reason)});
    } else {
      trial.source_hash = current->build_hash;
      ++result.restamped;
    }
  }
  result.trials = std::move(trials);
  return result;
}

}  // namespace fcsa::runner
