#include "runner/verification/feature_pairs.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

namespace fcsa::runner {
namespace {

using kernels::Bias;
using kernels::Op;
using kernels::Problem;

// The features of a case as words, read off the problem itself.
std::map<std::string, std::string> features(const FeatureCase& c) {
  const Problem& p = c.problem;
  const bool stated = p.logit_bound.has_value();
  return {{"dtype", std::string(kernels::to_text(p.dtype)) + (p.allow_tf32 ? " tf32" : "")},
          {"head_dim", std::to_string(p.head_dim)},
          {"causal", std::to_string(p.causal)},
          {"mask", std::to_string(p.key_mask)},
          {"bias", std::string(kernels::to_text(p.bias))},
          {"bias size", fmt::format("{} {}", p.bias_batch == 0 ? "every batch" : "shared by batches",
                                    p.bias_heads == 0 ? "every head" : "shared by heads")},
          {"head_scale", std::to_string(p.head_scale)},
          {"groups", std::to_string(p.groups)},
          {"l2norm", std::to_string(p.l2norm_qk)},
          {"scale", stated ? "stated bound" : fmt::format("{}", p.scale)},
          {"heads", fmt::format("{}/{}", p.heads, p.kv_heads)},
          {"layout", std::string(kernels::to_text(p.layout))},
          {"nq", std::to_string(p.nq)},
          {"nk", std::to_string(p.nk)},
          {"values", std::string(to_text(c.values))},
          {"placement", std::string(to_text(c.placement))},
          {"bias gradient", std::to_string(p.bias_gradient)},
          {"scale gradient", std::to_string(p.scale_gradient)},
          {"deterministic", std::to_string(p.deterministic)}};
}

bool cannot_meet(const std::string& a, const std::string& b) {
  const auto are = [&](const std::string& x, const std::string& y) {
    return (a == x && b == y) || (a == y && b == x);
  };
  return are("mask 0", "values one visible key") || are("bias none", "values large bias") ||
         are("bias none", "bias gradient 1") || are("bias none", "bias size every batch shared by heads") ||
         are("bias none", "bias size shared by batches every head") ||
         are("bias none", "bias size shared by batches shared by heads");
}

TEST(FeaturePairs, HaveEveryValueOfEveryFeature) {
  std::map<std::string, std::set<std::string>> values;
  for (const FeatureCase& c : feature_pairs(1))
    for (const auto& [feature, value] : features(c)) values[feature].insert(value);
  const std::set<std::string> lengths{"1", "63", "64", "65", "127", "200", "1000", "4097"};
  EXPECT_EQ(values["nq"], lengths);
  EXPECT_EQ(values["nk"], lengths);
  EXPECT_EQ(values["dtype"], (std::set<std::string>{"f32", "f32 tf32", "bf16", "f16"}));
  EXPECT_EQ(values["head_dim"], (std::set<std::string>{"16", "32", "64", "80", "96", "128", "192", "256"}));
  EXPECT_EQ(values["groups"], (std::set<std::string>{"1", "2", "4"}));
  EXPECT_EQ(values["bias"], (std::set<std::string>{"none", "same", "f32"}));
  EXPECT_EQ(values["bias size"].size(), 4u);
  EXPECT_EQ(values["scale"], (std::set<std::string>{"8", "100", "stated bound"}));
  EXPECT_EQ(values["heads"], (std::set<std::string>{"2/2", "4/2", "4/1"}));
  EXPECT_EQ(values["values"].size(), std::size(kAllValues));
  EXPECT_EQ(values["placement"].size(), std::size(kAllPlacements));
  for (const char* either : {"causal", "mask", "head_scale", "l2norm", "layout"})
    EXPECT_EQ(values[either].size(), 2u) << either;
}

TEST(FeaturePairs, OfTheBackwardPassWantGradientsOfTheBiasAndOfTheScaleAndTheSameBits) {
  std::map<std::string, std::set<std::string>> forward, backward;
  for (const FeatureCase& c : feature_pairs(1)) {
    EXPECT_EQ(c.problem.op, Op::forward);
    for (const auto& [feature, value] : features(c)) forward[feature].insert(value);
  }
  for (const FeatureCase& c : feature_pairs(1, {}, Op::backward)) {
    EXPECT_EQ(c.problem.op, Op::backward);
    for (const auto& [feature, value] : features(c)) backward[feature].insert(value);
  }
  for (const char* wanted : {"bias gradient", "scale gradient", "deterministic"}) {
    EXPECT_EQ(forward[wanted], std::set<std::string>{"0"});
    EXPECT_EQ(backward[wanted], (std::set<std::string>{"0", "1"}));
    forward[wanted] = backward[wanted];
  }
  EXPECT_EQ(forward, backward);
}

void expect_every_pair(Op op) {
  std::set<std::string> known;
  std::map<std::string, std::set<std::string>> values;
  const auto pair_text = [](const std::string& a, const std::string& b) { return a + " with " + b; };
  for (const FeatureCase& c : feature_pairs(1, {}, op))
    for (const auto& [a, of_a] : features(c)) {
      values[a].insert(of_a);
      for (const auto& [b, of_b] : features(c)) known.insert(pair_text(a + " " + of_a, b + " " + of_b));
    }
  for (const auto& [a, of_a] : values)
    for (const auto& [b, of_b] : values) {
      if (a == b) continue;
      for (const auto& i : of_a)
        for (const auto& j : of_b) {
          const std::string first = a + " " + i, second = b + " " + j;
          EXPECT_NE(known.contains(pair_text(first, second)), cannot_meet(first, second))
              << pair_text(first, second);
        }
    }
}

TEST(FeaturePairs, HaveEveryPairOfValuesThatCanMeet) {
  expect_every_pair(Op::forward);
  expect_every_pair(Op::backward);
}

TEST(FeaturePairs, AreOfServedProblemsAndHaveEveryPairThatThoseCanHave) {
  const auto serves = [](const Problem& p) { return p.dtype != kernels::DType::f32 && p.bias == Bias::none; };
  std::set<std::string> known;
  for (const FeatureCase& c : feature_pairs(1, serves)) {
    EXPECT_TRUE(serves(c.problem)) << kernels::to_text(c.problem);
    for (const auto& [a, of_a] : features(c))
      for (const auto& [b, of_b] : features(c)) known.insert(a + " " + of_a + " with " + b + " " + of_b);
  }
  for (const char* dtype : {"bf16", "f16"})
    for (const char* other : {"head_dim 16", "head_dim 256", "causal 1", "mask 1", "groups 4", "head_scale 1",
                              "scale stated bound", "heads 4/1", "layout bnhd", "nq 1", "nk 4097"})
      EXPECT_TRUE(known.contains(std::string("dtype ") + dtype + " with " + other)) << dtype << " " << other;
  EXPECT_TRUE(known.contains("nq 4097 with nk 1"));
  EXPECT_TRUE(known.contains("causal 1 with values one visible key"));
}

TEST(FeaturePairs, AreTheSameForAllThatServeEverything) {
  const auto all = feature_pairs(1), served = feature_pairs(1, [](const Problem&) { return true; });
  ASSERT_EQ(all.size(), served.size());
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i].problem, served[i].problem);
}

TEST(FeaturePairs, AreValidProblemsWithValuesThatApplyAndFew) {
  for (const auto& [seed, op] :
       {std::pair(1, Op::forward), std::pair(2, Op::forward), std::pair(1, Op::backward)}) {
    const auto cases = feature_pairs(static_cast<std::uint64_t>(seed), {}, op);
    EXPECT_LT(cases.size(), 120u);
    for (const FeatureCase& c : cases) {
      EXPECT_NO_THROW(kernels::validate(c.problem)) << kernels::to_text(c.problem);
      EXPECT_TRUE(apply_to(c.values, c.problem)) << kernels::to_text(c.problem) << to_text(c.values);
    }
  }
}

}  // namespace
}  // namespace fcsa::runner
