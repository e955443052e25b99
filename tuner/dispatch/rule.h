// The rule of a class of problems, fitted to its times: kernels/common/prediction.h says what it does.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "kernels/common/prediction.h"
#include "kernels/problem.h"

namespace fcsa::tuner {

struct DispatchRule {
  std::vector<kernels::Model> models;        // of each configuration
  std::vector<kernels::Position> positions;  // of each shape
  std::vector<float> corrections;            // [shape][configuration]

  // Refers to this.
  kernels::Rule view() const;
};

// What a configuration takes on each shape; 0 where it wasn't measured, but not everywhere.
struct ConfigurationTimes {
  std::string configuration;
  std::vector<double> ms;
};

DispatchRule fit_rule(std::span<const ConfigurationTimes> configurations,
                      std::span<const kernels::Problem> shapes, int multiprocessors);

}  // namespace fcsa::tuner
