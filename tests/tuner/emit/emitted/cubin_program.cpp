// Compiled by emitted_cubin_header_test.cpp with headers that have binaries inside, by a C++ compiler alone,
// and run on GPUs that aren't there. Exit status 1 when an expectation fails.
#include "expectations.h"
#include "fake_gpu.h"
#include "fcsa_tuned_sm_80.h"
#include "fcsa_tuned_sm_90.h"

#if defined(FCSA_HD) || defined(__CUDACC__)
#error "a macro leaks, or this is nvcc"
#endif

fcsa_tuned::sm_90::Status forward_in_second_unit(const fcsa_tuned::sm_90::Attention& attention);

namespace {

namespace sm_80 = fcsa_tuned::sm_80;
namespace sm_90 = fcsa_tuned::sm_90;

sm_90::Attention on_hopper() {
  auto a = without_memory<sm_90::Attention>();
  a.dtype = sm_90::DType::bf16;
  a.causal = true;
  a.nq = a.nk = 8192;  // more tiles than multiprocessors
  return a;
}

void nothing_is_current_is_a_refusal() {
  fake_gpu() = {};
  fake_gpu().has_context = false;
  expect_refusal(forward(on_hopper(), no_memory(), nullptr), "call cudaSetDevice or cuCtxSetCurrent");
}

void a_driver_that_is_too_old_is_a_refusal() {
  fake_gpu() = {};
  fake_gpu().load_result = CUDA_ERROR_INVALID_IMAGE;
  expect_refusal(forward(on_hopper(), no_memory(), nullptr), "NVRTC");
  expect(fake_gpu().launches.empty(), "nothing is launched");
}

void kernels_are_loaded_once_and_launched_on_the_stream() {
  fake_gpu() = {};
  const auto stream = reinterpret_cast<CUstream>(0x77);
  expect(forward(on_hopper(), no_memory(), stream).ok(), "the first call");
  const auto first = fake_gpu().launches;
  const int loads = fake_gpu().loads;
  expect(forward(on_hopper(), no_memory(), stream).ok(), "the second call");
  expect(forward_in_second_unit(on_hopper()).ok(), "from another translation unit");
  expect(loads == 1 && fake_gpu().loads == 1, "one binary, loaded once");
  expect(fake_gpu().strict_loads == 0 && !fake_gpu().relaxed, "loading is allowed while others capture");
  expect(fake_gpu().launches.size() == 3 * first.size(), "the same launches every time");
  const FakeGpu::Launch& last = first.back();
  expect(last.kernel.find("5wgmma") != std::string::npos, "wgmma, not " + last.kernel);
  expect(last.grid_x == 132 && last.smem_bytes > 48 << 10 && last.stream == stream, "launched as planned");
  expect(last.cooperative && !first.front().cooperative, "the kernel whose blocks wait for each other");
  expect(fake_gpu().maps_encoded == 9, "three maps a call");
}

void lengths_that_were_not_tuned_run_too() {
  fake_gpu() = {};
  for (const int length : {1, 77, 3001}) {
    auto a = on_hopper();
    a.nq = length;
    a.nk = 2 * length;
    a.layout = sm_90::Layout::bnhd;
    a.kv_heads = 2;
    expect(describe(a).match == sm_90::Match::nearest, "nearest");
    expect(forward(a, no_memory(), nullptr).ok(), "any length");
  }
  expect(fake_gpu().launches.size() >= 3, "launched");
}

void gradients_are_launched_by_the_kernels_of_their_own() {
  fake_gpu() = {};
  const auto a = with_gradients(on_hopper());
  expect(backward(a, no_memory(), nullptr).ok(), "backward");
  expect(fake_gpu().launches.size() == 3, "a launch for each step");
  expect(fake_gpu().loads == 1 && fake_gpu().maps_encoded == 0, "one binary, without maps");
  for (const auto& launch : fake_gpu().launches)
    expect(launch.kernel.find("3mma") != std::string::npos, "a kernel of mma, not " + launch.kernel);
  auto biased = a;
  biased.dbias = no_memory();
  expect_refusal(backward(biased, no_memory(), nullptr), "bias is null");
}

void each_runs_on_its_own_gpu_only() {
  fake_gpu() = {};
  expect_refusal(forward(without_memory<sm_80::Attention>(), no_memory(), nullptr),
                 "tuned for sm_80, and the current device (0) is sm_90");
  fake_gpu().major = 8;
  expect(forward(without_memory<sm_80::Attention>(), no_memory(), nullptr).ok(), "sm_80 runs on sm_80");
  expect(fake_gpu().launches.back().kernel.find("4simt") != std::string::npos, "a kernel of simt");
}

}  // namespace

int main() {
  nothing_is_current_is_a_refusal();
  a_driver_that_is_too_old_is_a_refusal();
  kernels_are_loaded_once_and_launched_on_the_stream();
  expect_clusters_of_more_than_eight_to_be_asked_for(on_hopper());
  lengths_that_were_not_tuned_run_too();
  gradients_are_launched_by_the_kernels_of_their_own();
  each_runs_on_its_own_gpu_only();
  return failures() == 0 ? 0 : 1;
}
