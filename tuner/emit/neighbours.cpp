#include "tuner/emit/neighbours.h"

#include <algorithm>
#include <utility>

namespace fcsa::tuner {
namespace {

using kernels::Family;
using kernels::Op;
using kernels::Problem;
using kernels::Softmax;
using kernels::Target;
using kernels::Traits;

// Beyond every fixed bound: what makes a problem take the running maximum.
constexpr float kLargeScale = 1000.0f;

bool has_bias_or_head_scale(const Traits& traits) {
  return traits.bias != kernels::Bias::none || traits.head_scale;
}

bool serves(const Family& family, const Problem& problem, const Target& target) {
  return family.tunable() && family.unsupported(problem, target).empty();
}

bool valid(const EmittedVariant& v, const Problem& problem, const Target& target) {
  return serves(*v.family, problem, target) &&
         kernels::invalid_reason(*v.family, problem, v.configuration, target).empty();
}

// Without a family when none serves the problem.
EmittedVariant first_baseline(const Problem& problem, const Target& target) {
  for (const auto& family : kernels::families())
    if (serves(*family, problem, target))
      return {family.get(), kernels::traits_of(problem), family->baseline(problem, target), problem};
  return {};
}

// The wish where it is valid for the problem, or with one parameter at its default; else a family's baseline.
// Without a family when none serves the problem.
EmittedVariant adapt(const EmittedVariant& wish, const Problem& problem, const Target& target) {
  const Traits traits = kernels::traits_of(problem);
  EmittedVariant variant{wish.family, traits, wish.configuration, problem};
  if (valid(variant, problem, target)) return variant;
  const auto parameters = wish.family->parameters(problem.op);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    variant.configuration = wish.configuration;
    variant.configuration.values.at(i).second = parameters[i].default_value;
    if (valid(variant, problem, target)) return variant;
  }
  if (serves(*wish.family, problem, target))
    return {wish.family, traits, wish.family->baseline(problem, target), problem};
  return first_baseline(problem, target);
}

// What a header serves next to a tuned problem: every head dim and dtype that was tuned, causal or not,
// masked or not; with the fixed bound and the running maximum, and raw q and k. With a bias or a scale per
// head, just what was tuned, and without the bound that its caller may have stated.
std::vector<Traits> neighbours(const Traits& tuned) {
  std::vector<Traits> list;
  if (has_bias_or_head_scale(tuned)) {
    list.push_back(tuned);
    list.back().softmax = Softmax::running_maximum;
    return list;
  }
  for (const bool causal : {false, true})
    for (const bool key_mask : {false, true})
      for (const auto& [l2norm, softmax] : {std::pair{true, Softmax::fixed_bound},
                                            {true, Softmax::running_maximum},
                                            {false, Softmax::running_maximum}}) {
        Traits traits = tuned;
        traits.causal = causal;
        traits.key_mask = key_mask;
        traits.l2norm_qk = l2norm;
        traits.softmax = softmax;
        list.push_back(traits);
      }
  return list;
}

// All that a class next to a tuned one may be asked for.
Demands every_demand(Op op, const Traits& traits) {
  if (op == Op::forward) return {};
  return {.bias_gradient = traits.bias != kernels::Bias::none, .scale_gradient = true, .deterministic = true};
}

int distance(const Traits& a, const Traits& b) {
  return 8 * (a.causal != b.causal) + 4 * (a.softmax != b.softmax) + 2 * (a.l2norm_qk != b.l2norm_qk) +
         (a.key_mask != b.key_mask);
}

// Whether they differ in nothing but what neighbours() goes through.
bool same_base(const Traits& a, Traits b) {
  b.causal = a.causal;
  b.key_mask = a.key_mask;
  b.l2norm_qk = a.l2norm_qk;
  b.softmax = a.softmax;
  return a == b;
}

const EmittedClass& nearest_tuned(const EmitPlan& plan, Op op, const Traits& traits) {
  const EmittedClass* nearest = nullptr;
  for (std::size_t i = 0; i < plan.tuned_classes; ++i) {
    const EmittedClass& c = plan.classes[i];
    if (c.op != op || !same_base(c.traits, traits)) continue;
    if (!nearest || distance(c.traits, traits) < distance(nearest->traits, traits)) nearest = &c;
  }
  return *nearest;
}

// A problem of the class, with the sizes of another.
Problem with_class(Problem problem, const EmittedClass& c) {
  const Traits& traits = c.traits;
  problem.bias_gradient = c.demands.bias_gradient;
  problem.scale_gradient = c.demands.scale_gradient;
  problem.deterministic = c.demands.deterministic;
  problem = kernels::with_traits(problem, traits);
  problem.logit_bound.reset();
  if (traits.softmax == Softmax::running_maximum)
    problem.scale = kLargeScale;
  else if (!traits.l2norm_qk || has_bias_or_head_scale(traits))
    problem.logit_bound = 1.0f;
  else
    problem.scale = 1.0f;
  return problem;
}

const Problem& largest_problem(const EmittedClass& c) {
  return std::max_element(c.shapes.begin(), c.shapes.end(),
                          [](const auto& a, const auto& b) {
                            return kernels::flops(a.problem) < kernels::flops(b.problem);
                          })
      ->problem;
}

// The donor's configuration, fitted; or the baseline, where that was tuned for other hardware.
EmittedVariant untuned_variant(const EmitPlan& donors, const EmittedClass& donor, const Problem& problem,
                               const Target& target, bool same_hardware) {
  const EmittedVariant& wish = donors.variants[donor.default_variant];
  if (same_hardware) return adapt(wish, problem, target);
  if (serves(*wish.family, problem, target))
    return {wish.family, kernels::traits_of(problem), wish.family->baseline(problem, target), problem};
  return first_baseline(problem, target);
}

bool has_class(const EmitPlan& plan, const EmittedClass& wanted) {
  return std::any_of(plan.classes.begin(), plan.classes.end(), [&](const EmittedClass& c) {
    return c.op == wanted.op && c.traits == wanted.traits && serves(plan, c, wanted.demands);
  });
}

// Adds a class that has one configuration and serves every demand; nothing where there is one already, or no
// family serves it.
void add_untuned(EmitPlan& plan, const EmitPlan& donors, Op op, const Traits& traits, const Target& target,
                 bool same_hardware) {
  EmittedClass added{.op = op, .traits = traits, .demands = every_demand(op, traits)};
  if (has_class(plan, added)) return;
  const EmittedClass& donor = nearest_tuned(donors, op, traits);
  const Problem problem = with_class(largest_problem(donor), added);
  EmittedVariant variant = untuned_variant(donors, donor, problem, target, same_hardware);
  if (!variant.family) return;
  added.default_variant = add_variant(plan, std::move(variant), target);
  plan.classes.push_back(std::move(added));
}

}  // namespace

void add_neighbours(EmitPlan& plan, const Target& target) {
  for (std::size_t i = 0; i < plan.tuned_classes; ++i) {
    const Traits tuned = plan.classes[i].traits;
    for (const Traits& traits : neighbours(tuned))
      add_untuned(plan, plan, plan.classes[i].op, traits, target, true);
  }
}

EmitPlan plan_fallback(const EmitPlan& tuned, const Target& target) {
  EmitPlan plan;
  plan.multiprocessors = tuned.multiprocessors;
  const auto add = [&](const EmittedClass& c) {
    Traits traits = c.traits;
    traits.softmax = Softmax::running_maximum;
    add_untuned(plan, tuned, c.op, traits, target, false);
  };
  for (std::size_t i = 0; i < tuned.tuned_classes; ++i) add(tuned.classes[i]);
  plan.tuned_classes = plan.classes.size();
  plan.tuned_variants = plan.variants.size();
  for (const auto& c : tuned.classes) add(c);
  return plan;
}

}  // namespace fcsa::tuner
