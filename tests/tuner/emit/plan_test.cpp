#include "tuner/emit/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <iterator>

#include "tests/tuner/emit/sample_tables.h"

namespace fcsa::tuner {
namespace {

using kernels::DType;
using kernels::Problem;
using kernels::Softmax;

TEST(EmitPlan, TunedClassesKeepTheirConfigurationsAndShapes) {
  const DispatchTable table = simt_table("sm_90a");
  const EmitPlan plan = plan_emission(table);
  ASSERT_EQ(plan.tuned_classes, table.classes.size());
  EXPECT_EQ(plan.tuned_variants, 4u);
  for (std::size_t i = 0; i < plan.tuned_classes; ++i) {
    ASSERT_EQ(plan.classes[i].shapes.size(), table.classes[i].entries.size());
    for (std::size_t j = 0; j < plan.classes[i].shapes.size(); ++j) {
      const EmittedVariant& variant = plan.variants[plan.classes[i].shapes[j].variant];
      EXPECT_EQ(kernels::to_text(*variant.family, variant.problem.op, variant.configuration),
                table.classes[i].configurations[table.classes[i].entries[j].choice]);
      EXPECT_EQ(variant.traits, table.classes[i].traits);
    }
  }
}

TEST(EmitPlan, ServesMasksCausalityAnyScaleAndRawInputsNextToWhatWasTuned) {
  const EmitPlan plan = plan_emission(cpu_table());
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    for (int bits = 0; bits < 12; ++bits) {
      kernels::Traits traits{.dtype = dtype, .head_dim = dtype == DType::f32 ? 64 : 32};
      traits.causal = bits % 2;
      traits.key_mask = bits / 2 % 2;
      traits.softmax = bits / 4 == 0 ? Softmax::fixed_bound : Softmax::running_maximum;
      traits.l2norm_qk = bits / 4 != 2;
      const auto found = std::count_if(plan.classes.begin(), plan.classes.end(),
                                       [&](const auto& c) { return c.traits == traits; });
      EXPECT_EQ(found, 1) << kernels::traits_literal(traits);
    }
  }
}

// Binaries are compiled for the problem of a variant.
TEST(EmitPlan, EveryConfigurationIsValidForItsProblem) {
  for (const auto& table :
       {simt_training_table("sm_90a"), simt_table("sm_75"), wgmma_training_table(), cpu_training_table()}) {
    for (const auto& v : plan_emission(table).variants) {
      ASSERT_EQ(kernels::traits_of(v.problem), v.traits) << kernels::to_text(v.problem);
      EXPECT_EQ(kernels::invalid_reason(*v.family, v.problem, v.configuration, table.device.target), "")
          << kernels::to_text(*v.family, v.problem.op, v.configuration);
    }
  }
}

std::vector<EmittedClass> classes_of(const EmitPlan& plan, kernels::Op op, const kernels::Traits& traits) {
  std::vector<EmittedClass> found;
  std::copy_if(plan.classes.begin(), plan.classes.end(), std::back_inserter(found),
               [&](const auto& c) { return c.op == op && c.traits == traits; });
  return found;
}

TEST(EmitPlan, ForwardAndBackwardOfEqualTraitsAreClassesOfTheirOwn) {
  const EmitPlan plan = plan_emission(simt_training_table("sm_80"));
  EXPECT_EQ(plan.tuned_classes, 3u);
  for (const kernels::Op op : {kernels::Op::forward, kernels::Op::backward}) {
    const auto found = classes_of(plan, op, {});
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found.front().shapes.size(), 4u);
    for (const auto& shape : found.front().shapes) EXPECT_EQ(plan.variants[shape.variant].problem.op, op);
  }
}

TEST(EmitPlan, ServesTheSameNextToATunedBackwardPassAsNextToAForwardPass) {
  const EmitPlan plan = plan_emission(simt_training_table("sm_80"));
  const auto count = [&](kernels::Op op) {
    return std::count_if(plan.classes.begin(), plan.classes.end(), [&](const auto& c) { return c.op == op; });
  };
  EXPECT_EQ(count(kernels::Op::forward), 12);
  EXPECT_EQ(count(kernels::Op::backward), 12);
}

TEST(EmitPlan, NothingOfABackwardPassIsInAPlanWithoutATunedOne) {
  EXPECT_FALSE(has_op(plan_emission(simt_table("sm_80")), kernels::Op::backward));
}

TEST(EmitPlan, KernelsThatHappenToBeDeterministicServeThatDemand) {
  const EmitPlan plan = plan_emission(simt_training_table("sm_80"));
  for (std::size_t i = 0; i < plan.tuned_classes; ++i) {
    EXPECT_FALSE(plan.classes[i].demands.deterministic);
    EXPECT_TRUE(serves(plan, plan.classes[i], {.deterministic = true}));
  }
}

TEST(EmitPlan, KernelsThatAreNotDeterministicHaveOneNextToThemThatIs) {
  const DispatchTable table = wgmma_training_table();
  const EmitPlan plan = plan_emission(table);
  const auto found = classes_of(plan, kernels::Op::backward, table.classes.front().traits);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_FALSE(serves(plan, found[0], {.deterministic = true})) << "tuned with atomics";
  EXPECT_TRUE(serves(plan, found[1], {.deterministic = true}));
  const EmittedVariant& v = plan.variants[found[1].default_variant];
  EXPECT_TRUE(v.problem.deterministic);
  EXPECT_EQ(kernels::invalid_reason(*v.family, v.problem, v.configuration, table.device.target), "");
}

TEST(EmitPlan, ClassesThatDifferOnlyInScaleShareKernels) {
  DispatchTable table = simt_table("sm_80");
  DispatchClass other = table.classes.front();
  other.class_text = "forward f32 d64 scale=10";
  for (auto& entry : other.entries) entry.problem.scale = 10.0f, entry.problem.nq *= 2;
  table.classes.push_back(other);
  const EmitPlan plan = plan_emission(table);
  EXPECT_EQ(plan.tuned_classes, 2u);
  EXPECT_EQ(plan.tuned_variants, 4u);
  EXPECT_EQ(plan.classes.front().shapes.size(), 8u);
}

// The one class of the CPU table that has a bias, with changes.
EmitPlan plan_of_biased_class(const std::function<void(Problem&)>& change) {
  DispatchTable table = cpu_table();
  std::erase_if(table.classes, [](const auto& c) { return c.traits.bias == kernels::Bias::none; });
  EXPECT_EQ(table.classes.size(), 1u);
  DispatchClass& c = table.classes.front();
  for (auto& entry : c.entries) change(entry.problem);
  c.traits = kernels::traits_of(c.entries.front().problem);
  return plan_emission(table);
}

TEST(EmitPlan, ABiasOrAScalePerHeadIsServedAsItWasTunedOnly) {
  const EmitPlan plan = plan_of_biased_class([](Problem&) {});
  ASSERT_EQ(plan.classes.size(), 1u);
  EXPECT_TRUE(plan.classes[0].traits.head_scale);
  EXPECT_EQ(plan.classes[0].traits.bias, kernels::Bias::same) << "which is f32";
  EXPECT_EQ(plan.classes[0].traits.softmax, Softmax::running_maximum);
}

TEST(EmitPlan, ABiasTunedWithAStatedBoundIsServedWithoutItToo) {
  const EmitPlan plan = plan_of_biased_class([](Problem& p) { p.logit_bound = 20.0f; });
  ASSERT_EQ(plan.classes.size(), 2u);
  EXPECT_EQ(plan.classes[0].traits.softmax, Softmax::fixed_bound);
  EXPECT_EQ(plan.classes[1].traits.softmax, Softmax::running_maximum);
}

TEST(EmitPlan, LeavesOutWhatWasNotTunedWhenAskedTo) {
  const EmitPlan plan = plan_emission(simt_table("sm_80"), Serve::tuned);
  EXPECT_EQ(plan.classes.size(), 2u);
  EXPECT_EQ(plan.variants.size(), 4u);
}

TEST(EmitPlan, RefusesATableWithNothingToServe) {
  DispatchTable table = simt_table("sm_80");
  table.classes.clear();
  EXPECT_THROW(plan_emission(table), std::runtime_error);
}

}  // namespace
}  // namespace fcsa::tuner
