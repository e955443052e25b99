// libfcsa on a GPU, as a program that works in a CUDA context has it. Skips where there is none.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "runner/cuda/context.h"
#include "tests/library/gradient_case.h"
#include "tests/library/library_fixture.h"

namespace fcsa::library {

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

  void* upload(OnDevice& placed, const Memory& from) const {
    placed.buffers.push_back(std::make_unique<runner::cuda::CudaBuffer>(
        context_, std::make_shared<runner::cuda::AllocationCount>(), from.bytes()));
    void* data = placed.buffers.back()->data();
    check(
        driver_->memcpy_htod_async(reinterpret_cast<CUdeviceptr>(data), from.data(), from.bytes(), nullptr));
    check(driver_->stream_synchronize(nullptr));
    return data;
  }

  const std::int32_t* upload_lengths(OnDevice& placed, const AttentionCase& attention) const {
    const auto& lengths = attention.key_lengths();
    const Memory bytes(sizeof(std::int32_t) * lengths.size(), 0);
    std::memcpy(bytes.data(), lengths.data(), bytes.bytes());
    return static_cast<const std::int32_t*>(upload(placed, bytes));
  }

  OnDevice place(const AttentionCase& attention, const fcsa_plan* plan) const {
    OnDevice placed;
    const auto add = [&](const Memory& from) { return upload(placed, from); };
    const fcsa_tensors host = attention.tensors();
    fcsa_tensors& t = placed.tensors;
    t.q = add(attention.q());
    t.k = add(attention.k());
    t.v = add(attention.v());
    t.o = add(attention.o());
    if (host.lse != nullptr) t.lse = static_cast<float*>(add(attention.lse()));
    if (host.key_mask != nullptr) t.key_mask = static_cast<const std::uint8_t*>(add(attention.key_mask()));
    if (host.key_lengths != nullptr) t.key_lengths = upload_lengths(placed, attention);
    if (host.bias != nullptr) t.bias = add(attention.bias());
    if (host.head_scale != nullptr) t.head_scale = static_cast<const float*>(add(attention.head_scale()));
    t.workspace_bytes = fcsa_workspace_bytes(plan);
    t.workspace = add(Memory(t.workspace_bytes + kGuard, kPattern));
    placed.guard = static_cast<unsigned char*>(t.workspace) + t.workspace_bytes;
    return placed;
  }

  OnDevice place(const GradientCase& gradients, const fcsa_plan* plan) const {
    OnDevice placed = place(gradients.attention(), plan);
    placed.tensors.dout = upload(placed, gradients.dout());
    std::vector<void*> addresses;
    for (const auto& gradient : gradients.gradients())
      addresses.push_back(gradient.memory.bytes() != 0 ? upload(placed, gradient.memory) : nullptr);
    GradientCase::set_gradients(placed.tensors, addresses);
    return placed;
  }

  void download(const Memory& to, const void* from) const {
    check(driver_->memcpy_dtoh_async(to.data(), reinterpret_cast<CUdeviceptr>(from), to.bytes(), nullptr));
    check(driver_->stream_synchronize(nullptr));
  }

  // Once a stream is done: whether what lies behind the workspace is as it was.
  bool workspace_was_kept(const OnDevice& placed, CUstream stream) const {
    check(driver_->stream_synchronize(stream));
    const Memory guard(kGuard, 0);
    download(guard, placed.guard);
    return std::all_of(guard.data(), guard.data() + kGuard, [](unsigned char b) { return b == kPattern; });
  }

  // The error of what a stream has computed, once it is done; infinite when the workspace was overrun.
  double error_of(const AttentionCase& attention, const OnDevice& placed, CUstream stream) const {
    if (!workspace_was_kept(placed, stream)) return std::numeric_limits<double>::infinity();
    download(attention.o(), placed.tensors.o);
    if (placed.tensors.lse != nullptr) download(attention.lse(), placed.tensors.lse);
    return attention.worst_error();
  }

  void download_gradients(const GradientCase& gradients, const OnDevice& placed) const {
    const fcsa_tensors& t = placed.tensors;
    const void* addresses[] = {t.dq, t.dk, t.dv, t.dbias, t.dscale};
    for (std::size_t i = 0; i < std::size(addresses); ++i)
      if (addresses[i] != nullptr) download(gradients.gradients()[i].memory, addresses[i]);
  }

  double error_of(const fcsa_problem& problem) {
    const AttentionCase attention(problem);
    if (problem.key_lengths != 0) attention.put_nan_into_hidden_keys();
    const auto made = plan(library_, problem);
    const OnDevice placed = place(attention, made.get());
    EXPECT_EQ(fcsa_forward(made.get(), &placed.tensors, nullptr), FCSA_OK) << fcsa_last_error();
    return error_of(attention, placed, nullptr);
  }

  // What is wrong with the gradients that a stream has computed, once it is done; empty where nothing is.
  std::string mistake_of(const GradientCase& gradients, const OnDevice& placed, CUstream stream) const {
    if (!workspace_was_kept(placed, stream)) return "the workspace was overrun";
    download_gradients(gradients, placed);
    return gradients.gaps_are_intact() ? gradients.mistake() : "written to between rows of gradients";
  }
  std::string mistake_of(const fcsa_problem& problem) {
    const GradientCase gradients(problem);
    if (problem.key_lengths != 0) gradients.attention().put_nan_into_hidden_keys();
    const auto made = plan(library_, problem);
    const OnDevice placed = place(gradients, made.get());
    EXPECT_EQ(fcsa_backward(made.get(), &placed.tensors, nullptr), FCSA_OK) << fcsa_last_error();
    return mistake_of(gradients, placed, nullptr);
  }

  // Captured on the stream, and ready to be launched.
  CUgraphExec captured(const std::function<void()>& launch, CUstream stream) const {
    CUgraph graph = nullptr;
    CUgraphExec executable = nullptr;
    check(graphs_->begin_capture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    launch();
    check(graphs_->end_capture(stream, &graph));
    check(graphs_->instantiate(&executable, graph, 0));
    check(graphs_->destroy(graph));
    return executable;
  }

  std::shared_ptr<const Driver> driver_;
  std::unique_ptr<GraphFunctions> graphs_;
  std::shared_ptr<const Context> context_;
  LibraryPtr library_;
};

}  // namespace fcsa::library
