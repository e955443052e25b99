// Which parameters of a kernel family mattered, judged by everything that the search tried.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "reports/comparison.h"

namespace fcsa::reports {

// A parameter held at one value on every problem, all others chosen per problem: the geometric mean over the
// problems of (best time with the value) / (best time), minus one. Of what was tried.
struct Fixed {
  int value = 0;
  double loss = 0;
};

struct ParameterEffect {
  std::string name;
  std::string meaning;
  std::size_t values = 0;  // different ones that worked
  // Of the variance of ln(time) inside the problems, what the parameter explains by itself: 1 - (SS_within /
  // (n - p - k + 1)) / (SS_total / (n - p)) with n trials, p problems and k values, at least 0. Other
  // parameters vary along, so shares need not add up to one.
  double share = 0;
  std::optional<Fixed> best;        // the value that loses least; none: no value was tried on every problem
  std::optional<Fixed> by_default;  // the family's default; none: not tried on every problem
};

// One family. Trials of the search that worked, the latest of each configuration.
struct ParameterStudy {
  std::string kernel;  // "mma.forward"
  std::size_t trials = 0, problems = 0;
  std::vector<ParameterEffect> effects;  // largest share first; those that were varied
};

// A study needs this many trials beyond one per problem, so that a share is more than chance.
inline constexpr std::size_t kFewestTrials = 10;

// One for each family with enough trials, the one with most trials first.
std::vector<ParameterStudy> study_parameters(const std::vector<const Point*>& points);

}  // namespace fcsa::reports
