// Prefixes of the keys, given as lengths.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "tests/library/gradient_case.h"
#include "tests/library/library_fixture.h"

namespace fcsa::library {
namespace {

// With two batches more than one that sees nothing and one that sees everything.
fcsa_problem with_lengths(fcsa_problem problem) {
  problem.batch = 4;
  problem.nk = 57;  // no multiple of what rows of a mask are rounded to
  problem.key_lengths = 1;
  return problem;
}

using Run = decltype(fcsa_forward);

// With a workspace of exactly the size that the plan asks for.
void run(Run* pass, fcsa_plan* plan, fcsa_tensors tensors) {
  const std::size_t bytes = fcsa_workspace_bytes(plan);
  const Memory workspace(bytes + 256, kPattern);
  tensors.workspace = workspace.data();
  tensors.workspace_bytes = bytes;
  ASSERT_EQ(pass(plan, &tensors, nullptr), FCSA_OK) << fcsa_last_error();
  for (std::size_t i = bytes; i < workspace.bytes(); ++i)
    ASSERT_EQ(workspace.data()[i], kPattern) << "byte " << i << " after a workspace of " << bytes;
}

class KeyLengthsTest : public LibraryWithoutCompilerTest {
 protected:
  LibraryPtr library_ = open("");
};

TEST_F(KeyLengthsTest, HideWhatIsBehindThemWhateverIsThere) {
  for (const int dtype : {FCSA_F32, FCSA_BF16, FCSA_F16}) {
    const fcsa_problem problem = with_lengths(forward_problem(dtype, 2, 40, 32));
    const AttentionCase attention(problem);
    attention.put_nan_into_hidden_keys();
    const auto plan = LibraryTest::plan(library_, problem);
    run(fcsa_forward, plan.get(), attention.tensors());
    EXPECT_LE(attention.worst_error(), tolerance(dtype));
  }
}

TEST_F(KeyLengthsTest, HideTheSameInTheBackwardPass) {
  for (const int causal : {0, 1}) {
    fcsa_problem problem = with_lengths(backward_problem(FCSA_F32, 2, 40, 32));
    problem.causal = causal;
    const GradientCase gradients(problem);
    gradients.attention().put_nan_into_hidden_keys();
    const auto plan = LibraryTest::plan(library_, problem);
    run(fcsa_backward, plan.get(), gradients.tensors());
    EXPECT_EQ(gradients.mistake(), "");
  }
}

TEST_F(KeyLengthsTest, GiveTheBitsOfTheMaskThatSaysTheSame) {
  fcsa_problem problem = with_lengths(forward_problem(FCSA_BF16, 2, 40, 64));
  problem.lse = 0;  // which is in the workspace too then
  const AttentionCase by_lengths(problem);
  problem.key_lengths = 0;
  problem.key_mask = 1;
  const AttentionCase by_mask(problem);
  fcsa_tensors masked = by_mask.tensors();
  masked.key_mask = by_lengths.key_mask().data();
  run(fcsa_forward, plan(library_, by_lengths.problem()).get(), by_lengths.tensors());
  run(fcsa_forward, plan(library_, problem).get(), masked);
  EXPECT_EQ(std::memcmp(by_lengths.o().data(), by_mask.o().data(), by_mask.o().bytes()), 0);
}

TEST_F(KeyLengthsTest, AreRefusedWhereTheyAreMissingOrMisaligned) {
  const fcsa_problem problem = with_lengths(forward_problem(FCSA_F32, 2, 40, 32));
  const AttentionCase attention(problem);
  const auto plan = LibraryTest::plan(library_, problem);
  const Memory workspace(fcsa_workspace_bytes(plan.get()), 0);
  fcsa_tensors tensors = attention.tensors();
  tensors.workspace = workspace.data(), tensors.workspace_bytes = workspace.bytes();
  for (const auto& [pointer, text] : std::vector<std::pair<std::uintptr_t, const char*>>{
           {0, "key_lengths is null"}, {2, "key_lengths is not aligned to 4 bytes"}}) {
    tensors.key_lengths = reinterpret_cast<const std::int32_t*>(pointer);
    EXPECT_EQ(fcsa_forward(plan.get(), &tensors, nullptr), FCSA_INVALID_ARGUMENT);
    EXPECT_TRUE(contains(fcsa_last_error(), text)) << fcsa_last_error();
  }
  tensors = attention.tensors();
  tensors.size = offsetof(fcsa_tensors, key_lengths);
  EXPECT_EQ(fcsa_forward(plan.get(), &tensors, nullptr), FCSA_INVALID_ARGUMENT);
  EXPECT_TRUE(contains(fcsa_last_error(), "key_lengths is null")) << fcsa_last_error();
}

TEST_F(KeyLengthsTest, AreNotLookedAtWhereThereIsNothingToCompute) {
  fcsa_problem problem = with_lengths(forward_problem(FCSA_F32, 2, 40, 32));
  problem.nk = 0;
  const auto plan = LibraryTest::plan(library_, problem);
  AttentionCase attention(forward_problem(FCSA_F32, 8, 40, 32));
  fcsa_tensors tensors = attention.tensors();
  tensors.k = tensors.v = nullptr;
  run(fcsa_forward, plan.get(), tensors);
  EXPECT_EQ(kernels::load_element(kernels::DType::f32, attention.o().data(), 100), 0.0f);
}

// Of a program that was compiled before fields were added.
TEST_F(KeyLengthsTest, AreMissingInEarlierStructsWhichAreTakenAsTheyWere) {
  fcsa_problem problem = forward_problem(FCSA_F32, 2, 40, 32);
  const AttentionCase attention(problem);
  const auto whole = plan(library_, problem);
  problem.size = offsetof(fcsa_problem, key_lengths);
  problem.key_lengths = 77;  // what is behind the caller's struct
  const auto earlier = plan(library_, problem);
  EXPECT_EQ(earlier.get(), whole.get());
  fcsa_tensors tensors = attention.tensors();
  tensors.size = offsetof(fcsa_tensors, key_lengths);
  tensors.key_lengths = reinterpret_cast<const std::int32_t*>(1);
  run(fcsa_forward, earlier.get(), tensors);
  EXPECT_LE(attention.worst_error(), tolerance(FCSA_F32));
}

}  // namespace
}  // namespace fcsa::library
