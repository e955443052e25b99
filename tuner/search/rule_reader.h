// A rule of a family as a reader of digits: what it says of each combination of the values that it reads.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/family.h"
#include "tuner/search/diagram.h"

namespace fcsa::tuner {

// Asks the rule once for every combination of the values of its parameters, however many spaces are made with
// it; combinations after which it says the same are one state. Where these would be too many it is asked when
// it comes to that, and every combination is a state of its own.
class RuleReader final : public Reader {
 public:
  // What a rule is asked of. Must outlive the reader.
  struct Subject {
    const kernels::Problem& problem;
    const kernels::Target& target;
    const std::vector<kernels::Parameter>& parameters;
  };
  // Throws std::invalid_argument for a rule that reads what is no parameter. `any`: a configuration of the
  // kernel; the rule is asked with other values in it.
  RuleReader(kernels::Constraint rule, const Subject& subject, kernels::Configuration any);

  const std::vector<std::size_t>& reads() const override { return reads_; }
  State next(State state, std::size_t place, std::size_t digit) override;

 private:
  static constexpr std::size_t kMostAsked = 300'000;

  bool holds(std::size_t combination);  // of the digits of what it reads, as one number
  void ask_all(std::size_t combinations);

  kernels::Constraint rule_;
  Subject subject_;
  kernels::Configuration asked_;
  std::vector<std::size_t> reads_, counts_;  // and how many values they have
  // For each place, of state * count + digit the next state; empty where the rule is asked when it comes to
  // that.
  std::vector<std::vector<State>> next_;
};

}  // namespace fcsa::tuner
