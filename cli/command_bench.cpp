#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "cli/bench_rows.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/problem_source.h"
#include "cli/say.h"
#include "cli/shared_options.h"
#include "cli/tuned_store.h"
#include "runner/process_evaluator.h"

namespace fcsa::cli {
namespace {

struct BenchOptions {
  ProblemSource problems;
  std::string device = "auto", db, cache = "warm", cache_directory;
  std::vector<std::string> configurations;
  std::vector<double> key_lengths;
  int jobs = 0;
  std::uint64_t seed = 1;
  bool json = false;
};

// Rows compiled ahead of the one that is measured.
constexpr std::size_t kLookAhead = 32;
// A kernel whose launches take this many times as long as the first ones is stopped.
constexpr double kPatience = 20;
constexpr std::chrono::duration<double> kShortestLimit{30};

// The body of the benchmarks. Device times come from the worker process.
class Bench {
 public:
  Bench(runner::ProcessEvaluator& evaluator, std::vector<BenchRow> rows, const std::atomic<bool>& stop)
      : evaluator_(evaluator), rows_(std::move(rows)), known_(rows_.size()), stop_(stop) {}

  void register_all() {
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const auto body = [this, i](benchmark::State& state) { run(state, i); };
      benchmark::RegisterBenchmark(rows_[i].name.c_str(), body)->UseManualTime();
    }
  }

  bool failed() const { return failed_; }

 private:
  // What was learnt of a row in earlier calls.
  struct Known {
    double launch_ms = 0;  // 0: not verified yet
    std::string failure;   // not tried again: it may have cost a deadline
  };

  void run(benchmark::State& state, std::size_t row) {
    if (stop_) return fail(state, "interrupted");
    if (!known_[row].failure.empty()) return fail(state, known_[row].failure);
    try {
      const auto measurement = launched(row, static_cast<int>(state.max_iterations));
      report(state, rows_[row], measurement);
    } catch (const tuner::Interrupted&) {
      fail(state, "interrupted");
    } catch (const std::exception& error) {
      known_[row].failure = error.what();
      fail(state, known_[row].failure);
    }
  }

  void fail(benchmark::State& state, const std::string& message) {
    failed_ = true;
    state.SkipWithError(message.c_str());
  }

  // Verified, and timed once to know what more launches will take.
  void prepare(std::size_t row) {
    std::vector<tuner::Candidate> next;
    for (std::size_t i = row; i < std::min(rows_.size(), row + kLookAhead); ++i)
      next.push_back(rows_[i].candidate);
    evaluator_.prefetch(next);
    require_ok(evaluator_.verify(rows_[row].candidate));
    known_[row].launch_ms =
        require_ok(evaluator_.measure(rows_[row].candidate, 1, kShortestLimit)).measurement.median_ms;
  }

  tuner::Measurement launched(std::size_t row, int launches) {
    if (known_[row].launch_ms == 0) prepare(row);
    const std::chrono::duration<double> expected{launches * known_[row].launch_ms / 1e3};
    const auto limit = kShortestLimit + kPatience * expected;
    auto measurement = require_ok(evaluator_.measure(rows_[row].candidate, launches, limit)).measurement;
    const auto done =
        measurement.samples_ms.size() * static_cast<std::size_t>(measurement.launches_per_sample);
    if (done < static_cast<std::size_t>(launches))
      throw std::runtime_error(
          fmt::format("timed_out: {} of {} launches in {:.0f} s", done, launches, limit.count()));
    return measurement;
  }

  static tuner::Evaluation require_ok(tuner::Evaluation evaluation) {
    if (evaluation.status != tuner::Status::ok)
      throw std::runtime_error(fmt::format("{}: {}", tuner::to_text(evaluation.status), evaluation.message));
    return evaluation;
  }

  // An iteration is a launch; those of one sample were timed together.
  static void report(benchmark::State& state, const BenchRow& row, const tuner::Measurement& measurement) {
    const auto per_sample = static_cast<std::size_t>(measurement.launches_per_sample);
    std::size_t launch = 0;
    for (auto _ : state) state.SetIterationTime(measurement.samples_ms[launch++ / per_sample] / 1e3);
    using benchmark::Counter;
    const auto& problem = row.candidate.problem;
    state.counters["FLOP/s"] = Counter(kernels::flops(problem), Counter::kIsIterationInvariantRate);
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kernels::bytes(problem)));
    state.counters["peak_memory"] =
        Counter(static_cast<double>(measurement.peak_memory_bytes), Counter::kDefaults, Counter::kIs1024);
    state.counters["extra_memory"] =
        Counter(static_cast<double>(measurement.extra_memory_bytes), Counter::kDefaults, Counter::kIs1024);
    state.SetLabel(row.label);
  }

  runner::ProcessEvaluator& evaluator_;
  const std::vector<BenchRow> rows_;
  std::vector<Known> known_;
  const std::atomic<bool>& stop_;
  bool failed_ = false;
};

// Google Benchmark's own parser ends the program with status 0 for a format that it doesn't know.
void check_benchmark_flag(const std::string& flag) {
  const auto equals = flag.find('=');
  if (!flag.starts_with("--benchmark_"))
    throw UsageError(
        fmt::format("{} is not an option of fcsa bench (Google Benchmark's are written "
                    "--benchmark_filter=..., with '=')",
                    flag));
  if (!flag.substr(0, equals).ends_with("_format")) return;
  const std::string value = equals == std::string::npos ? "" : flag.substr(equals + 1);
  if (value != "console" && value != "json" && value != "csv")
    throw UsageError(fmt::format("{}: the formats are console, json and csv", flag));
}

std::vector<std::string> benchmark_arguments(const std::vector<std::string>& flags, bool json) {
  for (const auto& flag : flags) check_benchmark_flag(flag);
  std::vector<std::string> arguments{"fcsa bench"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  if (json) arguments.emplace_back("--benchmark_format=json");
  return arguments;
}

// Google Benchmark keeps pointers into the arguments.
void initialize(std::vector<std::string>& arguments) {
  std::vector<char*> pointers;
  for (auto& argument : arguments) pointers.push_back(argument.data());
  int count = static_cast<int>(pointers.size());
  benchmark::SetDefaultTimeUnit(benchmark::kMicrosecond);
  benchmark::Initialize(&count, pointers.data());
  if (count > 1) throw UsageError(fmt::format("{}: Google Benchmark doesn't take this", pointers[1]));
}

// What was tuned or shipped, for this device or the nearest. Without --db there may be nothing yet: baselines
// can be measured all the same.
std::optional<tuner::DispatchTable> tuned_table(const BenchOptions& options,
                                                const kernels::DeviceInfo& device) {
  if (!options.configurations.empty()) return std::nullopt;
  try {
    return tuner::dispatch_table_for(open_tuned_store(options.db, device.name).trials(), device);
  } catch (const std::exception& error) {
    if (!options.db.empty()) throw std::runtime_error(error.what());
    say("fcsa: nothing tuned to measure, baselines only: {}\n", error.what());
    return std::nullopt;
  }
}

std::vector<BenchRow> all_rows(const BenchOptions& options, const kernels::DeviceInfo& device) {
  const auto table = tuned_table(options, device);
  std::vector<BenchRow> rows;
  for (const auto& problem : options.problems.problems(device.target)) {
    if (!options.key_lengths.empty() && !problem.key_mask)
      throw UsageError(
          fmt::format("--key-lengths says what a key mask shows, and {} has none: add --mask yes",
                      kernels::to_text(problem)));
    auto more = bench_rows(problem, device, table ? &*table : nullptr, options.configurations);
    std::move(more.begin(), more.end(), std::back_inserter(rows));
  }
  return rows;
}

void add_context(const BenchOptions& options, const kernels::DeviceInfo& device) {
  benchmark::AddCustomContext("fcsa_version", FCSA_VERSION);
  benchmark::AddCustomContext("device", device.name);
  benchmark::AddCustomContext("device_uuid", device.uuid);
  benchmark::AddCustomContext("arch", device.target.arch);
  benchmark::AddCustomContext("driver", device.driver);
  benchmark::AddCustomContext("compiler", device.compiler);
  benchmark::AddCustomContext("cache", options.cache);
  benchmark::AddCustomContext("input_seed", std::to_string(options.seed));
  if (!options.key_lengths.empty())
    benchmark::AddCustomContext("key_lengths", fmt::format("{}", fmt::join(options.key_lengths, ",")));
}

void bench(const BenchOptions& options, const std::vector<std::string>& flags, Context& context) {
  auto arguments = benchmark_arguments(flags, options.json);
  initialize(arguments);
  runner::ProcessEvaluatorOptions evaluator_options;
  evaluator_options.executable = executable_path();
  evaluator_options.device = resolve_device(options.device, {});
  evaluator_options.compile_jobs = options.jobs;
  evaluator_options.cache_directory = options.cache_directory;
  evaluator_options.measurement.cache = tuner::cache_state_from_text(options.cache);
  evaluator_options.seed = options.seed;
  evaluator_options.key_lengths = options.key_lengths;
  evaluator_options.stop = context.stop;
  runner::ProcessEvaluator evaluator(evaluator_options);
  add_context(options, evaluator.device());
  Bench bench(evaluator, all_rows(options, evaluator.device()), *context.stop);
  bench.register_all();
  const std::size_t matched = benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  if (matched == 0 || bench.failed()) context.exit_status = 1;
}

}  // namespace

void add_bench(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand(
      "bench", "Runs tuned kernels, baselines and unfused attention under Google Benchmark");
  auto options = std::make_shared<BenchOptions>();
  add_device_option(*command, options->device);
  options->problems.add_to(*command);
  auto* db = add_db_option(*command, options->db);
  command
      ->add_option("--config", options->configurations,
                   "This configuration instead of the tuned one: 'simt.forward{warps=8}' (may be repeated)")
      ->excludes(db);
  command->add_option("--cache", options->cache, "Measure with a warm or a cold cache")
      ->check(CLI::IsMember({"warm", "cold"}))
      ->capture_default_str();
  add_jobs_option(*command, options->jobs);
  command
      ->add_option("--key-lengths", options->key_lengths,
                   "What the key mask shows of the batches in turn: so many of the first keys, below 1 that "
                   "share of them; FLOP/s count the hidden ones too (with --mask yes; else 3/4 at random)")
      ->delimiter(',')
      ->check(CLI::NonNegativeNumber);
  command->add_option("--seed", options->seed, "Of the inputs")->capture_default_str();
  add_cache_dir_option(*command, options->cache_directory);
  command->add_flag("--json", options->json, "The same as --benchmark_format=json");
  command->allow_extras();
  command->footer(
      "Google Benchmark's flags are passed on, such as --benchmark_filter=tuned, --benchmark_min_time=,\n"
      "--benchmark_repetitions=, --benchmark_out=FILE, --benchmark_list_tests. Time is the device's; CPU is "
      "this process', which only waits.");
  command->callback([options, command, &context] {
    try {
      bench(*options, command->remaining(), context);
    } catch (const std::invalid_argument& error) {
      throw UsageError(error.what());
    }
  });
}

}  // namespace fcsa::cli
