// A search space of which every configuration was measured: what strategies are compared on without a device.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tuner/search/space.h"

namespace fcsa::tuner {

struct RecordedSpace {
  std::string name;  // the file's, or of a database the problem and the family
  Space space;
  // By position.
  std::vector<std::optional<double>> times_ms;  // nullopt: it failed
  std::vector<double> compile_s, measure_s;     // what the trial took when it was recorded; 0 where unknown
  double optimum_ms = 0;                        // the fastest of times_ms
};

// Of a file in the T4 format (https://github.com/AutoTuningAssociation: JSON, plain or gzip) its one space;
// of an fcsa database one for every problem and family with at least two configurations in its search trials.
// Values of a parameter that aren't all integers are numbered in ascending order, texts by the alphabet.
// Throws std::runtime_error naming the file and what is wrong: it can't be read, the gzip is damaged, it is
// no T4 file, no configuration succeeded (no optimum), or there is only one configuration.
std::vector<RecordedSpace> read_recorded_spaces(const std::filesystem::path& file);

}  // namespace fcsa::tuner
