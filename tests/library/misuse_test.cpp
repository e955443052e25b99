#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "tests/library/gradient_case.h"
#include "tests/library/library_fixture.h"

namespace fcsa::library {
namespace {

struct Misuse {
  std::function<void(fcsa_problem&)> change;
  fcsa_status status;
  const char* text;  // part of what fcsa_last_error says
};

using TensorMisuse = std::pair<std::function<void(fcsa_tensors&)>, const char*>;

class MisuseTest : public LibraryWithoutCompilerTest {
 protected:
  // With two batches.
  void expect_refused(fcsa_problem right, const std::vector<Misuse>& misuses) {
    right.batch = 2;
    for (const auto& misuse : misuses) {
      fcsa_problem problem = right;
      misuse.change(problem);
      auto* plan = reinterpret_cast<fcsa_plan*>(&problem);
      EXPECT_EQ(fcsa_plan_create(library_.get(), &problem, &plan), misuse.status) << misuse.text;
      EXPECT_EQ(plan, nullptr) << misuse.text;
      EXPECT_TRUE(contains(fcsa_last_error(), misuse.text)) << misuse.text << "\n" << fcsa_last_error();
    }
  }

  using Run = decltype(fcsa_forward);
  static void expect_refused(Run* run, fcsa_plan* plan, fcsa_tensors right,
                             const std::vector<TensorMisuse>& misuses) {
    const Memory workspace(fcsa_workspace_bytes(plan), 0);
    right.workspace = workspace.data();
    right.workspace_bytes = workspace.bytes();
    for (const auto& [change, text] : misuses) {
      fcsa_tensors tensors = right;
      change(tensors);
      EXPECT_EQ(run(plan, &tensors, nullptr), FCSA_INVALID_ARGUMENT) << text;
      EXPECT_TRUE(contains(fcsa_last_error(), text)) << text << "\n" << fcsa_last_error();
    }
  }

  LibraryPtr library_ = open("");
};

alignas(256) unsigned char elsewhere[4096];

TEST_F(MisuseTest, OfAProblemIsAnErrorThatNamesTheFieldAndWhatIsAllowed) {
  using P = fcsa_problem&;
  const std::vector<Misuse> misuses = {
      {[](P p) { p.size = 0; }, FCSA_INVALID_ARGUMENT, "fcsa_problem.size is 0: start from its _INIT macro"},
      {[](P p) { p.size = 24; }, FCSA_INVALID_ARGUMENT,
       "fcsa_problem.size is 24: fcsa " FCSA_VERSION " knows 376"},
      {[](P p) { p.op = 0; }, FCSA_INVALID_ARGUMENT, "op is 0: set it to FCSA_FORWARD or FCSA_BACKWARD"},
      {[](P p) { p.device = 0; }, FCSA_INVALID_ARGUMENT, "device is 0: set it to FCSA_CPU or FCSA_CUDA"},
      {[](P p) { p.dtype = 0; }, FCSA_INVALID_ARGUMENT, "dtype is 0: set it to FCSA_F32"},
      {[](P p) { p.batch = -1; }, FCSA_INVALID_ARGUMENT, "batch is -1: it must be at least 0"},
      {[](P p) { p.heads = 0; }, FCSA_INVALID_ARGUMENT, "heads is 0: it must be at least 1"},
      {[](P p) { p.kv_heads = 3; }, FCSA_INVALID_ARGUMENT, "heads must be a multiple of kv_heads"},
      {[](P p) { p.nq = -1; }, FCSA_INVALID_ARGUMENT, "nq is -1"},
      {[](P p) { p.nk = -1; }, FCSA_INVALID_ARGUMENT, "nk is -1"},
      {[](P p) { p.heads = p.nk = 2147483647; }, FCSA_INVALID_ARGUMENT,
       "batch x heads is 4294967294: at most"},
      {[](P p) { p.batch = p.heads = 65536, p.nq = 1; }, FCSA_INVALID_ARGUMENT,
       "batch x heads is 4294967296"},
      {[](P p) { p.batch = 65536, p.nq = 32768; }, FCSA_INVALID_ARGUMENT,
       "batch x heads x nq is 4294967296: at most 2147483647 rows fit a launch"},
      {[](P p) { p.heads = 2, p.batch = 1, p.nk = 2000000000; }, FCSA_INVALID_ARGUMENT,
       "batch x kv_heads x nk is 4000000000"},
      {[](P p) { p.batch = 1, p.heads = 1, p.nq = 2147483647, p.head_dim = 256; }, FCSA_INVALID_ARGUMENT,
       "q is too large: a batch of 1 heads x 2147483647 rows x 256 channels must be below 2^40 bytes"},
      {[](P p) { p.head_dim = 0; }, FCSA_INVALID_ARGUMENT, "head_dim is 0"},
      {[](P p) { p.head_dim = 72; }, FCSA_UNSUPPORTED, "head_dim is 72: kernels serve multiples of 16"},
      {[](P p) { p.head_dim = 512; }, FCSA_UNSUPPORTED, "head_dim is 512"},
      {[](P p) { p.layout = 7; }, FCSA_INVALID_ARGUMENT, "layout is 7: set it to FCSA_BHND or FCSA_BNHD"},
      {[](P p) { p.causal = 2; }, FCSA_INVALID_ARGUMENT, "causal is 2: set it to 0 or 1"},
      {[](P p) { p.lse = -1; }, FCSA_INVALID_ARGUMENT, "lse is -1: set it to 0 or 1"},
      {[](P p) { p.bias = 9; }, FCSA_INVALID_ARGUMENT, "bias is 9: set it to FCSA_NO_BIAS"},
      {[](P p) { p.bias_heads = 1; }, FCSA_INVALID_ARGUMENT, "there is none"},
      {[](P p) { p.bias = FCSA_BIAS_F32, p.bias_batch = 4; }, FCSA_INVALID_ARGUMENT, "it must divide batch"},
      {[](P p) { p.bias = FCSA_BIAS_F32, p.bias_strides.row = -1; }, FCSA_INVALID_ARGUMENT,
       "bias_strides.row is -1"},
      {[](P p) { p.key_mask_batch = 3; }, FCSA_INVALID_ARGUMENT, "key_mask_batch is 3: it must be 1"},
      {[](P p) { p.key_mask_stride = -1; }, FCSA_INVALID_ARGUMENT, "key_mask_stride is -1"},
      {[](P p) { p.key_lengths = 2; }, FCSA_INVALID_ARGUMENT, "key_lengths is 2: set it to 0 or 1"},
      {[](P p) { p.key_lengths = p.key_mask = 1; }, FCSA_INVALID_ARGUMENT,
       "key_lengths and key_mask are both 1: one of the two says which keys are visible"},
      {[](P p) { p.groups = 5; }, FCSA_INVALID_ARGUMENT, "groups is 5: it must divide head_dim"},
      {[](P p) { p.scale = std::numeric_limits<float>::infinity(); }, FCSA_INVALID_ARGUMENT, "scale is inf"},
      {[](P p) { p.logit_bound = -1; }, FCSA_INVALID_ARGUMENT, "logit_bound is -1"},
      {[](P p) { p.eps = std::numeric_limits<float>::quiet_NaN(); }, FCSA_INVALID_ARGUMENT, "eps is nan"},
      {[](P p) {
         p.q_strides = {1280, 640, 34};
       },
       FCSA_INVALID_ARGUMENT, "q_strides.row is 34: it must be a multiple of 4"},
      {[](P p) {
         p.k_strides = {1280, 0, 32};
       },
       FCSA_INVALID_ARGUMENT, "k_strides.head is 0: there are 2"},
      {[](P p) {
         p.v_strides = {1280, 640, -32};
       },
       FCSA_INVALID_ARGUMENT, "v_strides.row is -32"},
      {[](P p) {
         p.o_strides = {1280, 320, 32};
       },
       FCSA_INVALID_ARGUMENT, "rows of o would overlap"},
      {[](P p) { p.o_strides.batch = std::numeric_limits<std::int64_t>::max(); }, FCSA_INVALID_ARGUMENT,
       "below 2^40"},
      {[](P p) { p.reserved = 1; }, FCSA_INVALID_ARGUMENT, "reserved is 1: leave it at 0"},
      {[](P p) { p.bias_gradient = 2; }, FCSA_INVALID_ARGUMENT, "bias_gradient is 2: set it to 0 or 1"},
      {[](P p) { p.bias_gradient = 1; }, FCSA_INVALID_ARGUMENT,
       "bias_gradient is set, and op is FCSA_FORWARD: it is for FCSA_BACKWARD"},
      {[](P p) { p.scale_gradient = 1; }, FCSA_INVALID_ARGUMENT, "scale_gradient is set"},
      {[](P p) { p.deterministic = 1; }, FCSA_INVALID_ARGUMENT, "deterministic is set"},
      {[](P p) { p.omitted_gradients = FCSA_DQ; }, FCSA_INVALID_ARGUMENT,
       "omitted_gradients is set, and op is FCSA_FORWARD"},
      {[](P p) { p.omitted_gradients = 8; }, FCSA_INVALID_ARGUMENT,
       "omitted_gradients is 8: add up FCSA_DQ, FCSA_DK and FCSA_DV, or leave it at 0"},
      {[](P p) { p.dq_strides.row = 32; }, FCSA_INVALID_ARGUMENT, "dq_strides is set"},
      {[](P p) { p.dbias_strides.row = 32; }, FCSA_INVALID_ARGUMENT, "dbias_strides is set"},
  };
  expect_refused(forward_problem(FCSA_F32, 2, 20, 32), misuses);
}

TEST_F(MisuseTest, OfABackwardProblemIsAnErrorThatNamesTheFieldAndWhatIsAllowed) {
  using P = fcsa_problem&;
  const std::vector<Misuse> misuses = {
      {[](P p) { p.bias_gradient = 1; }, FCSA_INVALID_ARGUMENT,
       "bias_gradient is 1, and there is no bias: set bias, or leave it at 0"},
      {[](P p) { p.omitted_gradients = FCSA_DQ | FCSA_DK | FCSA_DV; }, FCSA_INVALID_ARGUMENT,
       "omitted_gradients leaves nothing to compute"},
      {[](P p) { p.deterministic = -1; }, FCSA_INVALID_ARGUMENT, "deterministic is -1: set it to 0 or 1"},
      {[](P p) {
         p.dout_strides = {1280, 640, 34};
       },
       FCSA_INVALID_ARGUMENT, "dout_strides.row is 34: it must be a multiple of 4"},
      {[](P p) {
         p.dq_strides = {1280, 320, 32};
       },
       FCSA_INVALID_ARGUMENT, "rows of dq would overlap"},
      {[](P p) {
         p.dk_strides = {1280, 32, 32};
       },
       FCSA_INVALID_ARGUMENT, "rows of dk would overlap"},
      {[](P p) {
         p.dv_strides = {640, 640, 32};
       },
       FCSA_INVALID_ARGUMENT, "rows of dv would overlap"},
      {[](P p) {
         p.dv_strides = {1280, 0, 32};
       },
       FCSA_INVALID_ARGUMENT, "dv_strides.head is 0: there are 2"},
      {[](P p) {
         p.dk_strides = {0, 640, 32};
       },
       FCSA_INVALID_ARGUMENT, "dk_strides.batch is 0: there are 2"},
      {[](P p) {
         p.bias = FCSA_BIAS_F32, p.bias_gradient = 1;
         p.dbias_strides = {800, 400, 19};
       },
       FCSA_INVALID_ARGUMENT, "dbias_strides.row is 19: rows of dbias would overlap"},
      {[](P p) {
         p.bias = FCSA_BIAS_F32, p.bias_gradient = 1;
         p.dbias_strides = {800, 0, 20};
       },
       FCSA_INVALID_ARGUMENT, "dbias_strides.head is 0"},
  };
  expect_refused(backward_problem(FCSA_F32, 2, 20, 32), misuses);
}

TEST_F(MisuseTest, OfTensorsIsAnErrorThatNamesThePointer) {
  using T = fcsa_tensors&;
  const std::vector<TensorMisuse> misuses = {
      {[](T t) { t.size = 0; }, "fcsa_tensors.size is 0"},
      {[](T t) { t.q = nullptr; }, "q is null"},
      {[](T t) { t.k = elsewhere + 8; }, "k is not aligned to 16 bytes"},
      {[](T t) { t.o = nullptr; }, "o is null"},
      {[](T t) { t.lse = nullptr; }, "lse is null"},
      {[](T t) { t.key_mask = elsewhere; },
       "key_mask is given, but the plan was made for a problem without it"},
      {[](T t) { t.key_lengths = reinterpret_cast<std::int32_t*>(elsewhere); },
       "key_lengths is given, but the plan was made for a problem without it"},
      {[](T t) { t.bias = elsewhere; }, "bias is given"},
      {[](T t) { t.head_scale = reinterpret_cast<float*>(elsewhere); }, "head_scale is given"},
      {[](T t) { t.workspace_bytes -= 1; }, "as fcsa_workspace_bytes says"},
      {[](T t) { t.workspace = nullptr; }, "workspace is null"},
      {[](T t) { t.workspace = elsewhere + 16; }, "workspace is not aligned to 256 bytes"},
  };
  const fcsa_problem problem = forward_problem(FCSA_F32, 2, 20, 32);
  const AttentionCase attention(problem);
  const auto plan = LibraryTest::plan(library_, problem);
  expect_refused(fcsa_forward, plan.get(), attention.tensors(), misuses);
}

TEST_F(MisuseTest, OfTensorsOfGradientsIsAnErrorThatNamesThePointer) {
  using T = fcsa_tensors&;
  const std::vector<TensorMisuse> misuses = {
      {[](T t) { t.o = nullptr; }, "o is null"},
      {[](T t) { t.lse = nullptr; }, "lse is null: the backward pass reads what a forward pass with lse = 1"},
      {[](T t) { t.dout = nullptr; }, "dout is null"},
      {[](T t) { t.dq = elsewhere + 8; }, "dq is not aligned to 16 bytes"},
      {[](T t) { t.dk = nullptr; }, "dk is null"},
      {[](T t) { t.dv = nullptr; }, "dv is null"},
      {[](T t) { t.dbias = elsewhere; },
       "dbias is given, but the plan was made for a problem without it: set bias_gradient in fcsa_problem"},
      {[](T t) { t.dscale = nullptr; }, "dscale is null"},
      {[](T t) { t.dscale = reinterpret_cast<float*>(elsewhere + 2); }, "dscale is not aligned to 4 bytes"},
      {[](T t) { t.workspace_bytes -= 1; }, "as fcsa_workspace_bytes says"},
  };
  fcsa_problem problem = backward_problem(FCSA_F32, 2, 20, 32);
  problem.lse = 0;  // the backward pass reads it all the same
  problem.scale_gradient = 1;
  const GradientCase gradients(problem);
  const auto plan = LibraryTest::plan(library_, problem);
  expect_refused(fcsa_backward, plan.get(), gradients.tensors(), misuses);
}

TEST_F(MisuseTest, OfAPlanForTheOtherPassIsAnErrorThatSaysWhatToCall) {
  const GradientCase gradients(backward_problem(FCSA_F32, 2, 20, 32));
  const auto forward = plan(library_, forward_problem(FCSA_F32, 2, 20, 32));
  const auto backward = plan(library_, gradients.attention().problem());
  const TensorMisuse call_backward{[](fcsa_tensors&) {}, "op is FCSA_BACKWARD: call fcsa_backward"};
  const TensorMisuse call_forward{[](fcsa_tensors&) {}, "op is FCSA_FORWARD: call fcsa_forward"};
  expect_refused(fcsa_forward, backward.get(), gradients.tensors(), {call_backward});
  expect_refused(fcsa_backward, forward.get(), gradients.tensors(), {call_forward});
}

TEST_F(MisuseTest, ByNullPointersIsAnError) {
  const fcsa_problem problem = forward_problem(FCSA_F32, 2, 20, 32);
  const fcsa_tensors tensors = FCSA_TENSORS_INIT;
  fcsa_plan* made = nullptr;
  const auto plan = LibraryTest::plan(library_, problem);
  EXPECT_EQ(fcsa_open(nullptr, nullptr), FCSA_INVALID_ARGUMENT);
  EXPECT_EQ(fcsa_plan_create(nullptr, &problem, &made), FCSA_INVALID_ARGUMENT);
  EXPECT_EQ(fcsa_plan_create(library_.get(), nullptr, &made), FCSA_INVALID_ARGUMENT);
  EXPECT_EQ(fcsa_plan_create(library_.get(), &problem, nullptr), FCSA_INVALID_ARGUMENT);
  EXPECT_EQ(fcsa_prepare(nullptr), FCSA_INVALID_ARGUMENT);
  EXPECT_EQ(fcsa_forward(nullptr, &tensors, nullptr), FCSA_INVALID_ARGUMENT);
  EXPECT_EQ(fcsa_forward(plan.get(), nullptr, nullptr), FCSA_INVALID_ARGUMENT);
  EXPECT_EQ(fcsa_backward(nullptr, &tensors, nullptr), FCSA_INVALID_ARGUMENT);
  EXPECT_EQ(fcsa_backward(plan.get(), nullptr, nullptr), FCSA_INVALID_ARGUMENT);
  EXPECT_EQ(fcsa_workspace_bytes(nullptr), 0U);
  EXPECT_STREQ(fcsa_describe(nullptr), "");
  fcsa_plan_destroy(nullptr);
  fcsa_close(nullptr);
}

TEST_F(MisuseTest, OfOptionsIsAnError) {
  fcsa_options options = FCSA_OPTIONS_INIT;
  options.size = 1000;
  fcsa_library* library = nullptr;
  EXPECT_EQ(fcsa_open(&options, &library), FCSA_INVALID_ARGUMENT);
  EXPECT_TRUE(contains(fcsa_last_error(), "fcsa_options.size is 1000")) << fcsa_last_error();
  EXPECT_EQ(library, nullptr);
}

TEST_F(MisuseTest, WithoutCudaIsAnErrorThatSaysWhatIsMissing) {
  const testing::ScopedEnvironment driver("FCSA_LIBCUDA", "/nowhere/libcuda.so.1");
  fcsa_problem problem = forward_problem(FCSA_BF16, 2, 20, 64);
  problem.device = FCSA_CUDA;
  fcsa_plan* plan = nullptr;
  EXPECT_EQ(fcsa_plan_create(library_.get(), &problem, &plan), FCSA_NO_DEVICE);
  EXPECT_TRUE(contains(fcsa_last_error(), "install the NVIDIA driver")) << fcsa_last_error();
}

TEST(Status, HasANameAndTheLibraryAVersion) {
  EXPECT_STREQ(fcsa_status_name(FCSA_OK), "FCSA_OK");
  EXPECT_STREQ(fcsa_status_name(FCSA_NOT_PREPARED), "FCSA_NOT_PREPARED");
  EXPECT_STREQ(fcsa_version(), FCSA_VERSION);
}

}  // namespace
}  // namespace fcsa::library
