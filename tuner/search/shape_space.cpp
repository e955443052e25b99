#include "tuner/search/shape_space.h"

#include <utility>

namespace fcsa::tuner {

ShapeSpace::ShapeSpace(const Space& space, kernels::Problem problem, kernels::Target target)
    : space_(&space), problem_(std::move(problem)), target_(std::move(target)) {
  for (auto& rule : space.family().constraints(problem_.op))
    if (rule.kind == kernels::RuleKind::worth_here) rules_.emplace_back(std::move(rule), space.parameters());
}

bool ShapeSpace::holds(std::size_t position) const {
  if (rules_.empty()) return true;
  const auto digits = space_->digits(position);
  const auto configuration = space_->at(position);
  for (auto& rule : rules_)
    if (!rule.holds(problem_, configuration, target_, {digits.begin(), digits.end()})) return false;
  return true;
}

std::vector<std::size_t> ShapeSpace::neighbours(std::size_t position, bool any_step) const {
  auto found = space_->neighbours(position, any_step);
  std::erase_if(found, [&](std::size_t neighbour) { return !holds(neighbour); });
  return found;
}

}  // namespace fcsa::tuner
