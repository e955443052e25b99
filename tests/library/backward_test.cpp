#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tests/library/gradient_case.h"
#include "tests/library/library_fixture.h"
#include "tests/library/tuned_database.h"

namespace fcsa::library {
namespace {

std::vector<unsigned char> bytes_of(const Memory& memory) {
  return {memory.data(), memory.data() + memory.bytes()};
}

// Runs a plan for the case with a workspace of exactly the size that it asks for.
void run(fcsa_plan* plan, const GradientCase& gradients) {
  const std::size_t bytes = fcsa_workspace_bytes(plan);
  const Memory workspace(bytes + 256, kPattern);
  fcsa_tensors tensors = gradients.tensors();
  tensors.workspace = workspace.data();
  tensors.workspace_bytes = bytes;
  const auto o = bytes_of(gradients.attention().o()), lse = bytes_of(gradients.attention().lse());
  ASSERT_EQ(fcsa_backward(plan, &tensors, nullptr), FCSA_OK) << fcsa_last_error();
  for (std::size_t i = bytes; i < workspace.bytes(); ++i)
    ASSERT_EQ(workspace.data()[i], kPattern) << "byte " << i << " after a workspace of " << bytes;
  EXPECT_EQ(bytes_of(gradients.attention().o()), o);
  EXPECT_EQ(bytes_of(gradients.attention().lse()), lse);
}

// With the machine's compiler.
class BackwardTest : public LibraryTest {
 protected:
  void expect_right(const fcsa_problem& problem) {
    const GradientCase gradients(problem);
    const auto plan = LibraryTest::plan(library_, problem);
    ASSERT_NE(plan, nullptr);
    SCOPED_TRACE(fcsa_describe(plan.get()));
    run(plan.get(), gradients);
    EXPECT_EQ(gradients.mistake(), "");
    EXPECT_TRUE(gradients.gaps_are_intact());
  }

  testing::ScopedEnvironment cache_{"XDG_CACHE_HOME", FCSA_TEST_CACHE};  // one compilation for all tests
  LibraryPtr library_ = open("");
};

TEST_F(BackwardTest, IsRightForEveryDtype) {
  for (const int dtype : {FCSA_F32, FCSA_BF16, FCSA_F16}) expect_right(backward_problem(dtype, 2, 130, 32));
}

TEST_F(BackwardTest, IsRightForOtherLengthsOfKeysAndGroupedHeads) {
  fcsa_problem problem = backward_problem(FCSA_F32, 6, 40, 32);
  problem.batch = 2;
  problem.kv_heads = 2;
  problem.nk = 57;
  expect_right(problem);
  problem.layout = FCSA_BNHD;
  problem.causal = 1;
  expect_right(problem);
  problem.nk = 17;  // fewer than queries, of which the first see none
  expect_right(problem);
}

TEST_F(BackwardTest, TakesPackedTensorsAndRowsThatLieApart) {
  fcsa_problem problem = backward_problem(FCSA_F32, 3, 20, 32);
  problem.batch = 2;
  // As in one tensor [batch, rows, 3, heads, channels].
  problem.q_strides = problem.k_strides = problem.v_strides = {20 * 3 * 3 * 32, 32, 3 * 3 * 32};
  problem.dq_strides = problem.dk_strides = problem.dv_strides = problem.q_strides;
  problem.o_strides = {3 * 20 * 48 + 64, 20 * 48, 48};
  problem.dout_strides = {20 * 3 * 40, 40, 3 * 40};
  expect_right(problem);
}

TEST_F(BackwardTest, DoesNotLookAtTheStrideOfAnAxisOfOne) {
  fcsa_problem problem = backward_problem(FCSA_F32, 1, 20, 32);
  const GradientCase gradients(problem);
  problem.dout_strides = {7, -3, 32};
  problem.dq_strides = {0, 1, 32};
  const auto plan = LibraryTest::plan(library_, problem);
  run(plan.get(), gradients);
  EXPECT_EQ(gradients.mistake(), "");
}

TEST_F(BackwardTest, WritesGradientsOfASharedBiasAndOfTheScaleOfEachHead) {
  fcsa_problem problem = backward_problem(FCSA_F32, 4, 50, 32);
  problem.batch = 2;
  problem.kv_heads = 2;
  problem.nk = 41;
  problem.key_mask = 1;
  problem.key_mask_batch = 1;
  problem.bias = FCSA_BIAS_F32;
  problem.bias_batch = problem.bias_heads = 1;
  problem.bias_strides = {0, 0, 48};
  problem.head_scale = 1;
  problem.bias_gradient = problem.scale_gradient = 1;
  expect_right(problem);
  problem.dbias_strides = {1, 1, 44};
  expect_right(problem);
  problem.bias_gradient = problem.scale_gradient = 0;
  expect_right(problem);
}

TEST_F(BackwardTest, WritesTheGradientOfABiasOfEachBatchAndHeadWithGroups) {
  fcsa_problem problem = backward_problem(FCSA_BF16, 2, 33, 32);
  problem.batch = 2;
  problem.groups = 2;
  problem.bias = FCSA_BIAS_DTYPE;
  problem.bias_gradient = 1;
  problem.dbias_strides = {2 * 33 * 40, 40, 2 * 40};  // rows before heads
  expect_right(problem);
}

TEST_F(BackwardTest, TakesRawRowsAndWritesTheGradientOfOneScale) {
  fcsa_problem problem = backward_problem(FCSA_F32, 3, 40, 32);
  problem.l2norm_qk = 0;
  problem.scale = 0.25f;
  problem.scale_gradient = 1;
  expect_right(problem);
}

// Where dQ is a walk of its own, and where it is added up with dK and dV.
class OmittedGradientsTest : public BackwardTest {
 protected:
  static fcsa_problem problem() {
    // No kernel for 48 channels is built in, which would need a workspace of its own.
    fcsa_problem problem = backward_problem(FCSA_F32, 4, 130, 48);
    problem.kv_heads = 2;
    return problem;
  }
  LibraryPtr open_with(const std::string& configuration) {
    const auto file = home() / (configuration + ".db");
    write_tuned_database(file, problem_of(problem()), runner::cpu::describe_cpu(""), configuration);
    return open(file.c_str());
  }
};

TEST_F(OmittedGradientsTest, ChangeNothingAboutTheOthers) {
  for (const char* configuration : {"cpu.backward{sum_rows=8,sum_vectors=3,key_splits=0}",
                                    "cpu.backward{sum_rows=8,sum_vectors=3,key_splits=2}"}) {
    library_ = open_with(configuration);
    const std::string text = fcsa_describe(plan(library_, problem()).get());
    ASSERT_TRUE(contains(text, std::string("configuration: ") + configuration)) << text;
    for (int omitted = 1; omitted < 8; ++omitted)
      for (const int scale : {0, 1}) {
        fcsa_problem p = problem();
        p.omitted_gradients = omitted;
        p.scale_gradient = scale;
        if (omitted == 7 && scale == 0) continue;
        SCOPED_TRACE(omitted);
        expect_right(p);
        p.nk = 0;
        expect_right(p);
      }
  }
}

TEST_F(OmittedGradientsTest, TakeNoWorkspaceWhereTheyAreNotComputed) {
  const auto apart = open_with("cpu.backward{sum_rows=8,sum_vectors=3,key_splits=0}"),
             together = open_with("cpu.backward{sum_rows=8,sum_vectors=3,key_splits=2}");
  const auto more = [&](const LibraryPtr& library, int omitted, bool scale = false) {
    fcsa_problem p = problem();
    p.scale_gradient = scale ? 1 : 0;
    const std::size_t all = fcsa_workspace_bytes(plan(library, p).get());
    p.omitted_gradients = omitted;
    return fcsa_workspace_bytes(plan(library, p).get()) - all;
  };
  const std::size_t query_bytes = sizeof(float) * 4 * 130 * 48, key_bytes = query_bytes / 2;
  EXPECT_EQ(more(apart, FCSA_DQ), 0U);
  EXPECT_EQ(more(apart, FCSA_DK | FCSA_DV), 0U);
  EXPECT_EQ(more(apart, FCSA_DK), key_bytes);
  EXPECT_EQ(more(apart, FCSA_DQ | FCSA_DV), key_bytes);
  // What the gradient of the scale is summed from is computed with dq.
  EXPECT_EQ(more(apart, FCSA_DQ, true), query_bytes);
  EXPECT_EQ(more(together, FCSA_DQ), query_bytes);
  EXPECT_EQ(more(together, FCSA_DK | FCSA_DV), 2 * key_bytes);
}

TEST_F(BackwardTest, FollowsAForwardPassWithTheSameTensors) {
  fcsa_problem problem = backward_problem(FCSA_F32, 2, 40, 32);
  const GradientCase gradients(problem);
  const auto backward = plan(library_, problem);
  problem.op = FCSA_FORWARD;
  const auto forward = plan(library_, problem);
  const Memory workspace(std::max(fcsa_workspace_bytes(forward.get()), fcsa_workspace_bytes(backward.get())),
                         kPattern);
  fcsa_tensors tensors = gradients.tensors();
  tensors.workspace = workspace.data();
  tensors.workspace_bytes = workspace.bytes();
  std::memset(tensors.o, 0xff, gradients.attention().o().bytes());
  ASSERT_EQ(fcsa_forward(forward.get(), &tensors, nullptr), FCSA_OK) << fcsa_last_error();
  ASSERT_EQ(fcsa_backward(backward.get(), &tensors, nullptr), FCSA_OK) << fcsa_last_error();
  EXPECT_EQ(gradients.mistake(), "");
}

TEST_F(BackwardTest, GivesTheSameBitsEveryTimeWhenItHasTo) {
  fcsa_problem problem = backward_problem(FCSA_F32, 2, 130, 32);
  problem.deterministic = 1;
  const auto plan = LibraryTest::plan(library_, problem);
  const GradientCase first(problem), second(problem);
  run(plan.get(), first);
  run(plan.get(), second);
  for (std::size_t i = 0; i < first.gradients().size(); ++i)
    EXPECT_EQ(bytes_of(first.gradients()[i].memory), bytes_of(second.gradients()[i].memory))
        << first.gradients()[i].name;
}

TEST_F(BackwardTest, RunsFromSeveralThreadsAtATime) {
  const fcsa_problem problem = backward_problem(FCSA_F32, 2, 64, 32);
  std::vector<std::string> mistakes(4);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < mistakes.size(); ++i) {
    threads.emplace_back([&, i] {
      const GradientCase gradients(problem, static_cast<unsigned>(i) + 1);
      const auto plan = LibraryTest::plan(library_, problem);
      run(plan.get(), gradients);
      mistakes[i] = gradients.mistake();
    });
  }
  for (auto& thread : threads) thread.join();
  for (const std::string& mistake : mistakes) EXPECT_EQ(mistake, "");
}

TEST_F(BackwardTest, IsDescribedAsWhatItIs) {
  fcsa_problem problem = backward_problem(FCSA_F32, 2, 40, 32);
  problem.scale_gradient = 1;
  const auto plan = LibraryTest::plan(library_, problem);
  ASSERT_EQ(fcsa_prepare(plan.get()), FCSA_OK) << fcsa_last_error();
  const std::string text = fcsa_describe(plan.get());
  EXPECT_TRUE(contains(text, "problem: backward f32 d32")) << text;
  EXPECT_TRUE(contains(text, " dscale")) << text;
  EXPECT_TRUE(contains(text, "configuration: cpu.backward")) << text;
  EXPECT_TRUE(contains(text, "chosen: nothing like it was tuned: baseline of cpu")) << text;
  EXPECT_TRUE(contains(text, "kernels: compiled by")) << text;
}

class BackwardWithoutCompilerTest : public LibraryWithoutCompilerTest {};

TEST_F(BackwardWithoutCompilerTest, RunsTheKernelsThatAreBuiltIn) {
  const auto library = open("");
  const auto plan = LibraryTest::plan(library, backward_problem(FCSA_F32, 2, 40, 16));
  ASSERT_EQ(fcsa_prepare(plan.get()), FCSA_OK) << fcsa_last_error();
  EXPECT_TRUE(contains(fcsa_describe(plan.get()), "kernels: built-in")) << fcsa_describe(plan.get());
}

TEST_F(BackwardWithoutCompilerTest, IsAnErrorThatSaysWhatToInstallWhereNothingIsBuiltIn) {
  const auto library = open("");
  const auto plan = LibraryTest::plan(library, backward_problem(FCSA_F32, 2, 40, 256));
  EXPECT_EQ(fcsa_prepare(plan.get()), FCSA_NO_COMPILER);
  EXPECT_TRUE(contains(fcsa_last_error(), "install g++ or clang++")) << fcsa_last_error();
}

}  // namespace
}  // namespace fcsa::library
