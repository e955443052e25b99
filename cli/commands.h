// The subcommands. Each adds itself to the command line; its work runs as the callback, and sets the exit
// status.
#pragma once

#include <CLI/CLI.hpp>
#include <atomic>

namespace fcsa::cli {

// What a subcommand shares with main.
struct Context {
  int exit_status = 0;            // 0 done, 1 failed; main adds 2 for wrong usage
  const std::atomic<bool>* stop;  // set by Ctrl-C
};

void add_devices(CLI::App& app, Context& context);
void add_tune(CLI::App& app, Context& context);
void add_compile(CLI::App& app, Context& context);
void add_verify(CLI::App& app, Context& context);
void add_bench(CLI::App& app, Context& context);
void add_explain(CLI::App& app, Context& context);
void add_emit(CLI::App& app, Context& context);
void add_report(CLI::App& app, Context& context);
void add_replay(CLI::App& app, Context& context);
void add_db(CLI::App& app, Context& context);

}  // namespace fcsa::cli
