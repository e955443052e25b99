// Compiled by emitted_cuda_header_test.cpp with headers for two GPUs and a CPU, for both GPUs, and run on
// GPUs that aren't there. Exit status 1 when an expectation fails.
#include <vector>

#include "expectations.h"
#include "fake_gpu.h"
#include "fcsa_tuned_cpu.h"
#include "fcsa_tuned_sm_80.cuh"
#include "fcsa_tuned_sm_90.cuh"

fcsa_tuned::sm_90::Selection describe_in_second_unit(const fcsa_tuned::sm_90::Attention& attention);

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

// Launches of forward() on a GPU of this compute capability.
template <typename Attention>
std::vector<FakeGpu::Launch> launches(const Attention& a, int major) {
  fake_gpu() = {};
  fake_gpu().major = major;
  const auto status = forward(a, no_memory(), nullptr);
  expect(status.ok(), status.text);
  return fake_gpu().launches;
}

void expect_of(const FakeGpu::Launch& launch, const std::string& space, const std::string& family) {
  expect(launch.kernel.find(space) != std::string::npos && launch.kernel.find(family) != std::string::npos,
         "a kernel of " + family + " in " + space + ", not " + launch.kernel);
}

void each_gpu_gets_its_own_kernels() {
  const auto older = launches(without_memory<sm_80::Attention>(), 8), newer = launches(on_hopper(), 9);
  expect_of(older.back(), "5sm_80", "4simt");
  expect_of(newer.back(), "5sm_90", "5wgmma");
}

void a_persistent_kernel_has_a_block_for_each_multiprocessor() {
  const auto last = launches(on_hopper(), 9).back();
  expect(last.grid_x == 132, "132 blocks, not " + std::to_string(last.grid_x));
  expect(last.smem_bytes > 48 << 10 && last.threads >= 256, "shared memory and threads of the configuration");
  expect(last.cooperative, "blocks that wait for each other are launched all at once");
  expect(fake_gpu().maps_encoded == 3, "maps of q, k and v");
}

void gradients_come_from_a_family_of_their_own() {
  fake_gpu() = {};
  const auto a = with_gradients(on_hopper());
  expect(backward(a, no_memory(), nullptr).ok(), "backward");
  expect(fake_gpu().launches.size() == 3 && fake_gpu().maps_encoded == 0, "three launches without maps");
  for (const auto& launch : fake_gpu().launches) expect_of(launch, "5sm_90", "3mma");
}

void the_length_decides_the_kernel_in_every_translation_unit() {
  auto a = on_hopper();
  a.nq = a.nk = 512;
  const sm_90::Selection with_short = describe(a);
  a.nq = a.nk = 4096;
  const sm_90::Selection with_long = describe_in_second_unit(a);
  expect(with_short.match == sm_90::Match::exact && with_long.match == sm_90::Match::exact, "tuned shapes");
  expect(std::strcmp(with_short.configuration, with_long.configuration) != 0,
         "long and short take different kernels");
}

// All keys are alike: every row is the mean of the values.
void the_cpu_computes() {
  namespace cpu = fcsa_tuned::cpu;
  struct alignas(256) Memory {
    float q[64] = {}, k[3 * 64] = {}, v[3 * 64], o[64], workspace[1 << 16];
  };
  const auto memory = std::make_unique<Memory>();
  for (int i = 0; i < 3 * 64; ++i) memory->v[i] = static_cast<float>(i / 64);
  cpu::Attention a;
  a.q = memory->q, a.k = memory->k, a.v = memory->v, a.o = memory->o;
  a.nk = 3;
  const cpu::Status status = forward(a, memory->workspace);
  expect(status.ok(), status.text);
  for (const float x : memory->o) expect(x > 0.9999f && x < 1.0001f, "the mean of 0, 1 and 2");
}

}  // namespace

int main() {
  expect_clusters_of_more_than_eight_to_be_asked_for(on_hopper());
  each_gpu_gets_its_own_kernels();
  a_persistent_kernel_has_a_block_for_each_multiprocessor();
  gradients_come_from_a_family_of_their_own();
  the_length_decides_the_kernel_in_every_translation_unit();
  the_cpu_computes();
  return failures() == 0 ? 0 : 1;
}
