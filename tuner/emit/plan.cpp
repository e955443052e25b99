#include "tuner/emit/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <stdexcept>

#include "tuner/emit/neighbours.h"

namespace fcsa::tuner {
namespace {

using kernels::Family;
using kernels::Problem;
using kernels::Traits;

// The configuration that serves the most shapes; of equals the one with the larger problems.
std::size_t most_used(const std::vector<EmittedShape>& shapes) {
  std::map<std::size_t, std::pair<int, double>> uses;
  for (const auto& shape : shapes) {
    auto& [count, flops] = uses[shape.variant];
    ++count;
    flops += kernels::flops(shape.problem);
  }
  return std::max_element(uses.begin(), uses.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

// The class of the same problems; added where it isn't among those of the plan.
EmittedClass& class_like(EmitPlan& plan, const EmittedClass& like) {
  for (auto& c : plan.classes)
    if (c.op == like.op && c.traits == like.traits && c.demands == like.demands) return c;
  plan.classes.push_back(like);
  return plan.classes.back();
}

// In f32 a bias of the tensors' type is one in f32: headers know it by one name.
Problem emitted_problem(Problem problem) {
  if (problem.dtype == kernels::DType::f32 && problem.bias == kernels::Bias::f32)
    problem.bias = kernels::Bias::same;
  return problem;
}

// A shape that a configuration was chosen for.
const Problem& shape_of(const DispatchClass& c, std::size_t configuration) {
  const auto entry = std::find_if(c.entries.begin(), c.entries.end(),
                                  [&](const auto& e) { return e.choice == configuration; });
  return (entry != c.entries.end() ? *entry : c.entries.front()).problem;
}

Demands demands_of(const Problem& problem) {
  return {problem.bias_gradient, problem.scale_gradient, problem.deterministic};
}

void note_what_it_serves(EmittedVariant& variant, const kernels::Target& target) {
  Problem problem = variant.problem;
  for (const bool deterministic : {false, true})
    for (const bool bias_gradient : {false, true}) {
      problem.deterministic = deterministic;
      problem.bias_gradient = bias_gradient;
      variant.serves[demands_of(problem).index()] =
          kernels::misfit(*variant.family, problem, variant.configuration, target).empty();
    }
}

// Classes that differ in scale only share kernels, hence traits.
void add_tuned(EmitPlan& plan, const DispatchClass& from, const kernels::Target& target) {
  const Problem problem = emitted_problem(from.entries.front().problem);
  const Traits traits = kernels::traits_of(problem);
  EmittedClass& to = class_like(plan, {.op = problem.op, .traits = traits, .demands = demands_of(problem)});
  to.tuned_as.push_back(from.class_text);
  to.worst_regret = std::max(to.worst_regret, from.worst_regret);
  const std::size_t first = to.candidates.size(), count = from.configurations.size();
  for (std::size_t i = 0; i < count; ++i) {
    auto kernel = kernels::parse_kernel(from.configurations[i]);
    const std::size_t variant = add_variant(plan,
                                            {kernel.family, traits, std::move(kernel.configuration),
                                             emitted_problem(shape_of(from, i)), from.class_text},
                                            target);
    to.candidates.push_back({variant, from.rule.models.at(i)});
  }
  for (auto& shape : to.shapes) shape.corrections.resize(first + count, kernels::kNotMeasured);
  for (std::size_t i = 0; i < from.entries.size(); ++i) {
    const DispatchEntry& entry = from.entries[i];
    std::vector<float> corrections(first, kernels::kNotMeasured);
    for (std::size_t j = 0; j < count; ++j) corrections.push_back(from.rule.corrections.at(i * count + j));
    to.shapes.push_back({entry.problem, to.candidates[first + entry.choice].variant, entry.chosen_ms,
                         entry.best_ms, entry.baseline_ms, from.rule.positions.at(i),
                         std::move(corrections)});
  }
}

}  // namespace

bool has_op(const EmitPlan& plan, kernels::Op op) {
  return std::any_of(plan.classes.begin(), plan.classes.end(), [op](const auto& c) { return c.op == op; });
}

bool serves(const EmitPlan& plan, const EmittedClass& c, const Demands& demands) {
  const auto one_serves = [&](std::size_t variant) { return plan.variants[variant].serves[demands.index()]; };
  return one_serves(c.default_variant) &&
         std::all_of(c.candidates.begin(), c.candidates.end(),
                     [&](const EmittedCandidate& candidate) { return one_serves(candidate.variant); });
}

std::size_t add_variant(EmitPlan& plan, EmittedVariant variant, const kernels::Target& target) {
  for (std::size_t i = 0; i < plan.variants.size(); ++i) {
    const EmittedVariant& other = plan.variants[i];
    if (other.family == variant.family && other.traits == variant.traits &&
        other.configuration == variant.configuration)
      return i;
  }
  note_what_it_serves(variant, target);
  plan.variants.push_back(std::move(variant));
  return plan.variants.size() - 1;
}

EmitPlan plan_emission(const DispatchTable& table, Serve serve) {
  EmitPlan plan;
  plan.multiprocessors = table.device.target.multiprocessors;
  for (const auto& c : table.classes) add_tuned(plan, c, table.device.target);
  if (plan.classes.empty())
    throw std::runtime_error(
        fmt::format("nothing to emit for {}: the dispatch table has no classes; run `fcsa tune` first",
                    table.device.name));
  for (auto& c : plan.classes) c.default_variant = most_used(c.shapes);
  plan.tuned_classes = plan.classes.size();
  plan.tuned_variants = plan.variants.size();
  if (serve == Serve::neighbours) add_neighbours(plan, table.device.target);
  return plan;
}

}  // namespace fcsa::tuner
