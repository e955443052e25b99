// The fcsa command.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstring>
#include <exception>

#include "cli/commands.h"
#include "cli/options.h"
#include "runner/process_evaluator.h"

namespace {

constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;

std::atomic<bool> stop_requested = false;

// The first Ctrl-C ends the work in order; the second kills the program (what is recorded is safe either
// way).
void request_stop(int) {
  stop_requested = true;
  std::signal(SIGINT, SIG_DFL);
}

int run(int argc, char** argv) {
  CLI::App app{
      "Autotunes and benchmarks flash cosine-similarity attention.\n"
      "First steps: `fcsa devices`, then `fcsa tune`, `fcsa emit --out include` and `fcsa report --out "
      "report`."};
  app.name("fcsa");
  app.set_version_flag("--version", FCSA_VERSION);
  app.require_subcommand(1);
  fcsa::cli::Context context;
  context.stop = &stop_requested;
  fcsa::cli::add_devices(app, context);
  fcsa::cli::add_tune(app, context);
  fcsa::cli::add_compile(app, context);
  fcsa::cli::add_verify(app, context);
  fcsa::cli::add_bench(app, context);
  fcsa::cli::add_explain(app, context);
  fcsa::cli::add_emit(app, context);
  fcsa::cli::add_report(app, context);
  fcsa::cli::add_db(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kWrongUsage;
  }
  return context.exit_status;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    // Child processes of this program, before anything else is set up.
    if (argc == 3 && std::strcmp(argv[1], "__worker") == 0) return fcsa::runner::worker_main(argv[2]);
    if (argc == 3 && std::strcmp(argv[1], "__compile") == 0) return fcsa::runner::compile_main(argv[2]);
    if (argc == 2 && std::strcmp(argv[1], "__inventory") == 0) return fcsa::runner::inventory_main();
    std::signal(SIGINT, request_stop);
    std::signal(SIGTERM, request_stop);
    return run(argc, argv);
  } catch (const fcsa::cli::UsageError& error) {
    fmt::print(stderr, "fcsa: {}\n", error.what());
    return kWrongUsage;
  } catch (const std::exception& error) {
    fmt::print(stderr, "fcsa: {}\n", error.what());
    return kFailed;
  }
}
