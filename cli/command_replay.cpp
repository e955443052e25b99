#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/table.h"
#include "tuner/search/replay_summary.h"
#include "tuner/search/strategy.h"

namespace fcsa::cli {
namespace {

struct ReplayCommandOptions {
  std::vector<std::string> files;
  std::string strategies = "auto";
  int seeds = 15, first_seed = 1, pending = 1, jobs = 0, evaluations = 1000;
  bool json = false;
};

struct Replayed {
  const tuner::RecordedSpace* recorded;
  std::string strategy;
  std::vector<tuner::ReplayRun> runs;
  tuner::ReplaySummary summary;
};

std::string spread(const tuner::ReplaySummary::Target& target) {
  const std::string missed = target.missed > 0 ? fmt::format(", {} missed", target.missed) : "";
  return fmt::format("{:.0f} ({:.0f}-{:.0f}{})", target.median, target.first_quartile, target.third_quartile,
                     missed);
}

std::string curve(const std::vector<tuner::ReplaySummary::Point>& points, const char* format) {
  std::string text;
  for (const auto& point : points)
    text += fmt::format("{}{}: {:.3f}", text.empty() ? "" : ", ", fmt::format(fmt::runtime(format), point.at),
                        point.best);
  return text;
}

void print_text(const std::vector<Replayed>& all) {
  Table table{
      {"space", "configurations", "strategy", "to 10%", "to 5%", "to 1%", "device waits", "cancelled"}, {}};
  for (const auto& replayed : all) {
    const auto& s = replayed.summary;
    table.rows.push_back({replayed.recorded->name, std::to_string(replayed.recorded->space.size()),
                          replayed.strategy, spread(s.targets[0]), spread(s.targets[1]), spread(s.targets[2]),
                          fmt::format("{:.0f}%", 100 * s.device_waited),
                          fmt::format("{:.0f}%", 100 * s.cancelled)});
  }
  print(table, false);
  fmt::print("\nThe best found over the optimum, median of the seeds\n");
  for (const auto& replayed : all) {
    fmt::print("{}, {}\n  by evaluations    {}\n", replayed.recorded->name, replayed.strategy,
               curve(replayed.summary.by_evaluations, "{:.0f}"));
    fmt::print("  by simulated time {}\n", curve(replayed.summary.by_time, "{:.0f} s"));
  }
}

nlohmann::json to_json(const Replayed& replayed) {
  nlohmann::json runs = nlohmann::json::array();
  for (const auto& run : replayed.runs) {
    nlohmann::json best = nlohmann::json::array(), at_s = nlohmann::json::array();
    for (const auto& step : run.steps) {
      best.push_back(std::isinf(step.best_ms) ? nlohmann::json() : nlohmann::json(step.best_ms));
      at_s.push_back(step.at_s);
    }
    runs.push_back(
        {{"best_ms", best}, {"at_s", at_s}, {"cancelled", run.cancelled}, {"finished", run.finished}});
  }
  nlohmann::json targets = nlohmann::json::array();
  for (const auto& target : replayed.summary.targets)
    targets.push_back({{"fraction", target.fraction},
                       {"median", target.median},
                       {"first_quartile", target.first_quartile},
                       {"third_quartile", target.third_quartile},
                       {"missed", target.missed}});
  return {{"space", replayed.recorded->name},
          {"configurations", replayed.recorded->space.size()},
          {"optimum_ms", replayed.recorded->optimum_ms},
          {"strategy", replayed.strategy},
          {"targets", targets},
          {"device_waited", replayed.summary.device_waited},
          {"runs", runs}};
}

void replay(const ReplayCommandOptions& options, const Context& context) {
  tuner::ReplayOptions one;
  one.pending = static_cast<std::size_t>(options.pending);
  // Two to three times as many pending as processes, as tuning does it.
  one.compile_jobs = static_cast<std::size_t>(options.jobs > 0 ? options.jobs : (options.pending + 1) / 2);
  one.evaluations = static_cast<std::size_t>(options.evaluations);
  const auto strategies = parse_words("--strategy", options.strategies);
  for (const auto& strategy : strategies) tuner::check_strategy_name(strategy);
  std::vector<tuner::RecordedSpace> spaces;
  for (const auto& file : options.files)
    for (auto& space : tuner::read_recorded_spaces(file)) spaces.push_back(std::move(space));
  std::vector<Replayed> all;
  for (const auto& space : spaces) {
    for (const auto& strategy : strategies) {
      one.strategy = strategy;
      Replayed replayed{&space, strategy, {}, {}};
      for (int i = 0; i < options.seeds && !*context.stop; ++i)
        replayed.runs.push_back(
            tuner::replay(space, one, static_cast<std::uint64_t>(options.first_seed + i)));
      if (*context.stop) throw std::runtime_error("interrupted");
      replayed.summary = tuner::summarise(space, replayed.runs, one);
      all.push_back(std::move(replayed));
    }
  }
  if (!options.json) return print_text(all);
  nlohmann::json list = nlohmann::json::array();
  for (const auto& replayed : all) list.push_back(to_json(replayed));
  fmt::print("{}\n", list.dump());
}

}  // namespace

void add_replay(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand(
      "replay", "Runs search strategies on recorded spaces, without a device, and compares them");
  auto options = std::make_shared<ReplayCommandOptions>();
  command->add_option("files", options->files, "fcsa databases, or files in the T4 format, gzip too")
      ->required();
  command->add_option("--strategy", options->strategies, "One or several: auto,local,random")
      ->capture_default_str();
  command->add_option("--seeds", options->seeds, "Runs of each, with seeds that count up")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--seed", options->first_seed, "The first seed")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--pending", options->pending, "Configurations asked for and not measured yet")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--jobs", options->jobs, "Compile processes of the simulated time [half of --pending]")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--evals", options->evaluations, "Most evaluations of a run")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print every run as JSON");
  command->callback([options, &context] {
    try {
      replay(*options, context);
    } catch (const std::invalid_argument& error) {
      throw UsageError(error.what());
    }
  });
}

}  // namespace fcsa::cli
