// A rule of a family, and what it said of the values of the parameters that it reads: of millions of
// combinations these are few, and asking takes longer than looking that up.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kernels/family.h"

namespace fcsa::tuner {

class RuleAnswers {
 public:
  // Throws std::invalid_argument for a rule that reads what is no parameter.
  RuleAnswers(kernels::Constraint rule, const std::vector<kernels::Parameter>& parameters);

  const std::string& reason() const { return rule_.reason; }
  std::size_t last_read() const { return read_.back(); }

  // Always to be asked with the same problem and target. `digits`: of each parameter the index of its value.
  bool holds(const kernels::Problem& problem, const kernels::Configuration& configuration,
             const kernels::Target& target, const std::vector<std::size_t>& digits);

 private:
  enum class Answer : char { unknown, holds, fails };
  static constexpr std::size_t kMostKept = 1'000'000;

  kernels::Constraint rule_;
  std::vector<std::size_t> read_, counts_;  // parameters, ascending, and how many values they have
  std::vector<Answer> kept_;                // by the digits of these; empty where that would be too many
};

}  // namespace fcsa::tuner
