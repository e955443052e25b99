// A tuning run to be killed: one problem of the fault family, through the real evaluator into a real store.
//   fault_tuner DB CACHE LOG KEYS [LARGEST FILE IN BYTES]
// Writes a line to the log for every trial that is reported as done: its session, the number of its
// configuration, its status, and "reused" or "new". Prints the winner.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <csignal>
#include <random>

#include "runner/process_evaluator.h"
#include "tests/runner/fault_family.h"
#include "tuner/search/tuning.h"
#include "tuner/trials/store.h"

namespace fcsa::runner {
namespace {

ProcessEvaluatorOptions evaluator_options(const std::string& cache) {
  ProcessEvaluatorOptions options;
  options.executable = FCSA_WORKER_PROGRAM;
  options.compile_jobs = 2;
  options.cache_directory = cache;
  options.compile_deadline = std::chrono::seconds(6);
  options.evaluate_deadline = std::chrono::seconds(6);
  // As short as the difference between the winner and the others allows on a machine that is busy otherwise.
  options.measurement = {.target_relative_interval = 0.5,
                         .min_samples = 9,
                         .max_samples = 30,
                         .max_seconds = 0.006,
                         .min_sample_ms = 0.01};
  return options;
}

// A disk that is full beyond so many bytes.
void limit_files(const char* bytes) {
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{std::stoul(bytes), std::stoul(bytes)};
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

int tune(char** arguments) {
  const FaultFamily family;
  const int log = ::open(arguments[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  ProcessEvaluator evaluator(evaluator_options(arguments[2]));
  tuner::Store store(arguments[1], tuner::Store::Mode::read_write);
  std::random_device random;
  tuner::Session session;
  session.id = fmt::format("{:08x}{:08x}", random(), random());
  session.device = evaluator.device();
  store.begin_session(session);
  const auto report = [&](const tuner::Progress& progress) {
    if (progress.candidate == nullptr) return;
    const std::string line =
        fmt::format("{} {} {} {}\n", session.id, progress.candidate->configuration.at("number"),
                    tuner::to_text(progress.evaluation_result->status), progress.reused ? "reused" : "new");
    if (::write(log, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::abort();
  };
  const std::atomic<bool> stop{false};
  const tuner::TuningOptions options{.strategy = "exhaustive"};
  const auto outcome = tuner::tune({fault_problem(std::stoi(arguments[4]))}, {&family}, evaluator, store,
                                   options, report, stop);
  fmt::print("{}\n", outcome.problems.front().best);
  return 0;
}

}  // namespace
}  // namespace fcsa::runner

int main(int argc, char** argv) {
  try {
    if (argc == 6) fcsa::runner::limit_files(argv[5]);
    return fcsa::runner::tune(argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
