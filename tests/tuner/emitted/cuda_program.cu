// Compiled against the emitted headers of two architectures by emitted_cuda_header_test.cpp, and run without
// a GPU. Exit status 1 when an expectation fails.
#include <cstdio>
#include <cstring>
#include <string>

#include "fcsa_tuned_sm_80.cuh"
#include "fcsa_tuned_sm_90.cuh"

#if defined(FCSA_HD) || defined(FCSA_DEVICE)
#error "the headers leak macros"
#endif

fcsa_tuned::sm_90::Selection describe_in_second_unit(const fcsa_tuned::sm_90::Attention& attention);

namespace {

int failures = 0;

void expect(bool holds, const std::string& what) {
  if (holds) return;
  std::printf("FAILED: %s\n", what.c_str());
  ++failures;
}

void nearest_shape_is_chosen() {
  using namespace fcsa_tuned::sm_90;
  Attention a;
  a.batch = 2;
  a.heads = a.kv_heads = 8;
  a.nq = a.nk = 2048;
  const Selection exact = describe(a);
  expect(exact.status.ok() && exact.match == Match::exact && exact.nq == 2048, "a tuned shape is found");
  a.nq = a.nk = 600;
  const Selection near_short = describe(a);
  a.nq = a.nk = 100000;
  const Selection near_long = describe_in_second_unit(a);
  expect(near_short.match == Match::nearest && near_short.nq == 512, "600 is nearest to 512");
  expect(near_long.match == Match::nearest && near_long.nq == 4096, "100000 is nearest to 4096");
  expect(std::string(near_short.configuration) != near_long.configuration,
         "long and short take different kernels");
}

template <typename Attention, typename Forward>
void expect_refusal(const Attention& a, const Forward& forward, const std::string& text) {
  const auto status = forward(a);
  expect(!status.ok() && std::strstr(status.text, text.c_str()) != nullptr,
         "a refusal that says '" + text + "', not '" + status.text + "'");
}

// None of these reaches a launch: the pointers are not to memory.
void bad_input_is_refused_with_the_reason() {
  using namespace fcsa_tuned::sm_80;
  const auto run = [](const Attention& a) { return forward(a, nullptr, nullptr); };
  Attention a;
  expect_refusal(a, run, "q is null");
  a.q = a.k = a.v = a.o = reinterpret_cast<void*>(256);
  a.nq = a.nk = 128;
  expect(workspace_bytes(a) >= 128 * 4, "lse is in the workspace");
  expect_refusal(a, run, "workspace is null");
  a.head_dim = 72;
  expect_refusal(a, run, "this header serves f32 head_dim 64");
  a.head_dim = 64;
  a.k_strides = {0, 0, 66};
  expect_refusal(a, run, "k has strides");
  a.heads = 0;
  expect_refusal(a, run, "heads is 0");
}

}  // namespace

int main() {
  nearest_shape_is_chosen();
  bad_input_is_refused_with_the_reason();
  return failures == 0 ? 0 : 1;
}
