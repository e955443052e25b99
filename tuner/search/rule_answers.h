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
  const std::vector<std::size_t>& read() const { return read_; }  // indices of parameters, ascending

  // Always to be asked with the same problem and target. `digits`: of each parameter that is read the index
  // of its value; `configuration()` has these values.
  template <typename Decode>
  bool holds(const kernels::Problem& problem, const kernels::Target& target,
             const std::vector<std::size_t>& digits, const Decode& configuration) {
    if (kept_.empty()) return rule_.holds(problem, configuration(), target);
    std::size_t place = 0;
    for (std::size_t i = 0; i < read_.size(); ++i) place = place * counts_[i] + digits[read_[i]];
    if (kept_[place] == Answer::unknown)
      kept_[place] = rule_.holds(problem, configuration(), target) ? Answer::holds : Answer::fails;
    return kept_[place] == Answer::holds;
  }

 private:
  enum class Answer : char { unknown, holds, fails };
  static constexpr std::size_t kMostKept = 1'000'000;

  kernels::Constraint rule_;
  std::vector<std::size_t> read_, counts_;  // and how many values they have
  std::vector<Answer> kept_;                // by the digits of these; empty where that would be too many
};

}  // namespace fcsa::tuner
