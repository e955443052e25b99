#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

#include "tests/library/attention_case.h"
#include "tests/library/library_fixture.h"

namespace fcsa::library {
namespace {

class PlanCacheTest : public LibraryWithoutCompilerTest {
 protected:
  LibraryPtr library_ = open("");
};

TEST_F(PlanCacheTest, GivesOnePlanForEqualProblems) {
  const fcsa_problem problem = forward_problem(FCSA_F32, 2, 40, 16);
  const auto first = plan(library_, problem), second = plan(library_, problem);
  EXPECT_EQ(first.get(), second.get());
}

TEST_F(PlanCacheTest, TellsProblemsApartByEveryField) {
  fcsa_problem problem = forward_problem(FCSA_F32, 2, 40, 16);
  std::vector<PlanPtr> plans;
  std::set<fcsa_plan*> different;
  const auto add = [&] {
    plans.push_back(plan(library_, problem));
    different.insert(plans.back().get());
  };
  add();
  problem.nk = 41;
  add();
  problem.scale = 4;
  add();
  problem.o_strides = {40 * 2 * 16, 16, 2 * 16};
  add();
  problem.lse = 0;
  add();
  problem.op = FCSA_BACKWARD;
  add();
  problem.deterministic = 1;
  add();
  problem.scale_gradient = 1;
  add();
  problem.dv_strides = {40 * 2 * 16, 16, 2 * 16};
  add();
  EXPECT_EQ(different.size(), plans.size());
}

TEST_F(PlanCacheTest, KeepsAPlanWhileSomebodyHoldsIt) {
  fcsa_problem problem = forward_problem(FCSA_F32, 2, 40, 16);
  const auto held = plan(library_, problem);
  const std::string before = fcsa_describe(held.get());
  for (int i = 1; i <= 5000; ++i) {  // more than the library remembers
    problem.nk = 40 + i;
    plan(library_, problem);
  }
  EXPECT_EQ(fcsa_describe(held.get()), before);
  problem.nk = 40;
  EXPECT_EQ(plan(library_, problem).get(), held.get());
}

TEST_F(PlanCacheTest, IsSafeFromSeveralThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        const auto made = plan(library_, forward_problem(FCSA_F32, 2, 1 + i % 50, 16));
        EXPECT_EQ(fcsa_prepare(made.get()), FCSA_OK) << fcsa_last_error();
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace fcsa::library
