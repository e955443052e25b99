// Problems that differ from a given one in one field: what a test needs to see that none is forgotten.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/problem.h"

namespace fcsa::kernels {

struct ChangedProblem {
  std::string field;
  Scope scope = Scope::kind;
  Problem problem;
};

// A backward problem that stays valid whichever field is changed.
inline Problem problem_with_everything() {
  Problem p;
  p.op = Op::backward, p.batch = 4, p.heads = 4, p.kv_heads = 2, p.nq = 100, p.nk = 200;
  p.bias = Bias::same, p.bias_batch = 2, p.bias_heads = 1;
  return p;
}

inline std::vector<bool> others(bool value) {
  return {!value};
}
inline std::vector<int> others(int value) {
  return {2 * value, 0, 1};
}
inline std::vector<float> others(float value) {
  return {value + 0.5f};
}
inline std::vector<OptionalFloat> others(const OptionalFloat& value) {
  return {value.value_or(8) + 0.25f};
}
template <typename Enum>
std::vector<Enum> others(Enum) {
  return {static_cast<Enum>(0), static_cast<Enum>(1), static_cast<Enum>(2)};
}

inline bool is_valid(const Problem& problem) {
  try {
    validate(problem);
    return true;
  } catch (const std::invalid_argument&) {
    return false;
  }
}

// One for each field that visit_problem() lists.
inline std::vector<ChangedProblem> changed_problems(const Problem& base) {
  std::vector<ChangedProblem> changed;
  visit_problem(
      [&](const auto& field, const auto& value) {
        for (const auto other : others(value)) {
          Problem problem = base;
          visit_problem(
              [&](const auto& candidate, auto& target) {
                if constexpr (std::is_same_v<decltype(candidate), decltype(field)>)
                  if (candidate.name == std::string(field.name)) target = other;
              },
              problem);
          if (problem == base || !is_valid(problem)) continue;
          changed.push_back({field.name, field.scope, problem});
          return;
        }
        throw std::logic_error(std::string("no other value of ") + field.name);
      },
      base);
  return changed;
}

}  // namespace fcsa::kernels
