// What a dispatch table loses on shapes that were never tuned, measured.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tuner/trials/trial.h"

namespace fcsa::cli {

struct RegretOptions {
  int shapes = 0;
  std::uint64_t seed = 1;
  int evaluations = 0;  // of a search of each shape, per family; 0: none
  std::string device;   // selector
  double epsilon = 0.02;
  std::set<std::string> classes = {};  // class texts; empty: all that were tuned on the device
  std::optional<std::vector<kernels::Problem>> problems = {};  // to measure instead of random shapes
  std::filesystem::path record;                                // database for the trials
  int jobs = 0;
  std::string cache_directory = {};
};

// Draws shapes within the range of each class in turn, or takes those of `problems` that were not tuned, and
// races what the table of `tuned` chooses there with the class's other configurations, the best of the
// nearest tuned shapes, and what a search finds. Prints a row for every shape, the median, the mean and the
// worst. False when a choice failed, or it was stopped. Throws std::runtime_error when the device was not
// tuned for any of the classes, or all of `problems` were tuned.
bool measure_regret(const RegretOptions& options, const std::vector<tuner::StoredTrial>& tuned, bool json,
                    const std::atomic<bool>& stop);

}  // namespace fcsa::cli
