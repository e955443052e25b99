// What every family promises of its baseline.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/family.h"

namespace fcsa::kernels {

inline void expect_valid_baseline_from_the_space(const Family& family, const Problem& problem,
                                                 const Target& target) {
  const Configuration baseline = family.baseline(problem, target);
  const auto described = [&] {
    return to_text(family, problem.op, baseline) + " on " + target.arch + " for " + to_text(problem);
  };
  EXPECT_EQ(invalid_reason(family, problem, baseline, target), "") << described();
  for (const auto& parameter : family.parameters(problem.op))
    EXPECT_EQ(std::count(parameter.values.begin(), parameter.values.end(), baseline.at(parameter.name)), 1)
        << parameter.name << " in " << described();
}

}  // namespace fcsa::kernels
