// fcsa tune --refresh: the winners of a database, measured again.
#pragma once

#include <cstdint>
#include <filesystem>

#include "cli/commands.h"
#include "runner/process_evaluator.h"

namespace fcsa::cli {

struct RefreshOptions {
  std::filesystem::path file;
  runner::ProcessEvaluatorOptions evaluator;
  double tolerance = 0.02;
  bool json = false, quiet = false;
};

// Prints what became of every winner. Exit status 1 when one is slower or fails, or Ctrl-C came. Throws
// UsageError for a database that has no winner of this device.
void refresh(const RefreshOptions& options, Context& context);

}  // namespace fcsa::cli
