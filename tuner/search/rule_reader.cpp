#include "tuner/search/rule_reader.h"

#include <algorithm>
#include <map>
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
  read.erase(std::unique(read.begin(), read.end()), read.end());
  return read;
}

}  // namespace

RuleReader::RuleReader(kernels::Constraint rule, const Subject& subject, kernels::Configuration any)
    : rule_(std::move(rule)),
      subject_(subject),
      asked_(std::move(any)),
      reads_(read_by(rule_, subject.parameters)) {
  std::size_t combinations = 1;
  for (const auto parameter : reads_) {
    counts_.push_back(subject.parameters[parameter].values.size());
    combinations *= counts_.back();
    if (combinations > kMostAsked) combinations = kMostAsked + 1;
  }
  if (combinations <= kMostAsked) ask_all(combinations);
}

Reader::State RuleReader::next(State state, std::size_t place, std::size_t digit) {
  const State read = state * counts_[place] + digit;
  if (!next_.empty()) return next_[place][read];
  return place + 1 < reads_.size() || holds(read) ? read : kRefused;
}

bool RuleReader::holds(std::size_t combination) {
  for (std::size_t i = reads_.size(); i-- > 0; combination /= counts_[i])
    asked_.values[reads_[i]].second = subject_.parameters[reads_[i]].values[combination % counts_[i]];
  return rule_.holds(subject_.problem, asked_, subject_.target);
}

// From the last parameter to the first: what has the same states after it is one state before it.
void RuleReader::ask_all(std::size_t combinations) {
  std::vector<State> states(combinations);
  for (std::size_t i = 0; i < combinations; ++i) states[i] = holds(i) ? kStart : kRefused;
  next_.resize(reads_.size());
  for (std::size_t place = reads_.size(); place-- > 0;) {
    const auto count = static_cast<std::ptrdiff_t>(counts_[place]);
    std::map<std::vector<State>, State> numbers;
    std::vector<State> before;
    for (auto after = states.begin(); after != states.end(); after += count) {
      const std::vector<State> children(after, after + count);
      const bool refused = std::all_of(after, after + count, [](State s) { return s == kRefused; });
      if (refused && place > 0) {
        before.push_back(kRefused);
        continue;
      }
      const auto [number, added] = numbers.try_emplace(children, numbers.size());
      if (added) next_[place].insert(next_[place].end(), children.begin(), children.end());
      before.push_back(number->second);
    }
    states = std::move(before);
  }
}

}  // namespace fcsa::tuner
