// Where the figures of a dispatch table come from.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tuner/dispatch/dispatch.h"

namespace fcsa::tuner {

struct TimedTrial {
  Phase phase = Phase::search;
  Measurement measurement;
};

struct Provenance {
  std::size_t devices = 0;            // of the table's model
  std::string first_at, last_at;      // of the trials: ISO 8601, UTC
  std::size_t trials = 0, timed = 0;  // tried; of those, verified and timed
  std::vector<std::string> commands;  // of the sessions, as typed, in order of time, each once

  using Text = std::pair<std::string, std::string>;
  // Of the latest trial of a class (kernels::class_text) and a configuration.
  std::map<Text, std::string> source_hashes;
  // Of a problem (kernels::to_text) and a configuration: the latest race, else the latest search.
  std::map<Text, TimedTrial> measurements;
};

// Of the trials that the table was made from.
Provenance provenance_of(const DispatchTable& table, const std::vector<StoredTrial>& trials);

}  // namespace fcsa::tuner
