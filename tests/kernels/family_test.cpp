// What holds for every family of the build.
#include "kernels/family.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <stdexcept>
#include <utility>

#include "tests/kernels/changed_problems.h"

namespace fcsa::kernels {
namespace {

std::vector<Problem> problems() {
  std::vector<Problem> list;
  for (DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (int head_dim : {16, 32, 64, 80, 96, 128})
      for (bool causal : {false, true})
        for (bool mask : {false, true}) {
          Problem p;
          p.dtype = dtype, p.head_dim = head_dim, p.causal = causal, p.key_mask = mask;
          p.batch = 2, p.heads = 4, p.kv_heads = 2, p.nq = 300, p.nk = 500;
          list.push_back(p);
        }
  return list;
}

std::vector<Target> targets(DeviceKind kind) {
  std::vector<Target> list;
  if (kind == DeviceKind::cuda)
    for (const char* arch : {"sm_75", "sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120a"})
      list.push_back(target_for_arch(arch));
  else
    for (const char* arch : {"avx512", "avx2", "generic"}) list.push_back(target_for_arch(arch));
  return list;
}

TEST(EveryFamily, HasAValidBaselineForEveryProblemAndTargetItServes) {
  for (const auto& family : families())
    for (const Target& target : targets(family->device_kind()))
      for (const Problem& problem : problems()) {
        if (!family->unsupported(problem, target).empty()) continue;
        const Configuration baseline = family->baseline(problem, target);
        EXPECT_EQ(invalid_reason(*family, problem, baseline, target), "")
            << to_text(*family, problem.op, baseline) << " on " << target.arch << " for " << to_text(problem);
      }
}

// Any value of each parameter, however unlikely together.
Configuration random_configuration(const Family& family, Op op, std::mt19937& random) {
  Configuration configuration{kernel_name(family, op), {}};
  for (const auto& parameter : family.parameters(op))
    configuration.values.emplace_back(parameter.name, parameter.values[random() % parameter.values.size()]);
  return configuration;
}

Problem with_other_sizes(Problem problem, std::mt19937& random) {
  const auto size = [&](int most) { return 1 + static_cast<int>(random() % static_cast<unsigned>(most)); };
  problem.nq = size(9000), problem.nk = size(9000), problem.batch = size(16), problem.kv_heads = size(8);
  problem.heads = problem.kv_heads * size(4);
  problem.bias_batch = problem.bias_heads = 0;
  problem.layout = random() % 2 ? Layout::bhnd : Layout::bnhd;
  return problem;
}

// What one shape of a class may be given, every other may be given too, so that a space is enumerated once.
TEST(EveryFamily, HasRulesOfKindsMustAndWorthThatSayTheSameOfAllShapesOfAClass) {
  std::mt19937 random(5);
  for (const auto& family : families())
    for (const Target& target : targets(family->device_kind()))
      for (Problem problem : problems())
        for (const Op op : {Op::forward, Op::backward}) {
          problem.op = op;
          if (random() % 4 != 0 || !family->unsupported(problem, target).empty()) continue;
          const Problem other = with_other_sizes(problem, random);
          for (const auto& rule : family->constraints(op)) {
            if (rule.kind == RuleKind::worth_here) continue;
            const auto configuration = random_configuration(*family, op, random);
            EXPECT_EQ(rule.holds(problem, configuration, target), rule.holds(other, configuration, target))
                << family->name() << ": " << rule.reason << ", " << to_text(*family, op, configuration)
                << " for " << to_text(problem) << " and " << to_text(other);
          }
        }
}

TEST(Families, LeaveNoProblemWithoutOneThatIsTunedOrWithoutAYardstick) {
  for (const DeviceKind kind : {DeviceKind::cpu, DeviceKind::cuda})
    for (const Target& target : targets(kind))
      for (const Problem& problem : problems())
        for (const bool tunable : {false, true})
          EXPECT_TRUE(std::any_of(families().begin(), families().end(),
                                  [&](const auto& family) {
                                    return family->tunable() == tunable &&
                                           family->unsupported(problem, target).empty();
                                  }))
              << (tunable ? "tuned on " : "yardstick on ") << target.arch << " for " << to_text(problem);
}

TEST(EveryFamily, RefusesTheOtherKindOfDeviceAndSaysWhy) {
  for (const auto& family : families()) {
    const bool cuda = family->device_kind() == DeviceKind::cuda;
    EXPECT_NE(family->unsupported(problems()[0], target_for_arch(cuda ? "generic" : "sm_90a")), "");
  }
}

TEST(EveryFamily, HasAscendingDistinctParameterValuesThatContainTheDefault) {
  for (const auto& family : families())
    for (const Parameter& parameter : family->parameters(Op::forward)) {
      const std::set<int> distinct(parameter.values.begin(), parameter.values.end());
      EXPECT_TRUE(std::is_sorted(parameter.values.begin(), parameter.values.end())) << parameter.name;
      EXPECT_EQ(distinct.size(), parameter.values.size()) << family->name() << " " << parameter.name;
      EXPECT_TRUE(distinct.contains(parameter.default_value)) << family->name() << " " << parameter.name;
    }
}

// Where one does not say so, the space that is searched depends on what was looked at before: the fastest
// configurations of wgmma for 128 channels were missing from it.
TEST(EveryFamily, NamesAllParametersThatAConstraintReads) {
#if defined(__SANITIZE_ADDRESS__)
  constexpr int kConfigurations = 2;
#else
  constexpr int kConfigurations = 10;
#endif
  std::mt19937 random(7);
  const auto any_of = [&](const std::vector<int>& values) { return values[random() % values.size()]; };
  for (const auto& family : families())
    for (const Target& target : targets(family->device_kind()))
      for (Problem problem : problems())
        for (const Op op : {Op::forward, Op::backward}) {
          problem.op = op;
          if (!family->unsupported(problem, target).empty()) continue;
          const auto parameters = family->parameters(op);
          const auto constraints = family->constraints(op);
          for (int i = 0; i < kConfigurations; ++i) {
            Configuration some = family->baseline(problem, target);
            for (std::size_t k = 0; k < parameters.size(); ++k)
              some.values[k].second = any_of(parameters[k].values);
            for (const Constraint& constraint : constraints) {
              if (constraint.reads.empty()) continue;
              const bool holds = constraint.holds(problem, some, target);
              for (std::size_t k = 0; k < parameters.size(); ++k) {
                const auto& reads = constraint.reads;
                if (std::find(reads.begin(), reads.end(), parameters[k].name) != reads.end()) continue;
                Configuration other = some;
                other.values[k].second = any_of(parameters[k].values);
                EXPECT_EQ(constraint.holds(problem, other, target), holds)
                    << constraint.reason << " does not say that it reads " << parameters[k].name << ": "
                    << to_text(*family, op, other) << " on " << target.arch << " for " << to_text(problem);
              }
            }
          }
        }
}

TEST(EveryFamily, PlansWithinWhatItsConstraintsPromise) {
  for (const auto& family : families())
    for (const Target& target : targets(family->device_kind()))
      for (const Problem& problem : problems()) {
        if (!family->unsupported(problem, target).empty()) continue;
        const LaunchPlan plan =
            family->plan(traits_of(problem), family->baseline(problem, target), shape_args(problem));
        ASSERT_GE(plan.count, 1);
        ASSERT_LE(plan.map_count, TensorMaps::kMost);
        const auto kernels = family->kernel_template(problem.op).kernels.size();
        for (int i = 0; i < plan.count; ++i) {
          EXPECT_LT(static_cast<std::size_t>(plan.steps[i].kernel), kernels);
          EXPECT_GE(plan.steps[i].grid_x, 1u);
          if (target.kind != DeviceKind::cuda) continue;
          EXPECT_LE(plan.steps[i].threads, static_cast<unsigned>(target.max_threads_per_block));
          EXPECT_LE(plan.steps[i].smem_bytes, target.smem_per_block_bytes);
        }
      }
}

TEST(EveryFamily, ComputesNothingWhereThereIsNothing) {
  for (const auto& family : families())
    for (const auto& target : targets(family->device_kind()))
      for (const Op op : {Op::forward, Op::backward})
        for (Problem p : problems()) {
          p.op = op;
          if (!family->unsupported(p, target).empty()) continue;
          const auto baseline = family->baseline(p, target);
          for (int* size : {&p.nq, &p.nk, &p.batch}) {
            const int before = std::exchange(*size, 0);
            const auto plan = family->plan(traits_of(p), baseline, shape_args(p));
            EXPECT_TRUE(plan.nothing.to_compute) << family->name() << " " << to_text(p);
            EXPECT_EQ(plan.count, 0) << family->name() << " " << to_text(p);
            *size = before;
          }
        }
}

TEST(EveryFamily, SourceIsSelfContainedAndInstantiatesEveryKernel) {
  for (const auto& family : families()) {
    const Problem problem = problems()[0];
    const Target target = targets(family->device_kind())[0];
    const KernelSource source = family->source(problem, family->baseline(problem, target));
    EXPECT_EQ(source.text.find("#include \""), std::string::npos) << family->name();
    EXPECT_EQ(source.text.find("#pragma once"), std::string::npos) << family->name();
    EXPECT_EQ(source.entries.size(), family->kernel_template(Op::forward).kernels.size());
  }
}

TEST(Families, AreFoundByNameAndByTheTextOfAConfiguration) {
  EXPECT_EQ(&family_of_kernel("simt.forward{warps=8}"), &family_named("simt"));
  EXPECT_THROW(family_named("nope"), std::invalid_argument);
  EXPECT_EQ(op_of_kernel("simt.forward{warps=8}"), Op::forward);
  EXPECT_EQ(op_of_kernel("simt.backward"), Op::backward);
  EXPECT_THROW(op_of_kernel("simt"), std::invalid_argument);
  EXPECT_THROW(op_of_kernel("simt{a.forward=1}"), std::invalid_argument);
}

TEST(Families, ReadTheTextOfAConfiguration) {
  const Kernel kernel = parse_kernel("simt.backward{}");
  EXPECT_EQ(kernel.family, &family_named("simt"));
  EXPECT_EQ(kernel.op, Op::backward);
  EXPECT_EQ(to_text(*kernel.family, kernel.op, kernel.configuration), "simt.backward{}");
  EXPECT_EQ(parse_kernel("simt.forward{warps=8}").configuration.at("warps"), 8);
  for (const char* unknown :
       {"nope.forward{}", "simt.sideways{}", "simt.forward{nope=1}", "simt.forward{warps"})
    EXPECT_THROW(parse_kernel(unknown), std::invalid_argument) << unknown;
}

TEST(FlattenedSource, InlinesEveryFileOnceAndHonoursWhatIsIncludedAlready) {
  const std::string text = flattened_source("kernels/simt/forward.cuh");
  const std::string traits = "struct Traits {";
  const auto first = text.find(traits);
  ASSERT_NE(first, std::string::npos);
  EXPECT_EQ(text.find(traits, first + 1), std::string::npos);
  std::set<std::string> included = {"kernels/common/interface.h"};
  EXPECT_EQ(flattened_source("kernels/simt/forward.cuh", included).find(traits), std::string::npos);
  EXPECT_TRUE(included.contains("kernels/simt/config.h"));
  EXPECT_THROW(flattened_source("kernels/none.cuh"), std::out_of_range);
}

TEST(Literals, SpellCompileTimeValues) {
  Traits traits;
  traits.dtype = DType::f16, traits.causal = true;
  EXPECT_EQ(
      traits_literal(traits),
      "fcsa::kernels::Traits{.dtype=fcsa::kernels::DType::f16,.head_dim=64,.causal=true,.key_mask=false,"
      ".bias=fcsa::kernels::Bias::none,.head_scale=false,.l2norm_qk=true,.groups=1,"
      ".tf32=false,.softmax=fcsa::kernels::Softmax::fixed_bound}");
  EXPECT_EQ(config_literal("Toy", {"toy.forward", {{"a", 1}, {"b", -2}}}), "Toy{.a=1,.b=-2}");
}

TEST(Literals, TellTraitsApartThatDifferInAnyMember) {
  const Problem base = problem_with_everything();
  for (const auto& [field, scope, problem] : changed_problems(base))
    EXPECT_EQ(traits_literal(traits_of(problem)) == traits_literal(traits_of(base)),
              traits_of(problem) == traits_of(base))
        << field;
}

}  // namespace
}  // namespace fcsa::kernels
