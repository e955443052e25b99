#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/patience.h"
#include "cli/problem_source.h"
#include "cli/refresh.h"
#include "cli/say.h"
#include "cli/sessions.h"
#include "cli/shards.h"
#include "cli/shared_options.h"
#include "cli/table.h"
#include "cli/tuning_progress.h"
#include "runner/process_evaluator.h"
#include "runner/shipped_data.h"
#include "tuner/dispatch/break_points.h"
#include "tuner/search/known_configurations.h"
#include "tuner/search/strategy.h"
#include "tuner/search/tuning.h"
#include "tuner/trials/store.h"
#include "tuner/workloads/served.h"

namespace fcsa::cli {
namespace {

struct TuneOptions {
  ProblemSource problems;
  std::string device = "auto", family, strategy = "auto", budget = "10m", shard, db, cache = "warm",
              cache_directory, probes = "yes", until;
  std::vector<std::string> suggestions;
  int evaluations = 0, jobs = 0;
  std::uint64_t seed = 1;
  double tolerance = 2;
  bool refresh = false, cold = false, json = false, quiet = false;
};

std::vector<const kernels::Family*> chosen_families(const TuneOptions& options,
                                                    const kernels::DeviceInfo& device) {
  std::vector<const kernels::Family*> chosen;
  for (const auto& family : kernels::families()) {
    if (family->device_kind() != device.target.kind) continue;
    if (options.family.empty() || !family->tunable() || family->name() == options.family)
      chosen.push_back(family.get());
  }
  return chosen;
}

// All of them are served by a tunable family: one that isn't is wrong usage, and it says why.
std::vector<kernels::Problem> chosen_problems(const TuneOptions& options,
                                              const std::vector<const kernels::Family*>& families,
                                              const kernels::Target& target) {
  auto chosen = options.problems.problems(target, families);
  for (const auto& problem : chosen)
    if (const auto why = tuner::unserved(problem, target, families); !why.empty()) throw UsageError(why);
  return chosen;
}

// The part of a process that is one of several. What one alone would add for the dispatch table is shared out
// too, and the probes between shapes wait for the merged database, so that nothing is measured twice.
std::vector<kernels::Problem> own_part(std::vector<kernels::Problem> problems, const Shard& shard,
                                       tuner::TuningOptions& tuning) {
  using Dispatch = tuner::TuningOptions::Dispatch;
  if (shard.count == 1) return problems;
  if (tuning.dispatch == Dispatch::yes) {
    for (const auto& problem : tuner::emptiest_shapes(problems)) problems.push_back(problem);
    tuning.dispatch = Dispatch::no;
  }
  auto part = part_of(problems, shard);
  if (part.empty())
    throw UsageError(fmt::format("shard {}/{} has no problem to tune: the grid has {}", shard.index,
                                 shard.count, problems.size()));
  return part;
}

std::vector<kernels::Configuration> parse_suggestions(const std::vector<std::string>& texts) {
  std::vector<kernels::Configuration> parsed;
  for (const auto& text : texts) parsed.push_back(kernels::parse_kernel(text).configuration);
  return parsed;
}

std::string note_of(const tuner::ProblemOutcome& p) {
  const std::string added = p.added ? "added: shortest lengths, fewest heads" : "";
  const std::string unbeaten =
      p.best_ms > 0 && p.best_ms == p.baseline_ms
          ? fmt::format("the baseline is the best of {} tried", p.measured + p.reused)
          : "";
  std::string note;
  for (const auto& part : {added, unbeaten, p.message, p.finished})
    if (!part.empty()) note += (note.empty() ? "" : "; ") + part;
  return note.empty() ? "-" : note;
}

// What the trials say of this device or one like it; nothing where they are of none.
std::optional<tuner::DispatchTable> table_of(const tuner::Store& store, const kernels::DeviceInfo& device) {
  try {
    return tuner::dispatch_table_for(store.trials(), device);
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
}

// What was chosen in earlier runs that the database has, then in the data that ships.
std::function<std::vector<kernels::Configuration>(const kernels::Problem&)> known_before(
    const tuner::Store& store, const kernels::DeviceInfo& device) {
  constexpr std::size_t kKnown = 12;  // of each: a class has few, and the nearest come first
  std::vector<tuner::DispatchTable> tables;
  if (auto own = table_of(store, device)) tables.push_back(std::move(*own));
  if (const auto shipped = runner::shipped_database())
    if (auto table = table_of({*shipped, tuner::Store::Mode::read_only, patience()}, device))
      tables.push_back(std::move(*table));
  return [tables](const kernels::Problem& problem) {
    std::vector<kernels::Configuration> list;
    for (const auto& table : tables)
      for (auto& known : tuner::known_configurations(table, problem, kKnown))
        list.push_back(std::move(known));
    return list;
  };
}

Table outcome_table(const tuner::TuningOutcome& outcome) {
  Table table{
      {"problem", "configuration", "ms", "TFLOP/s", "over baseline", "over unfused", "trials", "note"}, {}};
  const auto ratio = [](double other, double best) {
    return other > 0 && best > 0 ? fmt::format("{:.2f}", other / best) : std::string("-");
  };
  for (const auto& p : outcome.problems) {
    const bool found = !p.best.empty() && p.best_ms > 0;
    table.rows.push_back({kernels::to_text(p.problem), found ? p.best : "-",
                          found ? fmt::format("{:.4f}", p.best_ms) : "-",
                          found ? fmt::format("{:.3f}", kernels::flops(p.problem) / p.best_ms / 1e9) : "-",
                          ratio(p.baseline_ms, p.best_ms), ratio(p.unfused_ms, p.best_ms),
                          std::to_string(p.measured + p.reused), note_of(p)});
  }
  return table;
}

// What the chosen configurations are worth on shapes that were not tuned.
Table dispatch_table(const std::vector<tuner::DispatchOutcome>& classes) {
  Table table{{"class", "shapes", "configurations", "worst regret", "left out: median", "worst", "unpriced",
               "probes"},
              {}};
  for (const auto& c : classes) {
    const bool priced = c.left_out.priced > 0;
    table.rows.push_back({c.class_text, std::to_string(c.shapes), std::to_string(c.configurations),
                          fmt::format("{:.1f}%", 100 * c.worst_regret),
                          priced ? fmt::format("{:.1f}%", 100 * c.left_out.median_regret) : "-",
                          priced ? fmt::format("{:.1f}%", 100 * c.left_out.worst_regret) : "-",
                          std::to_string(c.left_out.unpriced), std::to_string(c.probes)});
  }
  return table;
}

tuner::TuningOptions::Dispatch parse_probes(const std::string& text) {
  using Dispatch = tuner::TuningOptions::Dispatch;
  if (text == "yes") return Dispatch::yes;
  if (text == "no") return Dispatch::no;
  if (text == "only") return Dispatch::only;
  throw UsageError(fmt::format("--probes: '{}' is not yes, no or only", text));
}

// Two to three for each compile process keep the device busy.
std::size_t pending_for(int jobs) {
  const unsigned processes = jobs > 0 ? static_cast<unsigned>(jobs) : std::thread::hardware_concurrency();
  return std::max<std::size_t>(4, processes * std::size_t{5} / 2);
}

runner::ProcessEvaluatorOptions evaluator_options(const TuneOptions& options, const std::string& device,
                                                  const Context& context) {
  runner::ProcessEvaluatorOptions result;
  result.executable = executable_path();
  result.device = device;
  result.compile_jobs = options.jobs;
  result.cache_directory = options.cache_directory;
  result.measurement.cache = tuner::cache_state_from_text(options.cache);
  result.seed = options.seed;
  result.stop = context.stop;
  return result;
}

std::filesystem::path database_file(const TuneOptions& options, const Shard& shard = {}) {
  return options.db.empty() ? tuner::default_store_path()
                            : std::filesystem::path(with_rank(options.db, shard));
}

void refresh_winners(const TuneOptions& options, Context& context) {
  if (!(options.tolerance > 0 && options.tolerance < 1000))
    throw UsageError(fmt::format("--tolerance: {} is not a percentage above 0", options.tolerance));
  RefreshOptions refreshing;
  refreshing.file = database_file(options);
  // A wrong path is reported before anything is started.
  tuner::Store(refreshing.file, tuner::Store::Mode::read_only, patience());
  refreshing.evaluator = evaluator_options(options, resolve_device(options.device, parse_shard("")), context);
  refreshing.tolerance = options.tolerance / 100;
  refreshing.json = options.json;
  refreshing.quiet = options.quiet;
  auto& measurement = refreshing.evaluator.measurement;
  measurement.target_relative_interval =
      std::min(measurement.target_relative_interval, refreshing.tolerance / 4);
  refresh(refreshing, context);
}

void say_no_compiler(const std::string& why) {
  say("fcsa: only kernels that are built in are measured, nothing is searched: {}\n", why);
}

void call_unsearched(tuner::TuningOutcome& outcome) {
  for (auto& problem : outcome.problems) {
    if (problem.best.empty()) continue;
    const std::string measured =
        fmt::format("built in, not searched: {}, {:.4f} ms", problem.best, problem.best_ms);
    problem.message = measured + (problem.message.empty() ? "" : "; " + problem.message);
    problem.best.clear();
    problem.best_ms = 0;
  }
}

void print_unreached(const tuner::TuningOutcome& outcome, const tuner::TuningOptions& tuning) {
  if (!outcome.out_of_time) return;
  for (const auto& problem : outcome.problems)
    if (problem.measured + problem.reused == 0 && !problem.expected_loss)
      fmt::print("not reached in the budget of {:.4g} s: {}\n", tuning.budget.count(),
                 kernels::to_text(problem.problem));
}

bool is_left_out(const tuner::ProblemOutcome& problem, const tuner::TuningOptions& tuning) {
  return problem.expected_loss && *problem.expected_loss <= *tuning.until;
}

// Why the search ended where it did, by what is expected of the problems that it left out.
std::string until_text(const tuner::TuningOutcome& outcome, double until) {
  std::size_t left = 0, unknown = 0;
  double most = 0;
  for (const auto& problem : outcome.problems) {
    if (!problem.expected_loss) continue;
    ++left;
    if (std::isinf(*problem.expected_loss)) {
      ++unknown;
    } else {
      most = std::max(most, *problem.expected_loss);
    }
  }
  const std::string bound = fmt::format("--until {:.4g}%", 100 * until);
  if (left == 0) return bound + ": every problem was searched";
  std::string rest = fmt::format("problems not searched: {}", left);
  if (left > unknown) rest += fmt::format(", expected to lose at most {:.1f}% each", 100 * most);
  if (unknown > 0) rest += fmt::format("; like {} of them nothing was tuned", unknown);
  return bound + (unknown == 0 && most <= until ? " reached; " : " not reached; ") + rest;
}

void tune(const TuneOptions& options, Context& context) {
  const Shard shard = parse_shard(options.shard);
  tuner::TuningOptions tuning;
  tuning.strategy = options.strategy;
  tuning.budget = parse_duration("--budget", options.budget);
  tuning.max_evaluations = static_cast<std::size_t>(options.evaluations);
  tuning.seed = options.seed;
  tuning.pending = pending_for(options.jobs);
  tuning.cold = options.cold;
  tuning.dispatch = parse_probes(options.probes);
  if (!options.until.empty()) tuning.until = parse_percentage("--until", options.until);
  if (tuning.until && tuning.dispatch == tuner::TuningOptions::Dispatch::only)
    throw UsageError("--until is about what to search, and --probes only searches nothing: leave out one");
  tuning.first = parse_suggestions(options.suggestions);
  if (options.cache != "warm" && options.cache != "cold")
    throw UsageError(fmt::format("--cache: '{}' is not warm or cold", options.cache));
  if (!options.family.empty()) kernels::family_named(options.family);
  const std::string selector = resolve_device(options.device, shard);
  // Wrong usage is reported before anything is started or created.
  options.problems.problems(selector == "cpu" ? kernels::DeviceKind::cpu : kernels::DeviceKind::cuda);

  runner::ProcessEvaluator evaluator(evaluator_options(options, selector, context));
  // Nothing to choose among: the baselines are measured, and nothing is called the winner of a search.
  if (!evaluator.missing_compiler().empty()) {
    say_no_compiler(evaluator.missing_compiler());
    tuning.max_evaluations = 1;
    tuning.dispatch = tuner::TuningOptions::Dispatch::no;
  }
  const auto families = chosen_families(options, evaluator.device());
  const auto problems =
      own_part(chosen_problems(options, families, evaluator.device().target), shard, tuning);
  const auto file = database_file(options, shard);
  tuner::Store store(file, tuner::Store::Mode::read_write, patience());
  if (!options.cold) tuning.known = known_before(store, evaluator.device());
  store.begin_session(new_session(evaluator.device(), command_line(), options.seed));
  if (!options.json)
    fmt::print("{} ({}): {} problems{}, budget {:.0f} s, database {}\n", evaluator.device().name, selector,
               problems.size(),
               options.problems.takes_default(evaluator.device().target.kind)
                   ? " of the workload " + options.problems.default_on_cuda
                   : "",
               tuning.budget.count(), file.string());

  ProgressPrinter printer(stderr);
  auto outcome = tuner::tune(
      problems, families, evaluator, store, tuning,
      [&](const tuner::Progress& progress) {
        if (!options.quiet) printer(progress);
      },
      *context.stop);
  printer.finish();
  if (!evaluator.missing_compiler().empty()) call_unsearched(outcome);
  if (tuning.dispatch == tuner::TuningOptions::Dispatch::only && outcome.classes.empty())
    throw std::runtime_error(
        fmt::format("--probes only: {} has no successful trials of these problems' classes on this device; "
                    "tune them first",
                    file.string()));
  if (options.json || !outcome.problems.empty()) print(outcome_table(outcome), options.json);
  if (!options.json) {
    if (!outcome.classes.empty()) fmt::print("\n{}\n", to_text(dispatch_table(outcome.classes)));
    fmt::print("{:.1f} s, of which waiting for compilers {:.1f}%, the tuner's own work {:.1f}%{}\n",
               outcome.total_s, 100 * outcome.waiting_s / outcome.total_s,
               100 * (outcome.total_s - outcome.evaluating_s) / outcome.total_s,
               outcome.interrupted ? "; interrupted: run the same command again to go on" : "");
    print_unreached(outcome, tuning);
    if (tuning.until) fmt::print("{}\n", until_text(outcome, *tuning.until));
  }
  if (!evaluator.missing_compiler().empty()) {
    say_no_compiler(evaluator.missing_compiler());
    context.exit_status = 1;
  }
  const bool all_found =
      std::all_of(outcome.problems.begin(), outcome.problems.end(),
                  [&](const auto& problem) { return !problem.best.empty() || is_left_out(problem, tuning); });
  if (!all_found || outcome.interrupted) context.exit_status = 1;
}

}  // namespace

void add_tune(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("tune", "Finds the fastest configuration for every problem of a grid");
  auto options = std::make_shared<TuneOptions>();
  options->problems.default_on_cuda = "spread_grid";
  add_device_option(*command, options->device);
  auto* search = command->add_option_group("Search");
  options->problems.add_to(*search);
  search->add_option("--family", options->family, "Only this kernel family");
  search
      ->add_option("--strategy", options->strategy,
                   "auto, surrogate, local, genetic, annealing, evolution, random or exhaustive")
      ->capture_default_str();
  search->add_option("--budget", options->budget, "Wall time, such as 90s, 10m or 1.5h")
      ->capture_default_str();
  search->add_option("--until", options->until,
                     "Search where the most is expected to be lost, until that is at most so much on each "
                     "problem that is left, such as 5% [search every problem]");
  search->add_option("--evals", options->evaluations, "Most trials per problem [no limit]")
      ->check(CLI::NonNegativeNumber);
  auto* cold = search->add_flag("--cold", options->cold,
                                "As on a device that nobody knows: no shipped data, and the simplest valid "
                                "configuration as the baseline");
  search
      ->add_option("--try", options->suggestions,
                   "Configurations to try first: 'mma.forward{stages=3}' (may be repeated)")
      ->excludes(cold);
  search->add_option("--cache", options->cache, "Measure with a warm or a cold cache")->capture_default_str();
  search->add_option(
      "--shard", options->shard,
      "i/n: part i of n of the problems, divided by expected cost [from srun, mpirun, torchrun]");
  auto* refreshing = command->add_flag(
      "--refresh", options->refresh,
      "Instead of a search, measure the winners in the database again, after a change of driver, toolkit or "
      "source: SAME, FASTER, SLOWER, UNSURE or FAILED; exit status 1 when one is SLOWER or FAILED");
  search->excludes(refreshing);
  command->add_option("--tolerance", options->tolerance, "Percent of time within which a winner is the SAME")
      ->capture_default_str()
      ->needs(refreshing);
  search
      ->add_option("--probes", options->probes,
                   "After the search, measure between tuned shapes for the dispatch table, in a fifth of the "
                   "budget: yes, no, or only (of what the database has)")
      ->capture_default_str();
  add_jobs_option(*command, options->jobs);
  command->add_option("--seed", options->seed, "Of the search and of the inputs")->capture_default_str();
  add_db_option(*command, options->db)
      ->description("Database; {rank} in it is the number of the shard [~/.local/share/fcsa/tuning.db]");
  add_cache_dir_option(*command, options->cache_directory);
  command->add_flag("--quiet", options->quiet, "No progress");
  command->add_flag("--json", options->json, "Print the outcome as JSON");
  command->callback([options, &context] {
    try {
      options->refresh ? refresh_winners(*options, context) : tune(*options, context);
    } catch (const std::invalid_argument& error) {
      throw UsageError(error.what());
    }
  });
}

}  // namespace fcsa::cli
