// The fcsa command.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstring>
#include <exception>
#include <optional>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/process_setup.h"
#include "cli/say.h"
#include "runner/compile/compile_process.h"
#include "runner/inventory_process.h"
#include "runner/worker/worker_process.h"
#include "tuner/trials/evaluator.h"

namespace {

constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;

std::atomic<bool> stop = false;

int run(int argc, char** argv) {
  CLI::App app{
      "Autotunes and benchmarks flash cosine-similarity attention.\n"
      "First steps: `fcsa devices`, then `fcsa tune`, `fcsa emit --out include` and `fcsa report --out "
      "report`."};
  app.name("fcsa");
  app.set_version_flag("--version", FCSA_VERSION);
  app.require_subcommand(1);
  fcsa::cli::Context context;
  context.stop = &stop;
  fcsa::cli::add_devices(app, context);
  fcsa::cli::add_tune(app, context);
  fcsa::cli::add_compile(app, context);
  fcsa::cli::add_verify(app, context);
  fcsa::cli::add_bench(app, context);
  fcsa::cli::add_explain(app, context);
  fcsa::cli::add_emit(app, context);
  fcsa::cli::add_report(app, context);
  fcsa::cli::add_replay(app, context);
  fcsa::cli::add_db(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kWrongUsage;
  }
  return context.exit_status;
}

// The exit status; what went wrong is said on stderr.
int run_reported(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const fcsa::cli::UsageError& error) {
    fcsa::cli::say("fcsa: {}\n", error.what());
    return kWrongUsage;
  } catch (const fcsa::tuner::Interrupted&) {
    fcsa::cli::say("fcsa: interrupted\n");
  } catch (const std::exception& error) {
    fcsa::cli::say("fcsa: {}\n", error.what());
  }
  return kFailed;
}

// What child processes of this program do; nothing when this isn't one.
std::optional<int> run_child(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "__worker") == 0) return fcsa::runner::worker_main(argv[2]);
  if (argc == 3 && std::strcmp(argv[1], "__compile") == 0) return fcsa::runner::compile_main(argv[2]);
  if (argc == 2 && std::strcmp(argv[1], "__inventory") == 0) return fcsa::runner::inventory_main();
  return std::nullopt;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    fcsa::cli::set_up_process();
    if (const auto status = run_child(argc, argv)) return *status;
    fcsa::cli::stop_on_signals(stop);
    const int status = run_reported(argc, argv);
    return fcsa::cli::finish_standard_output() || status != 0 ? status : kFailed;
  } catch (const std::exception& error) {
    fcsa::cli::say("fcsa: {}\n", error.what());
    return kFailed;
  }
}
