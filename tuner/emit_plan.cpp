#include "tuner/emit_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <stdexcept>

namespace fcsa::tuner {
namespace {

using kernels::Configuration;
using kernels::Family;
using kernels::Problem;
using kernels::Softmax;
using kernels::Target;
using kernels::Traits;

// Beyond every fixed bound: what makes a problem take the running maximum.
constexpr float kLargeScale = 1000.0f;

std::string why_left_out(const DispatchClass& c) {
  if (c.entries.empty()) return "nothing was tuned";
  if (c.entries.front().problem.op != kernels::Op::forward) return "headers have the forward pass only";
  return {};
}

Configuration parse(const Family& family, const std::string& text) {
  return kernels::configuration_from_text(text, kernels::kernel_name(family, kernels::Op::forward),
                                          family.parameters(kernels::Op::forward));
}

std::size_t add_variant(EmitPlan& plan, EmittedVariant variant) {
  for (std::size_t i = 0; i < plan.variants.size(); ++i) {
    const EmittedVariant& other = plan.variants[i];
    if (other.family == variant.family && other.traits == variant.traits &&
        other.configuration == variant.configuration)
      return i;
  }
  plan.variants.push_back(std::move(variant));
  return plan.variants.size() - 1;
}

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

EmittedClass& class_with(EmitPlan& plan, const Traits& traits) {
  for (auto& c : plan.classes)
    if (c.traits == traits) return c;
  plan.classes.push_back({.traits = traits});
  return plan.classes.back();
}

// In f32 a bias of the tensors' type is one in f32: headers know it by one name.
Problem emitted_problem(Problem problem) {
  if (problem.dtype == kernels::DType::f32 && problem.bias == kernels::Bias::f32)
    problem.bias = kernels::Bias::same;
  return problem;
}

bool has_bias_or_head_scale(const Traits& traits) {
  return traits.bias != kernels::Bias::none || traits.head_scale;
}

// A shape that a configuration was chosen for.
const Problem& shape_of(const DispatchClass& c, std::size_t configuration) {
  const auto entry = std::find_if(c.entries.begin(), c.entries.end(),
                                  [&](const auto& e) { return e.choice == configuration; });
  return (entry != c.entries.end() ? *entry : c.entries.front()).problem;
}

// Classes that differ in scale only share kernels, hence traits.
void add_tuned(EmitPlan& plan, const DispatchClass& from) {
  const Traits traits = kernels::traits_of(emitted_problem(from.entries.front().problem));
  EmittedClass& to = class_with(plan, traits);
  to.tuned_as.push_back(from.class_text);
  to.worst_regret = std::max(to.worst_regret, from.worst_regret);
  const std::size_t first = to.candidates.size(), count = from.configurations.size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::string& text = from.configurations[i];
    const Family& family = kernels::family_of_kernel(text);
    const std::size_t variant = add_variant(
        plan, {&family, traits, parse(family, text), emitted_problem(shape_of(from, i)), from.class_text});
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

int distance(const Traits& a, const Traits& b) {
  return 8 * (a.causal != b.causal) + 4 * (a.softmax != b.softmax) + 2 * (a.l2norm_qk != b.l2norm_qk) +
         (a.key_mask != b.key_mask);
}

bool same_base(const Traits& a, const Traits& b) {
  return a.dtype == b.dtype && a.head_dim == b.head_dim && a.groups == b.groups && a.bias == b.bias &&
         a.head_scale == b.head_scale && a.tf32 == b.tf32;
}

const EmittedClass& nearest_tuned(const EmitPlan& plan, const Traits& traits) {
  const EmittedClass* nearest = nullptr;
  for (std::size_t i = 0; i < plan.tuned_classes; ++i) {
    const EmittedClass& c = plan.classes[i];
    if (!same_base(c.traits, traits)) continue;
    if (!nearest || distance(c.traits, traits) < distance(nearest->traits, traits)) nearest = &c;
  }
  return *nearest;
}

// A problem of the class `traits`, with the sizes of another.
Problem with_traits(Problem problem, const Traits& traits) {
  problem.causal = traits.causal;
  problem.key_mask = traits.key_mask;
  problem.l2norm_qk = traits.l2norm_qk;
  problem.bias = traits.bias;
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

// Adds a class that has one configuration; or nothing when no family serves it.
void add_untuned(EmitPlan& plan, const EmitPlan& donors, const Traits& traits, const Target& target,
                 bool same_hardware) {
  const EmittedClass& donor = nearest_tuned(donors, traits);
  const Problem problem = with_traits(largest_problem(donor), traits);
  EmittedVariant variant = untuned_variant(donors, donor, problem, target, same_hardware);
  if (!variant.family) return;
  plan.classes.push_back({.traits = traits, .default_variant = add_variant(plan, std::move(variant))});
}

bool has_class(const EmitPlan& plan, const Traits& traits) {
  return std::any_of(plan.classes.begin(), plan.classes.end(),
                     [&](const auto& c) { return c.traits == traits; });
}

}  // namespace

bool is_emitted(const DispatchClass& c) {
  return why_left_out(c).empty();
}

EmitPlan plan_emission(const DispatchTable& table, Serve serve) {
  EmitPlan plan;
  plan.multiprocessors = table.device.target.multiprocessors;
  for (const auto& c : table.classes) {
    const std::string reason = why_left_out(c);
    if (reason.empty())
      add_tuned(plan, c);
    else
      plan.left_out.push_back(fmt::format("{}: {}", c.class_text, reason));
  }
  if (plan.classes.empty())
    throw std::runtime_error(
        fmt::format("nothing to emit for {}: the dispatch table has no class that a header can "
                    "serve{}{}; run `fcsa tune` first",
                    table.device.name, plan.left_out.empty() ? "" : " - ", fmt::join(plan.left_out, "; ")));
  for (auto& c : plan.classes) c.default_variant = most_used(c.shapes);
  plan.tuned_classes = plan.classes.size();
  plan.tuned_variants = plan.variants.size();
  if (serve == Serve::tuned) return plan;
  for (std::size_t i = 0; i < plan.tuned_classes; ++i) {
    const Traits tuned = plan.classes[i].traits;
    for (const Traits& traits : neighbours(tuned))
      if (!has_class(plan, traits)) add_untuned(plan, plan, traits, table.device.target, true);
  }
  return plan;
}

EmitPlan plan_fallback(const EmitPlan& tuned, const Target& target) {
  EmitPlan plan;
  plan.multiprocessors = tuned.multiprocessors;
  const auto add = [&](Traits traits) {
    traits.softmax = Softmax::running_maximum;
    if (!has_class(plan, traits)) add_untuned(plan, tuned, traits, target, false);
  };
  for (std::size_t i = 0; i < tuned.tuned_classes; ++i) add(tuned.classes[i].traits);
  plan.tuned_classes = plan.classes.size();
  plan.tuned_variants = plan.variants.size();
  for (const auto& c : tuned.classes) add(c.traits);
  return plan;
}

}  // namespace fcsa::tuner
