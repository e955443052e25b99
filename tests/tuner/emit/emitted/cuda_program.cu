// Compiled by emitted_cuda_header_test.cpp with the emitted headers of two architectures, for the older one
// only, and run on a GPU that isn't there. Exit status 1 when an expectation fails.
#include "expectations.h"
#include "fake_gpu.h"
#include "fcsa_tuned_sm_80.cuh"
#include "fcsa_tuned_sm_90.cuh"

#if defined(FCSA_HD) || defined(FCSA_DEVICE) || defined(FCSA_TUNED_FOR)
#error "the headers leak macros"
#endif

fcsa_tuned::sm_90::Selection describe_in_second_unit(const fcsa_tuned::sm_90::Attention& attention);

namespace {

namespace sm_80 = fcsa_tuned::sm_80;
namespace sm_90 = fcsa_tuned::sm_90;

void a_mask_of_lengths_is_written_on_the_device() {
  const auto stream = reinterpret_cast<CUstream>(0x100);
  expect(sm_90::write_key_mask(nullptr, 3, 1000, nullptr, stream).ok(), "a mask is written from lengths");
  const FakeGpu::Launch launch = fake_gpu().launches.back();
  expect(launch.kernel.find("write_key_mask") != std::string::npos, "by its kernel, not " + launch.kernel);
  expect(launch.grid_x * launch.threads >= 3000 && (launch.grid_x - 1) * launch.threads < 3000,
         "with a thread for each key");
  expect(launch.stream == stream, "on the caller's stream");
  const std::size_t launches = fake_gpu().launches.size();
  expect(sm_90::write_key_mask(nullptr, 3, 0, nullptr, stream).ok() && fake_gpu().launches.size() == launches,
         "a mask without keys needs no launch");
}

void nearest_shape_is_chosen() {
  auto a = without_memory<sm_90::Attention>();
  const sm_90::Selection exact = describe(a);
  expect(exact.status.ok() && exact.match == sm_90::Match::exact && exact.nq == 2048,
         "a tuned shape is found");
  a.nq = a.nk = 600;
  const sm_90::Selection near_short = describe(a);
  a.nq = a.nk = 100000;
  const sm_90::Selection near_long = describe_in_second_unit(a);
  expect(near_short.match == sm_90::Match::nearest && near_short.nq == 512, "600 is nearest to 512");
  expect(near_long.match == sm_90::Match::nearest && near_long.nq == 4096, "100000 is nearest to 4096");
  expect(std::string(near_short.configuration) != near_long.configuration,
         "long and short take different kernels");
}

void bad_input_is_refused_with_the_reason() {
  const auto run = [](const sm_80::Attention& a) { return forward(a, nullptr, nullptr); };
  sm_80::Attention a;
  expect_refusal(run(a), "q is null");
  a = without_memory<sm_80::Attention>();
  expect(workspace_bytes(a) >= 128 * 4, "lse is in the workspace");
  expect_refusal(run(a), "workspace is null");
  a.head_dim = 72;
  expect_refusal(run(a), "this header serves f32 head_dim 64");
  a.head_dim = 64;
  a.k_strides = {0, 0, 66};
  expect_refusal(run(a), "k has strides");
  a.heads = 0;
  expect_refusal(run(a), "heads is 0");
}

void each_runs_on_its_own_gpu_only() {
  fake_gpu().major = 8;
  expect(forward(without_memory<sm_80::Attention>(), no_memory(), nullptr).ok(), "sm_80 runs on sm_80");
  expect(fake_gpu().launches.back().kernel.find("5sm_80") != std::string::npos,
         "a kernel of the header for sm_80, not " + fake_gpu().launches.back().kernel);
  expect_refusal(forward(without_memory<sm_90::Attention>(), no_memory(), nullptr),
                 "tuned for sm_90, and the current device (0) is sm_80");
  fake_gpu().major = 9;
  expect_refusal(forward(without_memory<sm_80::Attention>(), no_memory(), nullptr), "tuned for sm_80");
}

// Only the header for sm_80 has a backward pass.
void gradients_are_launched_where_they_were_tuned() {
  fake_gpu().major = 8;
  fake_gpu().launches.clear();
  const auto a = with_gradients(without_memory<sm_80::Attention>());
  const sm_80::Selection selection = describe(a, sm_80::Op::backward);
  expect(selection.match == sm_80::Match::exact, "a tuned shape");
  expect(std::strstr(selection.configuration, "simt.backward{") != nullptr, selection.configuration);
  expect(workspace_bytes(a, sm_80::Op::backward) > 0, "workspace");
  expect(backward(a, no_memory(), nullptr).ok(), "backward on sm_80");
  const char* kernels[] = {"prepare", "grad_keys", "grad_queries"};
  expect(fake_gpu().launches.size() == 3, "a launch for each step");
  for (std::size_t i = 0; i < fake_gpu().launches.size(); ++i) {
    const auto& launch = fake_gpu().launches[i];
    expect(launch.kernel.find(kernels[i]) != std::string::npos && launch.grid_x > 1, launch.kernel);
  }
  auto incomplete = a;
  incomplete.dout = nullptr;
  expect_refusal(backward(incomplete, no_memory(), nullptr), "dout is null");
  const auto other = with_gradients(without_memory<sm_90::Attention>());
  expect(workspace_bytes(other, sm_90::Op::backward) == 0, "no workspace for what is refused");
  expect_refusal(backward(other, no_memory(), nullptr),
                 "`fcsa tune --op fwd,bwd --dtype f32 --head-dim 64 --causal no` and emit again; this header "
                 "serves no backward pass");
}

void kernels_that_are_not_compiled_are_not_launched() {
  fake_gpu().major = 9;
  expect_refusal(forward(without_memory<sm_90::Attention>(), no_memory(), nullptr),
                 "add -gencode arch=compute_90a,code=sm_90a");
}

}  // namespace

int main() {
  a_mask_of_lengths_is_written_on_the_device();
  nearest_shape_is_chosen();
  bad_input_is_refused_with_the_reason();
  each_runs_on_its_own_gpu_only();
  gradients_are_launched_where_they_were_tuned();
  kernels_that_are_not_compiled_are_not_launched();
  return failures() == 0 ? 0 : 1;
}
