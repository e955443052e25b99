#include "tuner/search/rule_answers.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace fcsa::tuner {
namespace {

// Which of the parameters a constraint reads, ascending.
std::vector<std::size_t> read_by(const kernels::Constraint& constraint,
                                 const std::vector<kernels::Parameter>& parameters) {
  std::vector<std::size_t> read;
  if (constraint.reads.empty()) {
    read.resize(parameters.size());
    std::iota(read.begin(), read.end(), std::size_t{0});
  }
  for (const auto& name : constraint.reads) {
    const auto found =
        std::find_if(parameters.begin(), parameters.end(), [&](const auto& p) { return p.name == name; });
    if (found == parameters.end())
      throw std::invalid_argument("constraint '" + constraint.reason + "' reads '" + name +
                                  "', which is no parameter");
    read.push_back(static_cast<std::size_t>(found - parameters.begin()));
  }
  std::sort(read.begin(), read.end());
  return read;
}

}  // namespace

RuleAnswers::RuleAnswers(kernels::Constraint rule, const std::vector<kernels::Parameter>& parameters)
    : rule_(std::move(rule)), read_(read_by(rule_, parameters)) {
  std::size_t combinations = 1;
  for (const auto parameter : read_) {
    counts_.push_back(parameters[parameter].values.size());
    combinations *= counts_.back();
    if (combinations > kMostKept) return;
  }
  kept_.resize(combinations, Answer::unknown);
}

}  // namespace fcsa::tuner
