// What of the space of a class is worth trying for one of its shapes.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "tuner/search/rule_answers.h"
#include "tuner/search/space.h"

namespace fcsa::tuner {

// Filters the space as it is drawn from, by the rules of kind worth_here: positions are those of the class's
// space, which is enumerated once. The space must outlive it.
class ShapeSpace {
 public:
  ShapeSpace(const Space& space, kernels::Problem problem, kernels::Target target);

  const Space& of_class() const { return *space_; }
  bool holds(std::size_t position) const;
  // Those of Space::neighbours() that it holds.
  std::vector<std::size_t> neighbours(std::size_t position, bool any_step) const;
  // The first that it holds from a position on, around the end, and for which wanted(position); none if there
  // is none.
  template <typename Wanted>
  std::optional<std::size_t> next_from(std::size_t position, const Wanted& wanted) const {
    for (std::size_t i = 0; i < space_->size(); ++i) {
      const std::size_t at = (position + i) % space_->size();
      if (wanted(at) && holds(at)) return at;
    }
    return std::nullopt;
  }

 private:
  const Space* space_;
  kernels::Problem problem_;
  kernels::Target target_;
  mutable std::vector<RuleAnswers> rules_;  // remember what they said
};

}  // namespace fcsa::tuner
