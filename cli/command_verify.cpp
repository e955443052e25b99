#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/table.h"
#include "runner/process_evaluator.h"
#include "tuner/dispatch.h"

namespace fcsa::cli {
namespace {

struct VerifyOptions {
  ProblemOptions problems;
  std::string device = "auto", configuration, db;
  int jobs = 0;
  bool json = false;
};

tuner::Candidate candidate_of(const kernels::Problem& problem, const std::string& text) {
  const kernels::Family& family = kernels::family_of_kernel(text);
  return {problem, &family,
          kernels::configuration_from_text(text, kernels::kernel_name(family, problem.op),
                                           family.parameters(problem.op))};
}

// What the dispatch table of a database would launch on this device, for every tuned shape.
std::vector<tuner::Candidate> winners(const std::string& file, const kernels::DeviceInfo& device) {
  const tuner::Store store(file, tuner::Store::Mode::read_only);
  const auto table = tuner::make_dispatch_table(store.trials(), device.uuid);
  std::vector<tuner::Candidate> candidates;
  for (const auto& problem_class : table.classes)
    for (const auto& entry : problem_class.entries)
      candidates.push_back(candidate_of(entry.problem, problem_class.configurations[entry.choice]));
  return candidates;
}

// Every family's baseline, or the one configuration that was asked for, on every problem of the grid.
std::vector<tuner::Candidate> from_grid(const VerifyOptions& options, const kernels::Target& target) {
  std::vector<tuner::Candidate> candidates;
  for (const auto& problem : options.problems.problems(target.kind)) {
    if (!options.configuration.empty()) {
      candidates.push_back(candidate_of(problem, options.configuration));
      continue;
    }
    for (const auto& family : kernels::families())
      if (family->device_kind() == target.kind && family->unsupported(problem, target).empty())
        candidates.push_back({problem, family.get(), family->baseline(problem, target)});
  }
  if (candidates.empty()) throw UsageError("no kernel serves these problems on this device");
  return candidates;
}

void verify(const VerifyOptions& options, Context& context) {
  runner::ProcessEvaluatorOptions evaluator_options;
  evaluator_options.executable = executable_path();
  evaluator_options.device = resolve_device(options.device, {});
  evaluator_options.compile_jobs = options.jobs;
  runner::ProcessEvaluator evaluator(evaluator_options);
  const auto candidates = options.db.empty() ? from_grid(options, evaluator.device().target)
                                             : winners(options.db, evaluator.device());
  evaluator.prefetch(candidates);
  Table table{{"problem", "configuration", "status", "error", "allowed", "message"}, {}};
  std::size_t failed = 0;
  for (const auto& candidate : candidates) {
    if (*context.stop) break;
    const tuner::Evaluation result = evaluator.verify(candidate);
    failed += result.status != tuner::Status::ok;
    table.rows.push_back(
        {kernels::to_text(candidate.problem),
         kernels::to_text(*candidate.family, candidate.problem.op, candidate.configuration),
         std::string(tuner::to_text(result.status)), fmt::format("{:.2e}", result.accuracy.error),
         fmt::format("{:.2e}", result.accuracy.tolerance), result.message.empty() ? "-" : result.message});
  }
  print(table, options.json);
  if (!options.json)
    fmt::print("{} verified on {}, {} failed\n", table.rows.size(), evaluator.device().name, failed);
  if (failed > 0 || *context.stop) context.exit_status = 1;
}

}  // namespace

void add_verify(CLI::App& app, Context& context) {
  auto* command =
      app.add_subcommand("verify", "Checks kernels against fp64: baselines, one configuration, or winners");
  auto options = std::make_shared<VerifyOptions>();
  command->add_option("--device", options->device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  options->problems.add_to(*command);
  command->add_option("--config", options->configuration, "Only this configuration: 'simt.forward{warps=8}'");
  command->add_option("--db", options->db, "The winners in this database instead of the grid");
  command->add_option("--jobs", options->jobs, "Compile processes [one per core]")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &context] {
    try {
      verify(*options, context);
    } catch (const std::invalid_argument& error) {
      throw UsageError(error.what());
    }
  });
}

}  // namespace fcsa::cli
