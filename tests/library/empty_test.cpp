// Problems without queries, keys or batches, and keys that all batches share.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/library/gradient_case.h"
#include "tests/library/library_fixture.h"

namespace fcsa::library {
namespace {

class EmptyTest : public LibraryWithoutCompilerTest {
 protected:
  struct Sizes {
    int batch, nq, nk;
  };
  static fcsa_problem with(fcsa_problem problem, const Sizes& sizes) {
    problem.batch = sizes.batch, problem.nq = sizes.nq, problem.nk = sizes.nk;
    return problem;
  }

  static void run(fcsa_plan* plan, fcsa_tensors tensors) {
    const Memory workspace(fcsa_workspace_bytes(plan), 0xa5);
    tensors.workspace = workspace.data();
    tensors.workspace_bytes = workspace.bytes();
    const auto call = tensors.dout != nullptr || tensors.dk != nullptr ? fcsa_backward : fcsa_forward;
    EXPECT_EQ(call(plan, &tensors, nullptr), FCSA_OK) << fcsa_last_error();
  }

  static void expect_zeros(const Memory& memory, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes; ++i) ASSERT_EQ(memory.data()[i], 0) << "byte " << i;
  }

  LibraryPtr library_ = open("");
};

TEST_F(EmptyTest, WithoutKeysOIsZeroAndLseMinusInfinity) {
  for (const int dtype : {FCSA_F32, FCSA_BF16}) {
    const auto plan = LibraryTest::plan(library_, with(forward_problem(dtype, 3, 1, 32), {2, 5, 0}));
    ASSERT_NE(plan, nullptr) << fcsa_last_error();
    const std::size_t bytes = 2 * 3 * 5 * 32 * (dtype == FCSA_F32 ? 4 : 2);
    const Memory q(bytes, 0xff), o(bytes, 0xff), lse(2 * 3 * 5 * 4, 0);
    fcsa_tensors tensors = FCSA_TENSORS_INIT;
    tensors.q = q.data(), tensors.o = o.data(), tensors.lse = reinterpret_cast<float*>(lse.data());
    run(plan.get(), tensors);
    expect_zeros(o, bytes);
    for (int i = 0; i < 2 * 3 * 5; ++i) EXPECT_EQ(tensors.lse[i], -INFINITY);
  }
}

TEST_F(EmptyTest, WithoutQueriesOrBatchesThereIsNothingToWrite) {
  for (const Sizes& sizes : {Sizes{2, 0, 7}, Sizes{0, 5, 7}, Sizes{2, 0, 0}}) {
    const auto plan = LibraryTest::plan(library_, with(forward_problem(FCSA_F32, 3, 1, 32), sizes));
    ASSERT_NE(plan, nullptr) << fcsa_last_error();
    const Memory k(4 * 2 * 3 * 7 * 32, 0xff);
    fcsa_tensors tensors = FCSA_TENSORS_INIT;
    tensors.k = tensors.v = k.data();
    run(plan.get(), tensors);
  }
}

TEST_F(EmptyTest, GradientsAreZero) {
  fcsa_problem problem = backward_problem(FCSA_F32, 3, 1, 32);
  problem.scale_gradient = 1;
  const Memory tensor(2 * 3 * 7 * 32 * 4, 0xff);
  for (const Sizes& sizes : {Sizes{2, 0, 7}, Sizes{2, 7, 0}}) {
    const auto plan = LibraryTest::plan(library_, with(problem, sizes));
    ASSERT_NE(plan, nullptr) << fcsa_last_error();
    const Memory first(tensor.bytes(), 0xff), second(tensor.bytes(), 0xff), dscale(3 * 4, 0xff);
    fcsa_tensors t = FCSA_TENSORS_INIT;
    t.dscale = reinterpret_cast<float*>(dscale.data());
    if (sizes.nk == 0) {
      t.q = t.o = tensor.data(), t.dout = tensor.data(), t.dq = first.data();
      t.lse = reinterpret_cast<float*>(tensor.data());
    } else {
      t.k = t.v = tensor.data(), t.dk = first.data(), t.dv = second.data();
    }
    run(plan.get(), t);
    expect_zeros(first, first.bytes());
    if (sizes.nq == 0) expect_zeros(second, second.bytes());
    expect_zeros(dscale, dscale.bytes());
  }
}

TEST_F(EmptyTest, TheGradientOfABiasOfNoBatchesIsZero) {
  const testing::ScopedEnvironment compiler("FCSA_CXX", "c++");  // no kernel that is built in has it
  fcsa_problem problem = with(backward_problem(FCSA_F32, 3, 1, 32), {0, 4, 5});
  problem.bias = FCSA_BIAS_F32, problem.bias_batch = 1, problem.bias_gradient = 1;
  const auto plan = LibraryTest::plan(library_, problem);
  ASSERT_NE(plan, nullptr) << fcsa_last_error();
  const Memory dbias(3 * 4 * 5 * 4, 0xff);
  fcsa_tensors t = FCSA_TENSORS_INIT;
  t.dbias = dbias.data(), t.dk = dbias.data();
  run(plan.get(), t);
  expect_zeros(dbias, dbias.bytes());
}

TEST_F(EmptyTest, KeysAndValuesMayBeSharedByAllBatches) {
  fcsa_problem problem = forward_problem(FCSA_F32, 2, 33, 32);
  problem.batch = 3;
  problem.k_strides = problem.v_strides = {0, 33 * 32, 32};
  AttentionCase attention(problem);
  const auto plan = LibraryTest::plan(library_, problem);
  ASSERT_NE(plan, nullptr) << fcsa_last_error();
  run(plan.get(), attention.tensors());
  EXPECT_LE(attention.worst_error(), tolerance(FCSA_F32));
}

TEST_F(EmptyTest, EveryBatchHasItsOwnGradientsOfSharedKeys) {
  fcsa_problem problem = backward_problem(FCSA_F32, 2, 33, 32);
  problem.batch = 3;
  problem.k_strides = problem.v_strides = {0, 33 * 32, 32};
  GradientCase gradients(problem);
  const auto plan = LibraryTest::plan(library_, problem);
  ASSERT_NE(plan, nullptr) << fcsa_last_error();
  run(plan.get(), gradients.tensors());
  EXPECT_EQ(gradients.mistake(), "");
}

}  // namespace
}  // namespace fcsa::library
