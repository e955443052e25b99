// Progress of a tuning run: one line that is rewritten on a terminal, plain lines when piped.
#pragma once

#include <cstdio>
#include <string>

#include "tuner/search/tuning.h"

namespace fcsa::cli {

class ProgressPrinter {
 public:
  explicit ProgressPrinter(std::FILE* stream);
  void operator()(const tuner::Progress& progress);
  // Ends the rewritten line.
  void finish();

 private:
  std::FILE* stream_;
  bool terminal_;
  bool line_open_ = false;
};

}  // namespace fcsa::cli
