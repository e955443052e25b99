// libfcsa on a GPU: the caller's context, streams, threads, graphs and workspaces.
#include <array>
#include <cstring>
#include <optional>
#include <thread>

#include "tests/library/library_gpu_fixture.h"

namespace fcsa::library {
namespace {

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

TEST_F(LibraryGpuTest, HidesWhatIsBehindKeyLengths) {
  for (const int dtype : {FCSA_F32, FCSA_BF16, FCSA_F16})
    for (const int rows : {57, 300, 1100}) {
      fcsa_problem p = problem(dtype, rows);
      p.batch = 5;
      p.key_lengths = 1;
      EXPECT_LE(error_of(p), tolerance(dtype)) << dtype << ", " << rows << " rows";
    }
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

    const auto launch = [&] {
      EXPECT_EQ(fcsa_forward(made.get(), &placed.tensors, stream.get()), FCSA_OK) << fcsa_last_error();
    };
    const CUgraphExec executable = captured(launch, stream.get());
    for (int replay = 0; replay < 3; ++replay) {
      check(driver_->memset_d8_async(reinterpret_cast<CUdeviceptr>(placed.tensors.o), 0xff, direct.size(),
                                     stream.get()));
      check(graphs_->launch(executable, stream.get()));
      check(driver_->stream_synchronize(stream.get()));
      download(attention.o(), placed.tensors.o);
      EXPECT_EQ(std::memcmp(attention.o().data(), direct.data(), direct.size()), 0) << "replay " << replay;
    }
    check(graphs_->destroy_executable(executable));
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
