#include "tuner/emit_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "tests/tuner/sample_tables.h"

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
      EXPECT_EQ(kernels::to_text(*variant.family, kernels::Op::forward, variant.configuration),
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

TEST(EmitPlan, EveryConfigurationIsValidForItsClass) {
  for (const auto& table : {simt_table("sm_90a"), simt_table("sm_75"), cpu_table()}) {
    for (const auto& v : plan_emission(table).variants) {
      Problem problem;
      problem.dtype = v.traits.dtype;
      problem.head_dim = v.traits.head_dim;
      problem.causal = v.traits.causal;
      problem.key_mask = v.traits.key_mask;
      problem.l2norm_qk = v.traits.l2norm_qk;
      problem.bias = v.traits.bias;
      problem.head_scale = v.traits.head_scale;
      problem.scale = v.traits.softmax == Softmax::fixed_bound ? 8.0f : 1000.0f;
      ASSERT_EQ(kernels::traits_of(problem), v.traits);
      EXPECT_EQ(kernels::invalid_reason(*v.family, problem, v.configuration, table.device.target), "")
          << kernels::to_text(*v.family, kernels::Op::forward, v.configuration);
    }
  }
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

// Binaries are compiled for the problem of a variant.
TEST(EmitPlan, EveryVariantHasAProblemOfItsTraits) {
  for (const auto& table : {simt_table("sm_90a"), wgmma_table(), cpu_table()})
    for (const auto& v : plan_emission(table).variants)
      EXPECT_EQ(kernels::traits_of(v.problem), v.traits) << kernels::to_text(v.problem);
}

TEST(EmitPlan, RefusesATableWithNothingToServe) {
  DispatchTable table = simt_table("sm_80");
  for (auto& c : table.classes)
    for (auto& entry : c.entries) entry.problem.op = kernels::Op::backward;
  try {
    plan_emission(table);
    FAIL() << "no exception";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("forward pass only"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace fcsa::tuner
