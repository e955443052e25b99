// The backward pass of libfcsa on a GPU: every dtype and feature, streams, threads and graphs.
#include <array>
#include <string>
#include <thread>

#include "tests/library/library_gpu_fixture.h"

namespace fcsa::library {
namespace {

class BackwardGpuTest : public LibraryGpuTest {
 protected:
  static fcsa_problem problem(std::int32_t dtype = FCSA_BF16, int rows = 300) {
    fcsa_problem problem = LibraryGpuTest::problem(dtype, rows);
    problem.op = FCSA_BACKWARD;
    return problem;
  }
};

TEST_F(BackwardGpuTest, IsRightForEveryDtypeAndLength) {
  for (const int dtype : {FCSA_F32, FCSA_BF16, FCSA_F16})
    for (const int rows : {1, 300, 1100})
      EXPECT_EQ(mistake_of(problem(dtype, rows)), "") << dtype << ", " << rows << " rows";
}

TEST_F(BackwardGpuTest, IsRightForFeaturesAndLayoutsTogether) {
  for (const int dtype : {FCSA_F32, FCSA_BF16, FCSA_F16}) {
    SCOPED_TRACE(dtype);
    fcsa_problem p = problem(dtype);
    p.kv_heads = 2;
    p.nq = 129;
    p.causal = 1;
    p.layout = FCSA_BNHD;
    p.key_mask = 1;
    p.deterministic = 1;
    EXPECT_EQ(mistake_of(p), "");
    p.bias = FCSA_BIAS_DTYPE;
    p.bias_batch = 1;
    p.head_scale = 1;
    p.bias_gradient = p.scale_gradient = 1;
    EXPECT_EQ(mistake_of(p), "");
    p = problem(dtype);
    // As in one tensor [batch, rows, 3, heads, channels], and so are their gradients.
    p.q_strides = p.k_strides = p.v_strides = {300 * 3 * 4 * 64, 64, 3 * 4 * 64};
    p.dq_strides = p.dk_strides = p.dv_strides = p.q_strides;
    p.dout_strides = {4 * 300 * 80, 300 * 80, 80};
    p.groups = 2;
    EXPECT_EQ(mistake_of(p), "");
  }
}

TEST_F(BackwardGpuTest, HidesWhatIsBehindKeyLengths) {
  for (const int dtype : {FCSA_F32, FCSA_BF16, FCSA_F16}) {
    fcsa_problem p = problem(dtype);
    p.batch = 5;
    p.key_lengths = 1;
    EXPECT_EQ(mistake_of(p), "") << dtype;
  }
}

TEST_F(BackwardGpuTest, IsRightWithoutTheGradientsThatAreOmitted) {
  for (const int dtype : {FCSA_F32, FCSA_BF16, FCSA_F16})
    for (const int deterministic : {0, 1})
      for (int omitted = 1; omitted < 7; ++omitted) {
        fcsa_problem p = problem(dtype);
        p.kv_heads = 2;
        p.deterministic = deterministic;
        p.omitted_gradients = omitted;
        EXPECT_EQ(mistake_of(p), "") << dtype << " without " << omitted;
      }
}

TEST_F(BackwardGpuTest, ReplaysFromAGraphWithTheSameBits) {
  for (const int dtype : {FCSA_F32, FCSA_BF16}) {
    fcsa_problem p = problem(dtype);
    p.deterministic = 1;
    const runner::cuda::Stream stream(context_);
    const GradientCase gradients(p);
    const auto made = plan(library_, p);
    const OnDevice placed = place(gradients, made.get());
    const auto launch = [&] { return fcsa_backward(made.get(), &placed.tensors, stream.get()); };
    const auto values = [&] {
      std::vector<unsigned char> all;
      for (const auto& gradient : gradients.gradients())
        all.insert(all.end(), gradient.memory.data(), gradient.memory.data() + gradient.memory.bytes());
      return all;
    };
    check(
        graphs_->destroy_executable(captured([&] { EXPECT_EQ(launch(), FCSA_NOT_PREPARED); }, stream.get())));
    ASSERT_EQ(launch(), FCSA_OK) << fcsa_last_error();
    ASSERT_EQ(mistake_of(gradients, placed, stream.get()), "");
    const auto direct = values();

    const CUgraphExec executable =
        captured([&] { EXPECT_EQ(launch(), FCSA_OK) << fcsa_last_error(); }, stream.get());
    for (int replay = 0; replay < 3; ++replay) {
      for (void* output : {placed.tensors.dq, placed.tensors.dk, placed.tensors.dv})
        check(driver_->memset_d8_async(reinterpret_cast<CUdeviceptr>(output), 0xff, gradients.dout().bytes(),
                                       stream.get()));
      check(graphs_->launch(executable, stream.get()));
      check(driver_->stream_synchronize(stream.get()));
      download_gradients(gradients, placed);
      EXPECT_EQ(values(), direct) << "replay " << replay;
    }
    check(graphs_->destroy_executable(executable));
  }
}

TEST_F(BackwardGpuTest, RunsOnStreamsOfSeveralThreadsAtATime) {
  const fcsa_problem p = problem();
  const auto made = plan(library_, p);
  std::array<std::string, 2> mistakes;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < mistakes.size(); ++i) {
    threads.emplace_back([&, i] {
      const Context::Active active(*context_);
      const runner::cuda::Stream stream(context_);
      const GradientCase gradients(p, static_cast<unsigned>(i) + 1);
      const OnDevice placed = place(gradients, made.get());
      for (int round = 0; round < 50; ++round)
        EXPECT_EQ(fcsa_backward(made.get(), &placed.tensors, stream.get()), FCSA_OK) << fcsa_last_error();
      mistakes[i] = mistake_of(gradients, placed, stream.get());
    });
  }
  for (auto& thread : threads) thread.join();
  for (const std::string& mistake : mistakes) EXPECT_EQ(mistake, "");
}

TEST_F(BackwardGpuTest, AllocatesNothingWhenItRuns) {
  const GradientCase gradients(problem());
  const auto made = plan(library_, problem());
  ASSERT_EQ(fcsa_prepare(made.get()), FCSA_OK) << fcsa_last_error();
  const OnDevice placed = place(gradients, made.get());
  std::size_t before = 0, after = 0, total = 0;
  check(driver_->mem_get_info(&before, &total));
  for (int i = 0; i < 20; ++i)
    ASSERT_EQ(fcsa_backward(made.get(), &placed.tensors, nullptr), FCSA_OK) << fcsa_last_error();
  check(driver_->stream_synchronize(nullptr));
  check(driver_->mem_get_info(&after, &total));
  EXPECT_EQ(after, before);
}

}  // namespace
}  // namespace fcsa::library
