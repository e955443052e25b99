#include "tuner/search/known_configurations.h"

#include <gtest/gtest.h>

namespace fcsa::tuner {
namespace {

kernels::Problem problem_of_length(int length, bool causal = false) {
  kernels::Problem problem;
  problem.nq = problem.nk = length;
  problem.causal = causal;
  return problem;
}

DispatchTable table_of(const std::vector<std::pair<int, std::size_t>>& choices) {
  DispatchClass dispatch;
  dispatch.class_text = kernels::class_text(problem_of_length(1));
  dispatch.configurations = {"simt.forward{warps=2}", "simt.forward{warps=8}", "simt.forward{unroll=1}"};
  for (const auto& [length, choice] : choices) {
    DispatchEntry entry;
    entry.problem = problem_of_length(length);
    entry.choice = choice;
    dispatch.entries.push_back(entry);
  }
  DispatchTable table;
  table.classes.push_back(dispatch);
  return table;
}

std::vector<std::string> texts(const std::vector<kernels::Configuration>& configurations) {
  std::vector<std::string> list;
  for (const auto& configuration : configurations)
    list.push_back(kernels::to_text(kernels::family_named("simt"), kernels::Op::forward, configuration));
  return list;
}

TEST(KnownConfigurations, AreThoseOfTheNearestShapesEachOnce) {
  const auto table = table_of({{512, 0}, {1024, 1}, {2048, 1}, {4096, 2}});
  EXPECT_EQ(
      texts(known_configurations(table, problem_of_length(3000), 4)),
      (std::vector<std::string>{"simt.forward{unroll=1}", "simt.forward{warps=8}", "simt.forward{warps=2}"}));
  EXPECT_EQ(texts(known_configurations(table, problem_of_length(512), 2)),
            (std::vector<std::string>{"simt.forward{warps=2}", "simt.forward{warps=8}"}));
}

TEST(KnownConfigurations, OfAClassWithoutAnyAreThoseOfTheClassThatDiffersInTheFewestFeatures) {
  auto table = table_of({{512, 0}});
  auto masked = table_of({{512, 1}});
  masked.classes[0].entries[0].problem.key_mask = true;
  table.classes.insert(table.classes.begin(), masked.classes[0]);
  EXPECT_EQ(texts(known_configurations(table, problem_of_length(512, true), 4)),
            (std::vector<std::string>{"simt.forward{warps=2}"}));
}

TEST(KnownConfigurations, OfKernelsWithAnotherStructureAreNone) {
  auto wider = problem_of_length(512), shorter = wider, backward = wider;
  wider.head_dim = 128;
  shorter.dtype = kernels::DType::f16;
  backward.op = kernels::Op::backward;
  for (const auto& other : {wider, shorter, backward})
    EXPECT_TRUE(known_configurations(table_of({{512, 0}}), other, 4).empty());
}

}  // namespace
}  // namespace fcsa::tuner
