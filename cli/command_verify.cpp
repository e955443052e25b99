#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <optional>
#include <set>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/patience.h"
#include "cli/problem_source.h"
#include "cli/shared_options.h"
#include "cli/table.h"
#include "runner/process_evaluator.h"
#include "runner/verification/feature_pairs.h"
#include "tuner/dispatch/dispatch.h"
#include "tuner/trials/recording.h"

namespace fcsa::cli {
namespace {

// Of --pairs: many problems, of which most are small enough for all of their rows.
constexpr double kPairReferenceFlops = 2e8;

struct VerifyOptions {
  ProblemSource problems;
  std::string device = "auto", configuration, db;
  int jobs = 0, launches = 1;
  std::uint64_t seed = 1;
  bool pairs = false, json = false;
};

// A candidate, and the one check to make: without it, small checks and the problem itself.
struct Work {
  tuner::Candidate candidate;
  std::optional<runner::OneCheck> check = {};
};

// What one family did with the problems of --pairs.
struct FamilyCount {
  std::size_t verified = 0, failed = 0;
};

// What the dispatch table of a database would launch on this device, for every tuned shape.
std::vector<Work> winners(const std::string& file, const kernels::DeviceInfo& device) {
  const tuner::Store store(file, tuner::Store::Mode::read_only, patience());
  const auto table = tuner::make_dispatch_table(store.trials(), device.uuid);
  std::vector<Work> work;
  for (const auto& problem_class : table.classes)
    for (const auto& entry : problem_class.entries)
      work.push_back({tuner::candidate_of(entry.problem, problem_class.configurations[entry.choice])});
  return work;
}

void require_work(const std::vector<Work>& work, const std::set<std::string>& reasons) {
  if (!work.empty()) return;
  throw UsageError(
      fmt::format("no kernel serves these problems on this device: {}", fmt::join(reasons, "; ")));
}

// Every family's baseline, or the one configuration that was asked for, on every problem of the grid.
std::vector<Work> from_grid(const VerifyOptions& options, const kernels::Target& target) {
  std::vector<Work> work;
  std::set<std::string> reasons;
  for (const auto& problem : options.problems.problems(target)) {
    if (!options.configuration.empty()) {
      work.push_back({tuner::candidate_of(problem, options.configuration)});
      continue;
    }
    for (const auto& family : kernels::families()) {
      if (family->device_kind() != target.kind) continue;
      const std::string reason = family->unsupported(problem, target);
      if (reason.empty())
        work.push_back({{problem, family.get(), family->baseline(problem, target)}});
      else
        reasons.insert(reason);
    }
  }
  require_work(work, reasons);
  return work;
}

// Every family's baseline, or the one configuration that was asked for, on problems that together have all
// pairs of the features that it serves.
std::vector<Work> from_pairs(const VerifyOptions& options, const kernels::Target& target) {
  std::vector<Work> work;
  std::set<std::string> reasons;
  std::optional<kernels::Configuration> wanted;
  if (!options.configuration.empty()) wanted = kernels::parse_kernel(options.configuration).configuration;
  for (const kernels::Op op : options.problems.grid.ops())
    for (const auto& family : kernels::families()) {
      if (family->device_kind() != target.kind) continue;
      const std::string kernel = kernels::kernel_name(*family, op);
      if (wanted && wanted->kernel != kernel) {
        reasons.insert(fmt::format("{} is not {}", kernel, wanted->kernel));
        continue;
      }
      const auto serves = [&](const kernels::Problem& p) {
        std::string reason = family->unsupported(p, target);
        if (reason.empty() && wanted) reason = kernels::misfit(*family, p, *wanted, target);
        if (!reason.empty()) reasons.insert(reason);
        return reason.empty();
      };
      for (const auto& [problem, values, placement] : runner::feature_pairs(options.seed, serves, op))
        work.push_back({{problem, family.get(), wanted ? *wanted : family->baseline(problem, target)},
                        runner::OneCheck{.values = runner::values_for(target.kind, values),
                                         .placement = placement,
                                         .reference_flops = kPairReferenceFlops}});
    }
  require_work(work, reasons);
  return work;
}

tuner::Evaluation verified(runner::ProcessEvaluator& evaluator, const Work& work, int launches) {
  if (work.check) return evaluator.verify(work.candidate, *work.check, launches);
  return evaluator.verify(work.candidate, launches);
}

std::string inputs_of(const Work& work) {
  if (!work.check) return "all";
  const std::string values(runner::to_text(work.check->values));
  if (work.check->placement == runner::Placement::dense) return values;
  return fmt::format("{}, {}", values, runner::to_text(work.check->placement));
}

std::vector<std::string> row_of(const Work& work, const tuner::Evaluation& result) {
  const auto& [problem, family, configuration] = work.candidate;
  return {kernels::to_text(problem),
          kernels::to_text(*family, problem.op, configuration),
          inputs_of(work),
          std::string(tuner::to_text(result.status)),
          fmt::format("{:.2e}", result.accuracy.error),
          fmt::format("{:.2e}", result.accuracy.tolerance),
          result.message.empty() ? "-" : result.message};
}

void print_counts(const std::map<std::string, FamilyCount>& counts) {
  for (const auto& [family, count] : counts) {
    fmt::print("{}: {} verified, {} failed\n", family, count.verified, count.failed);
  }
}

void verify(const VerifyOptions& options, Context& context) {
  runner::ProcessEvaluatorOptions evaluator_options;
  evaluator_options.executable = executable_path();
  evaluator_options.device = resolve_device(options.device, {});
  evaluator_options.compile_jobs = options.jobs;
  evaluator_options.seed = options.seed;
  evaluator_options.stop = context.stop;
  runner::ProcessEvaluator evaluator(evaluator_options);
  const kernels::DeviceInfo& device = evaluator.device();
  std::map<std::string, FamilyCount> counts;
  const auto works = options.pairs        ? from_pairs(options, device.target)
                     : options.db.empty() ? from_grid(options, device.target)
                                          : winners(options.db, device);
  std::vector<tuner::Candidate> candidates;
  candidates.reserve(works.size());
  for (const auto& work : works) candidates.push_back(work.candidate);
  evaluator.prefetch(candidates);
  Table table{{"problem", "configuration", "values", "status", "error", "allowed", "message"}, {}};
  std::size_t failed = 0;
  for (const auto& work : works) {
    if (*context.stop) break;
    tuner::Evaluation result;
    try {
      result = verified(evaluator, work, options.launches);
    } catch (const tuner::Interrupted&) {
      break;
    }
    const bool wrong = result.status != tuner::Status::ok;
    failed += wrong;
    ++counts[work.candidate.family->name()].verified;
    counts[work.candidate.family->name()].failed += wrong;
    table.rows.push_back(row_of(work, result));
  }
  print(table, options.json);
  if (!options.json) {
    if (options.pairs) print_counts(counts);
    const std::string repeated =
        options.launches > 1 ? fmt::format(", each with the same bits in {} launches", options.launches) : "";
    fmt::print("{} verified on {}{}, {} failed\n", table.rows.size(), device.name, repeated, failed);
    if (*context.stop) fmt::print("interrupted: {} of {} verified\n", table.rows.size(), works.size());
  }
  if (failed > 0 || *context.stop) context.exit_status = 1;
}

}  // namespace

void add_verify(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand(
      "verify",
      "Checks kernels against fp64: baselines, one configuration, winners, or all pairs of features");
  auto options = std::make_shared<VerifyOptions>();
  add_device_option(*command, options->device);
  options->problems.add_op_to(*command);
  auto* grid = command->add_option_group("Problems");
  options->problems.add_grid_to(*grid);
  auto* configuration =
      command->add_option("--config", options->configuration,
                          "Only this configuration: 'simt.forward{warps=8}'; with --pairs on "
                          "the problems that it is valid for");
  auto* db =
      add_db_option(*command, options->db)->description("The winners in this database instead of the grid");
  auto* pairs = command->add_flag("--pairs", options->pairs,
                                  "Problems that have every pair of features, and adversarial values");
  pairs->excludes(db);
  configuration->excludes(db);
  grid->excludes(pairs);
  command
      ->add_option("--repeat", options->launches,
                   "Launch so often on the problem itself, and require the same bits in every output")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Of the inputs and of --pairs")->capture_default_str();
  add_jobs_option(*command, options->jobs);
  add_json_option(*command, options->json);
  command->callback([options, &context] {
    try {
      verify(*options, context);
    } catch (const std::invalid_argument& error) {
      throw UsageError(error.what());
    }
  });
}

}  // namespace fcsa::cli
