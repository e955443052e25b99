// Compiled against an emitted header with kernels that take tensor maps by emitted_cuda_header_test.cpp, and
// run without a GPU. Exit status 1 when an expectation fails.
#include <cstdio>
#include <cstring>

#include "fcsa_tuned_sm_90.cuh"

fcsa_tuned::sm_90::Selection describe_in_second_unit(const fcsa_tuned::sm_90::Attention& attention);

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::printf("FAILED: %s\n", what);
  ++failures;
}

}  // namespace

int main() {
  using namespace fcsa_tuned::sm_90;
  Attention a;
  a.dtype = DType::bf16;
  a.causal = true;
  a.batch = 2;
  a.heads = a.kv_heads = 8;
  a.nq = a.nk = 512;
  const Selection with_short = describe(a);
  expect(with_short.status.ok() && with_short.match == Match::exact, "a tuned shape is found");
  expect(std::strncmp(with_short.configuration, "wgmma.forward", 13) == 0, "wgmma serves it");
  expect(!forward(a, nullptr, nullptr).ok(), "null pointers are refused");
  a.nq = a.nk = 4096;
  const Selection with_long = describe_in_second_unit(a);
  expect(with_long.status.ok() && with_long.match == Match::exact, "and in a second translation unit");
  expect(std::strcmp(with_short.configuration, with_long.configuration) != 0,
         "long and short take different kernels");
  return failures == 0 ? 0 : 1;
}
