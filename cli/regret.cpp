#include "cli/regret.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/options.h"
#include "cli/patience.h"
#include "cli/say.h"
#include "cli/sessions.h"
#include "cli/table.h"
#include "runner/process_evaluator.h"
#include "tuner/dispatch/regret.h"
#include "tuner/search/tuning.h"
#include "tuner/trials/recording.h"
#include "tuner/trials/store.h"

namespace fcsa::cli {
namespace {

using tuner::UntunedShape;

// A shape and what was measured on it.
struct Result {
  UntunedShape shape;
  std::size_t contenders = 0;  // that finished
  std::optional<tuner::Regret> regret = std::nullopt;
  std::string failure = {};  // of the choice
};

// Measured as what was tuned last.
runner::ProcessEvaluatorOptions evaluator_options(const RegretOptions& options,
                                                  const std::vector<tuner::StoredTrial>& tuned) {
  runner::ProcessEvaluatorOptions result;
  result.executable = executable_path();
  result.device = options.device;
  result.compile_jobs = options.jobs;
  result.cache_directory = options.cache_directory;
  result.seed = options.seed;
  const auto latest = std::find_if(tuned.rbegin(), tuned.rend(), [](const auto& stored) {
    return stored.trial.evaluation.status == tuner::Status::ok;
  });
  if (latest != tuned.rend()) result.measurement.cache = latest->trial.evaluation.measurement.cache;
  return result;
}

std::vector<tuner::Candidate> candidates_of(const UntunedShape& shape) {
  std::vector<tuner::Candidate> candidates;
  for (const auto& configuration : shape.contenders)
    candidates.push_back(tuner::candidate_of(shape.problem, configuration));
  return candidates;
}

class Measuring {
 public:
  Measuring(const RegretOptions& options, runner::ProcessEvaluator& evaluator, tuner::Store& store,
            const std::atomic<bool>& stop)
      : options_(options),
        evaluator_(evaluator),
        store_(store),
        recording_(evaluator, store, options.seed, &std::chrono::steady_clock::now),
        stop_(stop) {}

  std::vector<Result> run(std::vector<UntunedShape> shapes) {
    std::vector<tuner::Candidate> all;
    for (const auto& shape : shapes)
      for (auto& candidate : candidates_of(shape)) all.push_back(std::move(candidate));
    recording_.prefetch(all);
    std::vector<Result> results;
    for (auto& shape : shapes) {
      if (stop_) break;
      say("[{}/{}] {}\n", results.size() + 1, shapes.size(), kernels::to_text(shape.problem));
      if (options_.evaluations > 0) search(shape);
      results.push_back(race(std::move(shape)));
    }
    return results;
  }

 private:
  // What a search of this shape alone finds takes part too.
  void search(UntunedShape& shape) {
    std::vector<const kernels::Family*> families;
    for (const auto& family : kernels::families())
      if (family->tunable() && family->device_kind() == evaluator_.device().target.kind)
        families.push_back(family.get());
    tuner::TuningOptions tuning;
    tuning.budget = std::chrono::hours(1);
    tuning.max_evaluations = static_cast<std::size_t>(options_.evaluations);
    tuning.seed = options_.seed;
    for (const auto& candidate : candidates_of(shape)) tuning.first.push_back(candidate.configuration);
    const auto outcome = tuner::tune({shape.problem}, families, evaluator_, store_, tuning, {}, stop_);
    const std::string& best = outcome.problems.front().best;
    if (!best.empty() &&
        std::find(shape.contenders.begin(), shape.contenders.end(), best) == shape.contenders.end())
      shape.contenders.push_back(best);
  }

  Result race(UntunedShape shape) {
    const auto trials = recording_.race(candidates_of(shape), tuner::Phase::probe);
    Result result{std::move(shape)};
    result.regret = tuner::regret_of(result.shape.choice.configuration, trials);
    for (const auto& trial : trials) {
      const bool ok = trial.evaluation.status == tuner::Status::ok;
      result.contenders += ok;
      if (!ok && trial.configuration == result.shape.choice.configuration)
        result.failure =
            fmt::format("{} {}", tuner::to_text(trial.evaluation.status), trial.evaluation.message);
    }
    return result;
  }

  const RegretOptions& options_;
  runner::ProcessEvaluator& evaluator_;
  tuner::Store& store_;
  tuner::RecordingEvaluator recording_;
  const std::atomic<bool>& stop_;
};

std::vector<double> regrets_of(const std::vector<Result>& results) {
  std::vector<double> regrets;
  for (const auto& result : results)
    if (result.regret) regrets.push_back(result.regret->regret);
  return regrets;
}

Table table_of(const std::vector<Result>& results) {
  Table table{{"problem", "choice", "match", "predicted ms", "ms", "best ms", "regret %", "low", "high",
               "contenders", "best"},
              {}};
  for (const auto& result : results) {
    const auto& choice = result.shape.choice;
    const auto predicted = choice.predicted_ms > 0 ? fmt::format("{:.4g}", choice.predicted_ms) : "-";
    std::vector<std::string> row = {kernels::to_text(result.shape.problem), choice.configuration,
                                    std::string(tuner::to_text(choice.match)), predicted};
    if (const auto& regret = result.regret) {
      for (const double value : {regret->chosen_ms, regret->best_ms})
        row.push_back(fmt::format("{:.4g}", value));
      for (const double value : {regret->regret, regret->regret_low, regret->regret_high})
        row.push_back(fmt::format("{:.2f}", 100 * value));
    } else {
      row.insert(row.end(), 5, "-");
    }
    row.push_back(std::to_string(result.contenders));
    row.push_back(result.regret ? result.regret->best : result.failure);
    table.rows.push_back(std::move(row));
  }
  return table;
}

void print_results(const std::vector<Result>& results, const kernels::DeviceInfo& device,
                   const RegretOptions& options, bool json) {
  const auto regrets = regrets_of(results);
  const auto summary = regrets.empty() ? tuner::RegretSummary{} : tuner::summary_of(regrets);
  const std::size_t failed = results.size() - regrets.size();
  if (!json) {
    print(table_of(results), false);
    fmt::print("\n{} shapes never tuned, seed {}, on {}: ", results.size(), options.seed, device.name);
    if (!regrets.empty())
      fmt::print("regret median {:.2f}%, mean {:.2f}%, worst {:.2f}%; ", 100 * summary.median,
                 100 * summary.mean, 100 * summary.worst);
    fmt::print("{} choices failed; trials in {}\n", failed, options.record.string());
    return;
  }
  const auto share = [&](double value) {
    return regrets.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(value);
  };
  const nlohmann::ordered_json document = {
      {"device", device.name},
      {"seed", options.seed},
      {"median_regret", share(summary.median)},
      {"mean_regret", share(summary.mean)},
      {"worst_regret", share(summary.worst)},
      {"failed", failed},
      {"record", options.record.string()},
      {"shapes", nlohmann::ordered_json::parse(to_json(table_of(results)))}};
  fmt::print("{}\n", document.dump(2));
}

}  // namespace

bool measure_regret(const RegretOptions& options, const std::vector<tuner::StoredTrial>& tuned, bool json,
                    const std::atomic<bool>& stop) {
  runner::ProcessEvaluator evaluator(evaluator_options(options, tuned));
  const auto& device = evaluator.device();
  const auto table = tuner::dispatch_table_for(tuned, device, options.epsilon);
  const auto count = static_cast<std::size_t>(options.shapes);
  auto shapes = options.problems ? tuner::untuned_shapes_of(tuned, table, device, *options.problems, count)
                                 : tuner::draw_untuned_shapes(
                                       tuned, table, device,
                                       {.classes = options.classes, .count = count, .seed = options.seed});
  if (shapes.empty())
    throw std::runtime_error("--regret: every one of these problems was tuned: name others in --problems");
  tuner::Store store(options.record, tuner::Store::Mode::read_write, patience());
  store.begin_session(new_session(device, command_line(), options.seed));
  Measuring measuring(options, evaluator, store, stop);
  const auto results = measuring.run(std::move(shapes));
  print_results(results, device, options, json);
  return !stop && regrets_of(results).size() == results.size();
}

}  // namespace fcsa::cli
