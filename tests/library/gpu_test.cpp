// libfcsa on a GPU: the caller's context, streams, threads, graphs and workspaces.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "runner/cuda/context.h"
#include "tests/library/attention_case.h"
#include "tests/library/library_fixture.h"

namespace fcsa::library {
namespace {

using runner::cuda::Context;
using runner::cuda::Driver;

// What a program does with the driver besides what fcsa itself needs.
struct GraphFunctions {
  runner::DynamicLibrary library = runner::DynamicLibrary::open("libcuda.so.1");
  CUresult (*begin_capture)(CUstream, CUstreamCaptureMode) = get("cuStreamBeginCapture_v2");
  CUresult (*end_capture)(CUstream, CUgraph*) = get("cuStreamEndCapture");
  CUresult (*instantiate)(CUgraphExec*, CUgraph, unsigned long long) = get("cuGraphInstantiateWithFlags");
  CUresult (*launch)(CUgraphExec, CUstream) = get("cuGraphLaunch");
  CUresult (*destroy)(CUgraph) = get("cuGraphDestroy");
  CUresult (*destroy_executable)(CUgraphExec) = get("cuGraphExecDestroy");
  CUresult (*create_context)(CUcontext*, unsigned, CUdevice) = get("cuCtxCreate_v2");
  CUresult (*destroy_context)(CUcontext) = get("cuCtxDestroy_v2");

 private:
  struct Any {
    void* address;
    template <typename Function>
    operator Function*() const {
      return reinterpret_cast<Function*>(address);
    }
  };
  Any get(const char* name) const { return {library.get(name)}; }
};

// Bytes behind a workspace that nobody may write to.
constexpr std::size_t kGuard = 4096;

class LibraryGpuTest : public LibraryTest {
 protected:
  void SetUp() override {
    try {
      driver_ = std::make_shared<const Driver>();
      int count = 0;
      driver_->check(driver_->device_get_count(&count), "cuDeviceGetCount");
      if (count == 0) GTEST_SKIP() << "there is no CUDA device";
    } catch (const std::runtime_error& error) {
      GTEST_SKIP() << error.what();
    }
    graphs_ = std::make_unique<GraphFunctions>();
    context_ = Context::primary(driver_, 0);
    library_ = open("");
  }

  void check(CUresult result) const { driver_->check(result, "a call of the test"); }

  static fcsa_problem problem(std::int32_t dtype = FCSA_BF16, int rows = 300) {
    fcsa_problem problem = forward_problem(dtype, 4, rows, 64);
    problem.device = FCSA_CUDA;
    problem.batch = 2;
    return problem;
  }

  // A case's tensors on the device, for one launch at a time.
  struct OnDevice {
    std::vector<std::unique_ptr<runner::cuda::CudaBuffer>> buffers;
    fcsa_tensors tensors = FCSA_TENSORS_INIT;
    void* guard = nullptr;
  };

  OnDevice place(const AttentionCase& attention, const fcsa_plan* plan) const {
    OnDevice placed;
    const auto add = [&](const Memory& from) {
      placed.buffers.push_back(std::make_unique<runner::cuda::CudaBuffer>(
          context_, std::make_shared<runner::cuda::AllocationCount>(), from.bytes()));
      void* data = placed.buffers.back()->data();
      check(driver_->memcpy_htod_async(reinterpret_cast<CUdeviceptr>(data), from.data(), from.bytes(),
                                       nullptr));
      check(driver_->stream_synchronize(nullptr));
      return data;
    };
    const fcsa_tensors host = attention.tensors();
    fcsa_tensors& t = placed.tensors;
    t.q = add(attention.q());
    t.k = add(attention.k());
    t.v = add(attention.v());
    t.o = add(attention.o());
    if (host.lse != nullptr) t.lse = static_cast<float*>(add(attention.lse()));
    if (host.key_mask != nullptr) t.key_mask = static_cast<const std::uint8_t*>(add(attention.key_mask()));
    if (host.bias != nullptr) t.bias = add(attention.bias());
    if (host.head_scale != nullptr) t.head_scale = static_cast<const float*>(add(attention.head_scale()));
    t.workspace_bytes = fcsa_workspace_bytes(plan);
    t.workspace = add(Memory(t.workspace_bytes + kGuard, 0xa5));
    placed.guard = static_cast<unsigned char*>(t.workspace) + t.workspace_bytes;
    return placed;
  }

  void download(const Memory& to, const void* from) const {
    check(driver_->memcpy_dtoh_async(to.data(), reinterpret_cast<CUdeviceptr>(from), to.bytes(), nullptr));
    check(driver_->stream_synchronize(nullptr));
  }

  // The error of what a stream has computed, once it is done; infinite when the workspace was overrun.
  double error_of(const AttentionCase& attention, const OnDevice& placed, CUstream stream) const {
    check(driver_->stream_synchronize(stream));
    download(attention.o(), placed.tensors.o);
    if (placed.tensors.lse != nullptr) download(attention.lse(), placed.tensors.lse);
    const Memory guard(kGuard, 0);
    download(guard, placed.guard);
    const bool intact =
        std::all_of(guard.data(), guard.data() + kGuard, [](unsigned char b) { return b == 0xa5; });
    return intact ? attention.worst_error() : std::numeric_limits<double>::infinity();
  }

  double error_of(const fcsa_problem& problem) {
    AttentionCase attention(problem);
    const auto made = plan(library_, problem);
    const OnDevice placed = place(attention, made.get());
    EXPECT_EQ(fcsa_forward(made.get(), &placed.tensors, nullptr), FCSA_OK) << fcsa_last_error();
    return error_of(attention, placed, nullptr);
  }

  std::shared_ptr<const Driver> driver_;
  std::unique_ptr<GraphFunctions> graphs_;
  std::shared_ptr<const Context> context_;
  LibraryPtr library_;
};

// Of lengths that other kernels are taken for.
TEST_F(LibraryGpuTest, IsRightForEveryDtypeAndLength) {
  for (const int dtype : {FCSA_F32, FCSA_BF16, FCSA_F16})
    for (const int rows : {1, 300, 1100})
      EXPECT_LE(error_of(problem(dtype, rows)), tolerance(dtype)) << dtype << ", " << rows << " rows";
}

TEST_F(LibraryGpuTest, IsRightForFeaturesAndLayoutsTogether) {
  fcsa_problem p = problem();
  p.kv_heads = 2;
  p.nq = 129;
  p.causal = 1;
  p.layout = FCSA_BNHD;
  p.key_mask = 1;
  p.key_mask_batch = 1;
  EXPECT_LE(error_of(p), tolerance(FCSA_BF16));
  p.bias = FCSA_BIAS_DTYPE;
  p.bias_heads = 1;
  p.lse = 0;
  EXPECT_LE(error_of(p), tolerance(FCSA_BF16));
  p = problem(FCSA_F16);
  // As in one tensor [batch, rows, 3, heads, channels].
  p.q_strides = p.k_strides = p.v_strides = {300 * 3 * 4 * 64, 64, 3 * 4 * 64};
  p.groups = 2;
  EXPECT_LE(error_of(p), tolerance(FCSA_F16));
}

// At a length whose blocks wait for each other: they must get on although others are on the device.
TEST_F(LibraryGpuTest, RunsOnStreamsOfSeveralThreadsAtATime) {
  const fcsa_problem p = problem(FCSA_BF16, 1100);
  const auto made = plan(library_, p);
  std::array<double, 2> errors{};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < errors.size(); ++i) {
    threads.emplace_back([&, i] {
      const Context::Active active(*context_);
      const runner::cuda::Stream stream(context_);
      const AttentionCase attention(p, static_cast<unsigned>(i) + 1);
      const OnDevice placed = place(attention, made.get());
      for (int round = 0; round < 50; ++round)
        EXPECT_EQ(fcsa_forward(made.get(), &placed.tensors, stream.get()), FCSA_OK) << fcsa_last_error();
      errors[i] = error_of(attention, placed, stream.get());
    });
  }
  for (auto& thread : threads) thread.join();
  for (const double error : errors) EXPECT_LE(error, tolerance(FCSA_BF16));
}

TEST_F(LibraryGpuTest, ServesAThreadWithoutAContext) {
  const AttentionCase attention(problem());
  const auto made = plan(library_, problem());
  const OnDevice placed = place(attention, made.get());
  std::optional<fcsa_status> status;
  std::thread([&] { status = fcsa_forward(made.get(), &placed.tensors, nullptr); }).join();
  EXPECT_EQ(status, FCSA_OK);
  EXPECT_LE(error_of(attention, placed, nullptr), tolerance(FCSA_BF16));
}

TEST_F(LibraryGpuTest, UnderCaptureNeedsAPlanThatIsPreparedAndLeavesTheCaptureGoing) {
  const runner::cuda::Stream stream(context_);
  const AttentionCase attention(problem());
  const auto made = plan(library_, problem());
  const OnDevice placed = place(attention, made.get());
  check(graphs_->begin_capture(stream.get(), CU_STREAM_CAPTURE_MODE_GLOBAL));
  EXPECT_EQ(fcsa_forward(made.get(), &placed.tensors, stream.get()), FCSA_NOT_PREPARED);
  EXPECT_TRUE(contains(fcsa_last_error(), "call fcsa_prepare first")) << fcsa_last_error();
  CUgraph graph = nullptr;
  check(graphs_->end_capture(stream.get(), &graph));
  check(graphs_->destroy(graph));
}

TEST_F(LibraryGpuTest, IsPreparedWhileAnotherThreadCaptures) {
  const runner::cuda::Stream stream(context_);
  const auto made = plan(library_, problem());
  check(graphs_->begin_capture(stream.get(), CU_STREAM_CAPTURE_MODE_GLOBAL));
  std::thread([&] { EXPECT_EQ(fcsa_prepare(made.get()), FCSA_OK) << fcsa_last_error(); }).join();
  CUgraph graph = nullptr;
  check(graphs_->end_capture(stream.get(), &graph));
  check(graphs_->destroy(graph));
}

TEST_F(LibraryGpuTest, ReplaysFromAGraphWithTheSameBits) {
  for (const int dtype : {FCSA_F32, FCSA_BF16}) {
    const runner::cuda::Stream stream(context_);
    const AttentionCase attention(problem(dtype));
    const auto made = plan(library_, problem(dtype));
    ASSERT_EQ(fcsa_prepare(made.get()), FCSA_OK) << fcsa_last_error();
    const OnDevice placed = place(attention, made.get());
    ASSERT_EQ(fcsa_forward(made.get(), &placed.tensors, stream.get()), FCSA_OK) << fcsa_last_error();
    ASSERT_LE(error_of(attention, placed, stream.get()), tolerance(dtype));
    const std::vector<unsigned char> direct(attention.o().data(),
                                            attention.o().data() + attention.o().bytes());

    CUgraph graph = nullptr;
    CUgraphExec executable = nullptr;
    check(graphs_->begin_capture(stream.get(), CU_STREAM_CAPTURE_MODE_GLOBAL));
    ASSERT_EQ(fcsa_forward(made.get(), &placed.tensors, stream.get()), FCSA_OK) << fcsa_last_error();
    check(graphs_->end_capture(stream.get(), &graph));
    check(graphs_->instantiate(&executable, graph, 0));
    for (int replay = 0; replay < 3; ++replay) {
      check(driver_->memset_d8_async(reinterpret_cast<CUdeviceptr>(placed.tensors.o), 0xff, direct.size(),
                                     stream.get()));
      check(graphs_->launch(executable, stream.get()));
      check(driver_->stream_synchronize(stream.get()));
      download(attention.o(), placed.tensors.o);
      EXPECT_EQ(std::memcmp(attention.o().data(), direct.data(), direct.size()), 0) << "replay " << replay;
    }
    check(graphs_->destroy_executable(executable));
    check(graphs_->destroy(graph));
  }
}

TEST_F(LibraryGpuTest, BelongsToTheContextThatThePlanWasMadeIn) {
  const auto primary = plan(library_, problem());
  CUcontext own = nullptr;
  check(graphs_->create_context(&own, 0, 0));  // and makes it current
  {
    const auto made = plan(library_, problem());
    EXPECT_NE(made.get(), primary.get());
    EXPECT_EQ(fcsa_prepare(made.get()), FCSA_OK) << fcsa_last_error();
    EXPECT_EQ(fcsa_prepare(primary.get()), FCSA_INVALID_ARGUMENT);
    EXPECT_TRUE(contains(fcsa_last_error(), "not the one that the calling thread has current"))
        << fcsa_last_error();
  }
  library_.reset();  // with the modules that are in it
  check(graphs_->destroy_context(own));
}

TEST_F(LibraryGpuTest, AllocatesNothingWhenItRuns) {
  const AttentionCase attention(problem());
  const auto made = plan(library_, problem());
  ASSERT_EQ(fcsa_prepare(made.get()), FCSA_OK) << fcsa_last_error();
  const OnDevice placed = place(attention, made.get());
  std::size_t before = 0, after = 0, total = 0;
  check(driver_->mem_get_info(&before, &total));
  for (int i = 0; i < 20; ++i)
    ASSERT_EQ(fcsa_forward(made.get(), &placed.tensors, nullptr), FCSA_OK) << fcsa_last_error();
  check(driver_->stream_synchronize(nullptr));
  check(driver_->mem_get_info(&after, &total));
  EXPECT_EQ(after, before);
}

}  // namespace
}  // namespace fcsa::library
