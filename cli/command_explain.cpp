#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/explanation.h"
#include "cli/options.h"
#include "cli/patience.h"
#include "cli/problem_source.h"
#include "cli/regret.h"
#include "cli/say.h"
#include "cli/shared_options.h"
#include "cli/tuned_store.h"
#include "cli/workload_costs.h"
#include "runner/inventory_process.h"
#include "runner/shipped_data.h"
#include "tuner/trials/store.h"

namespace fcsa::cli {
namespace {

struct ExplainOptions {
  ProblemSource problems;
  std::string device = "auto", db;
  double epsilon = 2.0;
  RegretOptions regret;
  bool json = false;
};

// Of the newest trials of a device with this uuid or name.
std::optional<kernels::DeviceInfo> recorded_device(const std::vector<tuner::StoredTrial>& trials,
                                                   const std::string& uuid_or_name) {
  for (auto stored = trials.rbegin(); stored != trials.rend(); ++stored) {
    const auto& device = stored->session.device;
    if (device.uuid == uuid_or_name || device.name == uuid_or_name) return device;
  }
  return std::nullopt;
}

std::optional<kernels::DeviceInfo> present_device(const std::string& selector) {
  const auto inventory = runner::inventory_from_child(executable_path());
  for (const auto& device : inventory.devices)
    if (device.usable && device.info.selector() == selector) return device.info;
  return std::nullopt;
}

kernels::DeviceInfo usable_device(const std::string& selector) {
  if (const auto present = present_device(selector)) return *present;
  throw std::runtime_error(fmt::format("{} can't be used: `fcsa devices` says what is missing", selector));
}

// auto, cpu, cuda or cuda:N: a device of this machine; else a name or uuid.
bool is_selector(const std::string& device) {
  return device == "auto" || device == "cpu" || device == "cuda" || device.starts_with("cuda:");
}

// The one named, by a selector or as the database knows it. auto: the GPU of this machine; without one that
// of the newest trials, so that a database can be read anywhere.
kernels::DeviceInfo device_to_explain(const std::string& wanted,
                                      const std::vector<tuner::StoredTrial>& trials) {
  if (const auto recorded = recorded_device(trials, wanted)) return *recorded;
  if (!is_selector(wanted))
    throw UsageError(
        fmt::format("--device: '{}' is not auto, cpu, cuda or cuda:N, and the database has no "
                    "trials of a device with this name or uuid",
                    wanted));
  const std::string selector = resolve_device(wanted, {});
  if (wanted == "auto" && selector == "cpu" && !trials.empty()) return trials.back().session.device;
  return usable_device(selector);
}

void print_explanations(const ExplainOptions& options, const std::vector<tuner::StoredTrial>& trials,
                        const kernels::DeviceInfo& device, const tuner::DispatchTable& table) {
  const ExplanationContext context{device, table.device, table.epsilon};
  auto all = nlohmann::ordered_json::array();
  std::string text;
  for (const auto& problem : options.problems.problems(device.target.kind)) {
    const auto explanation = tuner::explain(trials, table, problem, device);
    if (options.json)
      all.push_back(to_json(explanation, context));
    else
      text += (text.empty() ? "" : "\n") + to_text(explanation, context);
  }
  fmt::print("{}", options.json ? all.dump(2) + "\n" : text);
}

// Empty where nothing can be consulted: every choice is the default then.
tuner::DispatchTable table_for(const std::vector<tuner::StoredTrial>& trials,
                               const kernels::DeviceInfo& device, double epsilon) {
  try {
    return tuner::dispatch_table_for(trials, device, epsilon);
  } catch (const std::invalid_argument&) {
    tuner::DispatchTable none;
    none.device = device;
    none.epsilon = epsilon;
    return none;
  }
}

void explain(const ExplainOptions& options, bool filtered, Context& context) {
  if (!(options.epsilon >= 0 && options.epsilon < 100))
    throw UsageError(fmt::format("--epsilon: {} is not a percentage from 0 to 100", options.epsilon));
  const auto file = options.db.empty() ? tuner::default_store_path() : std::filesystem::path(options.db);
  auto trials = open_tuned_store(options.db, is_selector(options.device) ? "" : options.device).trials();
  if (options.regret.shapes > 0) {
    RegretOptions regret = options.regret;
    regret.device = resolve_device(options.device, {});
    regret.epsilon = options.epsilon / 100;
    if (regret.record.empty()) regret.record = std::filesystem::path(file).replace_extension(".regret.db");
    const auto kind = regret.device == "cpu" ? kernels::DeviceKind::cpu : kernels::DeviceKind::cuda;
    if (!options.problems.file.empty()) {
      regret.problems = options.problems.problems(usable_device(regret.device).target);
    } else if (filtered) {
      for (const auto& problem : options.problems.problems(kind))
        regret.classes.insert(kernels::class_text(problem));
    }
    if (!measure_regret(regret, trials, options.json, *context.stop)) context.exit_status = 1;
    return;
  }
  const auto device = device_to_explain(options.device, trials);
  auto table = table_for(trials, device, options.epsilon / 100);
  const auto shipped = options.db.empty() ? runner::shipped_database() : std::nullopt;
  if (table.classes.empty() && shipped) {
    say("note: {} has nothing of {}: taking the data that is shipped with fcsa, {}\n", file.string(),
        device.name, shipped->string());
    trials = tuner::Store(*shipped, tuner::Store::Mode::read_only, patience()).trials();
    table = table_for(trials, device, options.epsilon / 100);
  }
  if (!options.problems.file.empty()) {
    options.problems.problems(device.target);  // says what isn't served
    const auto workload = tuner::read_workload(workload_path(options.problems.file));
    fmt::print("{}", options.json ? costs_json(workload, table, device).dump(2) + "\n"
                                  : costs_text(workload, table, device));
    return;
  }
  if (!options.problems.grid.seq.empty() || !options.problems.grid.nq.empty())
    return print_explanations(options, trials, device, table);
  if (table.classes.empty())
    throw std::runtime_error(
        fmt::format("{} has no successful trials of {} or a device like it: run `fcsa tune`", file.string(),
                    device.name));
  fmt::print("{}", options.json ? overview_json(table).dump(2) + "\n" : overview_text(table));
}

void add_regret_options(CLI::App& command, RegretOptions& regret) {
  command
      .add_option(
          "--regret", regret.shapes,
          "Measure so many shapes instead, random ones within the range of what was tuned, or with "
          "--problems "
          "the first of that file that were not tuned: what the choice loses against the other chosen "
          "configurations and the best of the neighbours")
      ->check(CLI::PositiveNumber);
  command.add_option("--seed", regret.seed, "Of --regret: of the shapes and of the inputs")
      ->capture_default_str();
  command
      .add_option("--evals", regret.evaluations,
                  "Of --regret: also search each shape with so many trials per family [no search]")
      ->check(CLI::PositiveNumber);
  command.add_option(
      "--record", regret.record,
      "Of --regret: database for its trials [the name of --db with .regret.db]; `fcsa db merge` "
      "makes them part of a table");
  add_jobs_option(command, regret.jobs)->description("Of --regret: compile processes [one per core]");
  add_cache_dir_option(command, regret.cache_directory)
      ->description("Of --regret: compiled kernels [~/.cache/fcsa]");
}

}  // namespace

void add_explain(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand(
      "explain",
      "Says what a tuned table launches for a problem, and why; without lengths, for every tuned shape");
  auto options = std::make_shared<ExplainOptions>();
  options->problems.grid.causal = "no";
  add_db_option(*command, options->db);
  add_device_option(*command, options->device)
      ->description("auto, cpu, cuda, cuda:N, or a device of the database by name or uuid");
  auto* problems = command->add_option_group("Problems");
  options->problems.add_to(*problems);
  command
      ->add_option("--epsilon", options->epsilon, "Percent of speed that may be given up for fewer kernels")
      ->capture_default_str();
  add_regret_options(*command, options->regret);
  add_json_option(*command, options->json);
  command->callback([options, problems, &context] {
    const auto given = problems->get_options();
    const bool filtered = std::any_of(given.begin(), given.end(),
                                      [](const CLI::Option* option) { return option->count() > 0; });
    try {
      explain(*options, filtered, context);
    } catch (const std::invalid_argument& error) {
      throw UsageError(error.what());
    }
  });
}

}  // namespace fcsa::cli
