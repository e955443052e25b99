#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tests/library/attention_case.h"
#include "tests/library/library_fixture.h"

namespace fcsa::library {
namespace {

// Runs a plan for the case with a workspace of exactly the size that it asks for.
void run(fcsa_plan* plan, AttentionCase& attention) {
  const std::size_t bytes = fcsa_workspace_bytes(plan);
  const Memory workspace(bytes + 256, 0xa5);
  fcsa_tensors tensors = attention.tensors();
  tensors.workspace = workspace.data();
  tensors.workspace_bytes = bytes;
  ASSERT_EQ(fcsa_forward(plan, &tensors, nullptr), FCSA_OK) << fcsa_last_error();
  for (std::size_t i = bytes; i < workspace.bytes(); ++i)
    ASSERT_EQ(workspace.data()[i], 0xa5) << "byte " << i << " after a workspace of " << bytes;
}

class ForwardTest : public LibraryWithoutCompilerTest {
 protected:
  void expect_right(const fcsa_problem& problem) {
    AttentionCase attention(problem);
    const auto plan = LibraryTest::plan(library_, problem);
    ASSERT_NE(plan, nullptr);
    SCOPED_TRACE(fcsa_describe(plan.get()));
    run(plan.get(), attention);
    EXPECT_LE(attention.worst_error(), tolerance(problem.dtype));
    EXPECT_TRUE(attention.gaps_are_intact());
  }

  LibraryPtr library_ = open("");
};

TEST_F(ForwardTest, IsRightForEveryDtypeAndHeadDimThatIsBuiltIn) {
  for (const int dtype : {FCSA_F32, FCSA_BF16, FCSA_F16})
    for (const int head_dim : {16, 32, 64, 80, 96, 128})
      expect_right(forward_problem(dtype, 2, 33, head_dim));
}

TEST_F(ForwardTest, IsRightForOtherLengthsOfKeysAndGroupedHeads) {
  fcsa_problem problem = forward_problem(FCSA_F32, 6, 40, 32);
  problem.batch = 2;
  problem.kv_heads = 2;
  problem.nk = 57;
  problem.causal = 1;
  expect_right(problem);
}

TEST_F(ForwardTest, TakesRowsBeforeHeads) {
  fcsa_problem problem = forward_problem(FCSA_BF16, 4, 31, 64);
  problem.batch = 2;
  problem.kv_heads = 2;
  problem.layout = FCSA_BNHD;
  expect_right(problem);
}

TEST_F(ForwardTest, TakesPackedTensorsAndRowsThatLieApart) {
  fcsa_problem problem = forward_problem(FCSA_F32, 3, 20, 32);
  problem.batch = 2;
  // As in one tensor [batch, rows, 3, heads, channels].
  problem.q_strides = problem.k_strides = problem.v_strides = {20 * 3 * 3 * 32, 32, 3 * 3 * 32};
  problem.o_strides = {3 * 20 * 48 + 64, 20 * 48, 48};
  expect_right(problem);
}

TEST_F(ForwardTest, DoesNotLookAtTheStrideOfAnAxisOfOne) {
  fcsa_problem problem = forward_problem(FCSA_F32, 1, 20, 32);
  AttentionCase attention(problem);
  problem.q_strides = {7, -3, 32};
  problem.o_strides = {0, 1, 32};
  const auto plan = LibraryTest::plan(library_, problem);
  run(plan.get(), attention);
  EXPECT_LE(attention.worst_error(), tolerance(FCSA_F32));
}

TEST_F(ForwardTest, TakesAMaskOfEachBatchOrOneForAll) {
  fcsa_problem problem = forward_problem(FCSA_F32, 2, 40, 16);
  problem.batch = 3;
  problem.key_mask = 1;
  expect_right(problem);
  problem.key_mask_stride = 64;
  expect_right(problem);
  problem.key_mask_stride = 0;
  problem.key_mask_batch = 1;
  expect_right(problem);
}

TEST_F(ForwardTest, TakesAScaleOfEachHeadAndRawRows) {
  fcsa_problem problem = forward_problem(FCSA_F32, 3, 40, 16);
  problem.head_scale = 1;
  expect_right(problem);
  problem.head_scale = 0;
  problem.scale = 0.25f;
  problem.l2norm_qk = 0;
  expect_right(problem);
}

TEST_F(ForwardTest, GivesTheSameWithoutLse) {
  fcsa_problem problem = forward_problem(FCSA_F32, 2, 40, 16);
  problem.lse = 0;
  expect_right(problem);
}

TEST_F(ForwardTest, RunsFromSeveralThreadsAtATime) {
  const fcsa_problem problem = forward_problem(FCSA_F32, 2, 64, 32);
  std::vector<double> errors(4);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    threads.emplace_back([&, i] {
      AttentionCase attention(problem, static_cast<unsigned>(i) + 1);
      const auto plan = LibraryTest::plan(library_, problem);
      run(plan.get(), attention);
      errors[i] = attention.worst_error();
    });
  }
  for (auto& thread : threads) thread.join();
  for (const double error : errors) EXPECT_LE(error, tolerance(FCSA_F32));
}

TEST_F(ForwardTest, GivesTheSameBitsOnAnyNumberOfThreads) {
  AttentionCase one(forward_problem(FCSA_F32, 4, 200, 64)), many(forward_problem(FCSA_F32, 4, 200, 64));
  const auto plan = LibraryTest::plan(library_, one.problem());
  ASSERT_EQ(fcsa_set_num_threads(library_.get(), 1), FCSA_OK);
  run(plan.get(), one);
  for (const int threads : {7, 0}) {
    ASSERT_EQ(fcsa_set_num_threads(library_.get(), threads), FCSA_OK);
    run(plan.get(), many);
    EXPECT_EQ(std::memcmp(one.o().data(), many.o().data(), one.o().bytes()), 0) << threads;
  }
}

TEST_F(ForwardTest, RefusesNumbersOfThreadsThatCannotBe) {
  for (const int threads : {-1, 1025}) {
    EXPECT_EQ(fcsa_set_num_threads(library_.get(), threads), FCSA_INVALID_ARGUMENT);
    EXPECT_EQ(std::string(fcsa_last_error()),
              "threads is " + std::to_string(threads) +
                  ": set it from 1 to 1024, or to 0 for as many as there are usable cores");
  }
  EXPECT_EQ(fcsa_set_num_threads(nullptr, 1), FCSA_INVALID_ARGUMENT);
}

TEST_F(ForwardTest, WorksAfterTheLibraryIsClosed) {
  const fcsa_problem problem = forward_problem(FCSA_F32, 2, 40, 16);
  AttentionCase attention(problem);
  const auto plan = LibraryTest::plan(library_, problem);
  library_.reset();
  run(plan.get(), attention);
  EXPECT_LE(attention.worst_error(), tolerance(FCSA_F32));
}

TEST_F(ForwardTest, SaysThatBuiltInKernelsRunAndWhy) {
  const auto plan = LibraryTest::plan(library_, forward_problem(FCSA_F32, 2, 40, 16));
  EXPECT_TRUE(contains(fcsa_describe(plan.get()), "kernels: not prepared")) << fcsa_describe(plan.get());
  ASSERT_EQ(fcsa_prepare(plan.get()), FCSA_OK) << fcsa_last_error();
  EXPECT_TRUE(contains(fcsa_describe(plan.get()), "kernels: built-in baseline")) << fcsa_describe(plan.get());
  EXPECT_TRUE(contains(fcsa_describe(plan.get()), "/nowhere/c++")) << fcsa_describe(plan.get());
}

TEST_F(ForwardTest, WithoutCompilerOrBuiltInKernelIsAnErrorThatSaysHowToGetOne) {
  fcsa_problem problem = forward_problem(FCSA_F32, 2, 40, 16);
  problem.groups = 2;
  const auto plan = LibraryTest::plan(library_, problem);
  EXPECT_EQ(fcsa_prepare(plan.get()), FCSA_NO_COMPILER);
  EXPECT_TRUE(contains(fcsa_last_error(), "install g++ or clang++")) << fcsa_last_error();
}

// With the machine's compiler.
class CompiledForwardTest : public LibraryTest {};

TEST_F(CompiledForwardTest, ServesWhatIsNotBuiltIn) {
  const auto library = open("");
  fcsa_problem problem = forward_problem(FCSA_F32, 2, 40, 32);
  problem.batch = 2;
  problem.groups = 2;
  problem.bias = FCSA_BIAS_F32;
  problem.bias_batch = 1;
  problem.bias_strides = {1, 40 * 48, 48};
  AttentionCase attention(problem);
  const auto plan = LibraryTest::plan(library, problem);
  ASSERT_EQ(fcsa_prepare(plan.get()), FCSA_OK) << fcsa_last_error();
  EXPECT_TRUE(contains(fcsa_describe(plan.get()), "kernels: compiled by")) << fcsa_describe(plan.get());
  run(plan.get(), attention);
  EXPECT_LE(attention.worst_error(), tolerance(FCSA_F32));

  // Other sizes and strides are served by the same kernels: what is prepared stays so.
  problem.nq = 24;
  problem.bias_strides = {};
  AttentionCase shorter(problem);
  const auto second = LibraryTest::plan(library, problem);
  EXPECT_TRUE(contains(fcsa_describe(second.get()), "kernels: compiled by")) << fcsa_describe(second.get());
  run(second.get(), shorter);
  EXPECT_LE(shorter.worst_error(), tolerance(FCSA_F32));
}

TEST_F(CompiledForwardTest, KeepsKernelsForItselfWhereTheCacheCannotBeWrittenTo) {
  const testing::ScopedEnvironment nowhere("XDG_CACHE_HOME", "/proc/nowhere");
  const auto library = open("");
  const auto plan = LibraryTest::plan(library, forward_problem(FCSA_F32, 1, 16, 16));
  ASSERT_EQ(fcsa_prepare(plan.get()), FCSA_OK) << fcsa_last_error();
  ASSERT_EQ(said().size(), 1U);
  EXPECT_TRUE(contains(said().front(), "/proc/nowhere")) << said().front();
}

}  // namespace
}  // namespace fcsa::library
