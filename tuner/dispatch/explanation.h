// Why a dispatch table chooses what it chooses for a problem.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tuner/dispatch/dispatch.h"

namespace fcsa::tuner {

struct Neighbour {
  const DispatchEntry* entry = nullptr;  // of the table
  double octaves = 0;  // distance in log2 of queries, keys and tiles of queries for each multiprocessor
};

// A configuration that was measured in the class.
struct Rival {
  std::string configuration;
  bool in_table = false;
  double predicted_ms = 0;  // on the problem
  // On the shape that decided (Choice::entry): the latest race that it took part in, else the search.
  std::optional<Trial> trial = std::nullopt;
};

struct Explanation {
  kernels::Problem problem;
  Choice choice;
  const DispatchClass* dispatch = nullptr;  // null by default
  std::vector<Neighbour> neighbours = {};   // nearest first, at most 4
  std::vector<Rival> rivals = {};           // the choice, then others by predicted time; empty by default
};

// The trials are those of the table, which must outlive the result. Throws like choose().
Explanation explain(const std::vector<StoredTrial>& trials, const DispatchTable& table,
                    const kernels::Problem& problem, const kernels::DeviceInfo& device);

}  // namespace fcsa::tuner
