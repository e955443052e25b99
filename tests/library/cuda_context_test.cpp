// libfcsa and the caller's CUDA context and stream, with a driver that runs nothing.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>

#include "tests/library/attention_case.h"
#include "tests/library/fake_cuda.h"
#include "tests/library/library_fixture.h"

namespace fcsa::library {
namespace {

class CudaContextTest : public LibraryTest {
 protected:
  CudaContextTest() {
    fake_cuda::make_current(fake_cuda::context(0));
    fake_cuda::end_captures();
    fake_cuda::forget_launches();
  }

  static fcsa_problem problem() {
    fcsa_problem problem = forward_problem(FCSA_F32, 2, 512, 64);
    problem.device = FCSA_CUDA;
    return problem;
  }
  static fcsa_problem backward_problem() {
    fcsa_problem backward = problem();
    backward.op = FCSA_BACKWARD;
    return backward;
  }

  // Addresses that look like a device's.
  static fcsa_tensors tensors(const fcsa_plan* plan) {
    fcsa_tensors t = FCSA_TENSORS_INIT;
    t.q = address(1), t.k = address(2), t.v = address(3), t.o = address(4);
    t.lse = static_cast<float*>(address(5));
    t.workspace = address(6);
    t.workspace_bytes = fcsa_workspace_bytes(plan);
    return t;
  }
  // For all gradients of backward_problem().
  static fcsa_tensors backward_tensors(const fcsa_plan* plan) {
    fcsa_tensors t = tensors(plan);
    t.dout = address(7), t.dq = address(8), t.dk = address(9), t.dv = address(10);
    return t;
  }
  static void* address(std::uintptr_t number) { return reinterpret_cast<void*>(number << 20); }
  static CUstream stream(std::uintptr_t number) { return reinterpret_cast<CUstream>(number << 8); }

  static fcsa_status forward(fcsa_plan* plan, CUstream stream = nullptr) {
    const fcsa_tensors t = tensors(plan);
    return fcsa_forward(plan, &t, stream);
  }
  static fcsa_status backward(fcsa_plan* plan, CUstream stream = nullptr) {
    const fcsa_tensors t = backward_tensors(plan);
    return fcsa_backward(plan, &t, stream);
  }

  testing::ScopedEnvironment driver_{"FCSA_LIBCUDA", FCSA_FAKE_CUDA};
  testing::ScopedEnvironment cache_{"XDG_CACHE_HOME", FCSA_TEST_CACHE};  // one compilation for all tests
  LibraryPtr library_ = open("");
};

TEST_F(CudaContextTest, NoneIsAnErrorThatSaysWhatToCall) {
  fake_cuda::make_current(nullptr);
  const fcsa_problem p = problem();
  fcsa_plan* plan = nullptr;
  EXPECT_EQ(fcsa_plan_create(library_.get(), &p, &plan), FCSA_NO_DEVICE);
  EXPECT_TRUE(contains(fcsa_last_error(), "cudaSetDevice")) << fcsa_last_error();
}

TEST_F(CudaContextTest, HasPlansOfItsOwn) {
  const auto first = plan(library_, problem()), same = plan(library_, problem());
  fake_cuda::make_current(fake_cuda::context(1));
  const auto second = plan(library_, problem());
  fake_cuda::make_current(fake_cuda::context(2));
  const auto third = plan(library_, problem());
  EXPECT_EQ(first.get(), same.get());
  EXPECT_NE(first.get(), second.get());
  EXPECT_TRUE(contains(fcsa_describe(second.get()), "device: cuda:0, Fake H100 (sm_90a)"));
  EXPECT_TRUE(contains(fcsa_describe(third.get()), "device: cuda:1, Fake H100 (sm_90a)"));
}

TEST_F(CudaContextTest, GetsTheCallersPointersAndStream) {
  const auto made = plan(library_, problem());
  ASSERT_EQ(fcsa_prepare(made.get()), FCSA_OK) << fcsa_last_error();
  ASSERT_EQ(forward(made.get(), stream(7)), FCSA_OK) << fcsa_last_error();
  ASSERT_FALSE(fake_cuda::launches().empty());
  for (const auto& launch : fake_cuda::launches()) {
    EXPECT_EQ(launch.context, fake_cuda::context(0));
    EXPECT_EQ(launch.stream, stream(7));
    EXPECT_EQ(launch.args.q, address(1));
    EXPECT_EQ(launch.args.o, address(4));
    EXPECT_EQ(launch.args.lse, address(5));
    EXPECT_EQ(launch.args.workspace, address(6));
    EXPECT_EQ(launch.args.nq, 512);
  }
}

TEST_F(CudaContextTest, GetsTheCallersPointersAndStreamForTheBackwardPass) {
  fcsa_problem p = backward_problem();
  p.scale_gradient = 1;
  p.dk_strides = {2 * 512 * 64, 64, 2 * 64};
  const auto made = plan(library_, p);
  ASSERT_EQ(fcsa_prepare(made.get()), FCSA_OK) << fcsa_last_error();
  fcsa_tensors t = backward_tensors(made.get());
  t.dscale = static_cast<float*>(address(11));
  ASSERT_EQ(fcsa_backward(made.get(), &t, stream(7)), FCSA_OK) << fcsa_last_error();
  ASSERT_FALSE(fake_cuda::launches().empty());
  for (const auto& launch : fake_cuda::launches()) {
    EXPECT_EQ(launch.stream, stream(7));
    EXPECT_EQ(launch.args.o, address(4));
    EXPECT_EQ(launch.args.lse, address(5));
    EXPECT_EQ(launch.args.dout, address(7));
    EXPECT_EQ(launch.args.dq, address(8));
    EXPECT_EQ(launch.args.dk, address(9));
    EXPECT_EQ(launch.args.dv, address(10));
    EXPECT_EQ(launch.args.dbias, nullptr);
    EXPECT_EQ(launch.args.dscale, address(11));
    EXPECT_EQ(launch.args.dk_strides.row, 2 * 64);
    EXPECT_TRUE(launch.args.wants_dscale);
    EXPECT_FALSE(launch.args.wants_dbias);
  }
}

TEST_F(CudaContextTest, GetsAMaskFromLengthsOnTheCallersStreamAheadOfTheKernels) {
  for (const int op : {FCSA_FORWARD, FCSA_BACKWARD}) {
    fake_cuda::forget_launches();
    fcsa_problem p = problem();
    p.op = op;
    p.batch = 3, p.nk = 500, p.key_lengths = 1;
    const auto made = plan(library_, p);
    fake_cuda::capture(stream(9));
    fcsa_tensors t = backward_tensors(made.get());
    t.key_lengths = static_cast<const std::int32_t*>(address(20));
    const auto pass = op == FCSA_FORWARD ? fcsa_forward : fcsa_backward;
    EXPECT_EQ(pass(made.get(), &t, stream(9)), FCSA_NOT_PREPARED);
    ASSERT_EQ(pass(made.get(), &t, stream(7)), FCSA_OK) << fcsa_last_error();
    ASSERT_GE(fake_cuda::launches().size(), 2U);
    const auto& first = fake_cuda::launches().front();
    ASSERT_TRUE(first.writes_mask);
    EXPECT_EQ(first.stream, stream(7));
    EXPECT_EQ(first.lengths.lengths, address(20));
    EXPECT_EQ(first.lengths.batch, 3);
    EXPECT_EQ(first.lengths.nk, 500);
    EXPECT_EQ(first.lengths.stride, 512);
    const unsigned char* const end = static_cast<unsigned char*>(t.workspace) + t.workspace_bytes;
    EXPECT_GE(first.lengths.mask, t.workspace);
    EXPECT_LE(first.lengths.mask + 3 * 512, end);
    for (std::size_t i = 1; i < fake_cuda::launches().size(); ++i) {
      EXPECT_FALSE(fake_cuda::launches()[i].writes_mask);
      EXPECT_EQ(fake_cuda::launches()[i].args.key_mask, first.lengths.mask);
      EXPECT_EQ(fake_cuda::launches()[i].args.key_mask_stride, 512);
    }
    fake_cuda::end_captures();
    fake_cuda::capture(stream(7));
    EXPECT_EQ(pass(made.get(), &t, stream(7)), FCSA_OK) << fcsa_last_error();
    fake_cuda::end_captures();
  }
}

TEST_F(CudaContextTest, HasFewerLaunchesWhereGradientsAreOmitted) {
  const auto launches = [&](std::int32_t dtype, std::int32_t omitted, bool scale = false) {
    fake_cuda::forget_launches();
    fcsa_problem p = backward_problem();
    p.dtype = dtype, p.omitted_gradients = omitted, p.scale_gradient = scale ? 1 : 0;
    const auto made = plan(library_, p);
    fcsa_tensors t = backward_tensors(made.get());
    if ((omitted & FCSA_DQ) != 0) t.dq = nullptr;
    if ((omitted & FCSA_DK) != 0) t.dk = nullptr;
    if ((omitted & FCSA_DV) != 0) t.dv = nullptr;
    if (scale) t.dscale = static_cast<float*>(address(11));
    EXPECT_EQ(fcsa_backward(made.get(), &t, nullptr), FCSA_OK) << fcsa_last_error();
    return fake_cuda::launches().size();
  };
  // Of simt, which computes in f32: prepare, keys, queries.
  EXPECT_EQ(launches(FCSA_F32, 0), 3U);
  EXPECT_EQ(launches(FCSA_F32, FCSA_DQ), 2U);
  EXPECT_EQ(launches(FCSA_F32, FCSA_DK | FCSA_DV), 2U);
  EXPECT_EQ(launches(FCSA_F32, FCSA_DK), 3U);
  // Into the workspace.
  for (const auto& launch : fake_cuda::launches()) {
    EXPECT_GE(launch.args.dk, address(6));
    EXPECT_EQ(launch.args.dv, address(10));
  }
  // What the gradient of the scale is summed from is computed with dq.
  EXPECT_EQ(launches(FCSA_F32, FCSA_DQ, true), 4U);
  // Of wgmma: all at once, and dq is rounded by a launch of its own.
  EXPECT_EQ(launches(FCSA_BF16, 0), 3U);
  EXPECT_EQ(launches(FCSA_BF16, FCSA_DQ), 2U);
  EXPECT_EQ(launches(FCSA_BF16, FCSA_DK | FCSA_DV), 3U);
}

TEST_F(CudaContextTest, IsNotWaitedForByACompilerThatHangs) {
  const testing::ScopedEnvironment nvrtc("FCSA_NVRTC", FCSA_HANGING_NVRTC),
      deadline("FCSA_COMPILER_DEADLINE", "0.1"), cache("XDG_CACHE_HOME", home() / "none");
  const auto library = open("");
  const auto made = plan(library, problem());
  EXPECT_EQ(fcsa_prepare(made.get()), FCSA_NO_COMPILER);
  for (const char* part : {"NVRTC 13.0 (" FCSA_HANGING_NVRTC, "has not compiled a kernel in 0.6 s",
                           "FCSA_COMPILER_DEADLINE=SECONDS"})
    EXPECT_TRUE(contains(fcsa_last_error(), part)) << fcsa_last_error();
  // Which isn't asked again.
  EXPECT_EQ(fcsa_prepare(made.get()), FCSA_NO_COMPILER);
  void* const nvrtc_library = dlopen(FCSA_HANGING_NVRTC, RTLD_NOW | RTLD_NOLOAD);
  ASSERT_NE(nvrtc_library, nullptr);
  const void* const compilations = dlsym(nvrtc_library, "hanging_nvrtc_compilations");
  ASSERT_NE(compilations, nullptr);
  EXPECT_EQ(*static_cast<const std::atomic<int>*>(compilations), 1);
  dlclose(nvrtc_library);
}

TEST_F(CudaContextTest, HasOneMoreLaunchWhereTheGradientOfTheScaleIsWanted) {
  const int before = fake_cuda::modules_loaded();
  fcsa_problem p = backward_problem();
  const auto plain = plan(library_, p);
  ASSERT_EQ(backward(plain.get()), FCSA_OK) << fcsa_last_error();
  const std::size_t launches = fake_cuda::launches().size();
  p.scale_gradient = 1;
  const auto scaled = plan(library_, p);
  fcsa_tensors t = backward_tensors(scaled.get());
  t.dscale = static_cast<float*>(address(11));
  ASSERT_EQ(fcsa_backward(scaled.get(), &t, nullptr), FCSA_OK) << fcsa_last_error();
  EXPECT_EQ(fake_cuda::launches().size(), 2 * launches + 1);
  // By the same kernels.
  EXPECT_EQ(fake_cuda::modules_loaded(), before + 1);
}

TEST_F(CudaContextTest, OfABackwardPassUnderCaptureNeedsAPlanThatIsPrepared) {
  const auto made = plan(library_, backward_problem());
  fake_cuda::capture(stream(7));
  EXPECT_EQ(backward(made.get(), stream(7)), FCSA_NOT_PREPARED);
  EXPECT_TRUE(fake_cuda::launches().empty());
  ASSERT_EQ(fcsa_prepare(made.get()), FCSA_OK) << fcsa_last_error();
  EXPECT_EQ(backward(made.get(), stream(7)), FCSA_OK) << fcsa_last_error();
  EXPECT_FALSE(fake_cuda::launches().empty());
}

TEST_F(CudaContextTest, GetsNoAtomicsWhereTheBackwardPassIsToBeDeterministic) {
  fcsa_problem p = backward_problem();
  p.dtype = FCSA_BF16;
  EXPECT_TRUE(contains(fcsa_describe(plan(library_, p).get()), "configuration: wgmma.backward"))
      << fcsa_describe(plan(library_, p).get());
  p.deterministic = 1;
  const std::string text = fcsa_describe(plan(library_, p).get());
  EXPECT_TRUE(contains(text, "configuration: mma.backward")) << text;
  EXPECT_FALSE(contains(text, "dq=1")) << text;
}

TEST_F(CudaContextTest, MayBeMissingInAThreadThatLaunches) {
  const auto made = plan(library_, problem());
  std::optional<fcsa_status> status;
  CUcontext after = fake_cuda::context(1);
  std::thread([&] {
    status = forward(made.get());
    after = fake_cuda::current();
  }).join();
  EXPECT_EQ(status, FCSA_OK) << fcsa_last_error();
  EXPECT_EQ(after, nullptr);
  EXPECT_EQ(fake_cuda::launches().front().context, fake_cuda::context(0));
}

TEST_F(CudaContextTest, OfAnotherPlanIsAnErrorThatSaysSo) {
  const auto made = plan(library_, problem());
  ASSERT_EQ(fcsa_prepare(made.get()), FCSA_OK) << fcsa_last_error();
  fake_cuda::make_current(fake_cuda::context(2));
  EXPECT_EQ(forward(made.get()), FCSA_INVALID_ARGUMENT);
  EXPECT_TRUE(contains(fcsa_last_error(), "a CUDA context of cuda:0")) << fcsa_last_error();
  EXPECT_TRUE(fake_cuda::launches().empty());
}

TEST_F(CudaContextTest, ThatWasResetNeedsNewPlans) {
  const auto made = plan(library_, problem());
  ASSERT_EQ(fcsa_prepare(made.get()), FCSA_OK) << fcsa_last_error();
  fake_cuda::reset(fake_cuda::context(0));
  EXPECT_EQ(forward(made.get()), FCSA_INVALID_ARGUMENT);
  EXPECT_TRUE(contains(fcsa_last_error(), "reset or destroyed")) << fcsa_last_error();
  const auto anew = plan(library_, problem());
  EXPECT_NE(anew.get(), made.get());
  EXPECT_EQ(forward(anew.get()), FCSA_OK) << fcsa_last_error();
}

TEST_F(CudaContextTest, UnderCaptureNeedsAPlanThatIsPrepared) {
  const auto made = plan(library_, problem());
  fake_cuda::capture(stream(7));
  EXPECT_EQ(forward(made.get(), stream(7)), FCSA_NOT_PREPARED);
  EXPECT_TRUE(contains(fcsa_last_error(), "call fcsa_prepare first")) << fcsa_last_error();
  EXPECT_TRUE(fake_cuda::launches().empty());
  ASSERT_EQ(fcsa_prepare(made.get()), FCSA_OK) << fcsa_last_error();
  EXPECT_EQ(forward(made.get(), stream(7)), FCSA_OK) << fcsa_last_error();
}

TEST_F(CudaContextTest, GetsKernelsOnceAndWithoutEndingCapturesOfOtherThreads) {
  const int before = fake_cuda::modules_loaded();
  const auto made = plan(library_, problem());
  ASSERT_EQ(forward(made.get()), FCSA_OK) << fcsa_last_error();
  ASSERT_EQ(fcsa_prepare(made.get()), FCSA_OK) << fcsa_last_error();
  fcsa_problem longer = problem();
  longer.nk = 513;
  const auto second = plan(library_, longer);
  fake_cuda::capture(stream(7));
  EXPECT_EQ(forward(second.get(), stream(7)), FCSA_OK) << fcsa_last_error();
  EXPECT_EQ(fake_cuda::modules_loaded(), before + 1);
  EXPECT_EQ(fake_cuda::modules_loaded_unsafely(), 0);
}

TEST_F(CudaContextTest, GivesLseAPlaceInTheWorkspaceWhenNobodyWantsIt) {
  fcsa_problem p = problem();
  const std::size_t with_lse = fcsa_workspace_bytes(plan(library_, p).get());
  ASSERT_GT(with_lse, 0U);
  p.lse = 0;
  const auto made = plan(library_, p);
  EXPECT_GE(fcsa_workspace_bytes(made.get()), with_lse + sizeof(float) * 2 * 512);
  fcsa_tensors t = tensors(made.get());
  t.lse = nullptr;
  ASSERT_EQ(fcsa_forward(made.get(), &t, nullptr), FCSA_OK) << fcsa_last_error();
  const auto* lse = reinterpret_cast<const unsigned char*>(fake_cuda::launches().back().args.lse);
  const auto* workspace = static_cast<const unsigned char*>(t.workspace);
  EXPECT_GE(lse, workspace + with_lse);
  EXPECT_LE(lse + sizeof(float) * 2 * 512, workspace + t.workspace_bytes);
}

}  // namespace
}  // namespace fcsa::library
