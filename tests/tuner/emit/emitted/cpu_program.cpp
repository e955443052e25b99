// Compiled against an emitted header by emitted_cpu_header_test.cpp. Exit status 1 when an expectation fails.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#define FCSA_HD a macro of the program
#include "expectations.h"
#include "fcsa_tuned_cpu.h"
#define TEXT_OF(...) #__VA_ARGS__
#define EXPANDED_TEXT_OF(...) TEXT_OF(__VA_ARGS__)

using namespace fcsa_tuned::cpu;

Status forward_in_second_unit(const Attention& attention);

namespace {

struct alignas(256) Memory {
  unsigned char bytes[1 << 20] = {};
};

struct Buffers {
  std::vector<Memory> memory = std::vector<Memory>(5);
  void* operator[](int i) { return memory[static_cast<std::size_t>(i)].bytes; }
};

Attention small(Buffers& buffers) {
  Attention a;
  for (int tensor = 0; tensor < 3; ++tensor)
    for (int i = 0; i < 1 << 18; ++i)
      static_cast<float*>(buffers[tensor])[i] = static_cast<float>(i % 17 - 8);
  a.q = buffers[0];
  a.k = buffers[1];
  a.v = buffers[2];
  a.o = buffers[3];
  a.heads = a.kv_heads = 2;
  a.nq = a.nk = 50;
  return a;
}

void expect_refusal(const Attention& a, void* workspace, Code code, const std::string& text) {
  const Status status = forward(a, workspace);
  expect(status.code == code, std::string("another kind of refusal: ") + status.text);
  ::expect_refusal(status, text);
}

void bad_input_is_refused_with_the_reason() {
  Buffers buffers;
  const Attention good = small(buffers);
  void* workspace = buffers[4];
  const auto changed = [&](auto change) {
    Attention a = good;
    change(a);
    return a;
  };
  using A = Attention&;
  const Code invalid = Code::invalid_argument;
  expect(forward(good, workspace).ok(), "the problem that the others are made from runs");
  expect_refusal(changed([](A a) { a.q = nullptr; }), workspace, invalid, "q is null");
  expect_refusal(changed([](A a) { a.o = nullptr; }), workspace, invalid, "o is null");
  expect_refusal(changed([](A a) { a.v = static_cast<const char*>(a.v) + 4; }), workspace, invalid,
                 "v is not aligned");
  expect_refusal(changed([](A a) { a.k_strides = {6400, 3200, 66}; }), workspace, invalid, "k has strides");
  expect_refusal(changed([](A a) { a.heads = 3; }), workspace, invalid, "multiple of kv_heads");
  expect_refusal(changed([](A a) { a.nk = -1; }), workspace, invalid, "nk is -1");
  expect_refusal(changed([](A a) { a.scale = 1.0f / 0.0f; }), workspace, invalid, "scale is inf");
  expect_refusal(changed([](A a) { a.head_dim = 72; }), workspace, Code::unsupported, "f32 head_dim 64");
  expect_refusal(changed([](A a) { a.groups = 2; }), workspace, Code::unsupported,
                 "--head-dim 64 --causal no --groups 2`");
  const auto biased = [&](auto change) {
    return changed([&](A a) {
      a.bias = buffers[0];
      change(a);
    });
  };
  expect_refusal(biased([](A a) { a.bias_dtype = DType::f16; }), workspace, invalid,
                 "bias_dtype is f16: it must be f32 or dtype, which is f32");
  expect_refusal(biased([](A a) { a.bias_batch = 2; }), workspace, invalid, "bias_batch is 2");
  expect_refusal(biased([](A a) { a.bias_heads = 3; }), workspace, invalid,
                 "bias_heads is 3: it must be 1 or heads, which is 2");
  expect_refusal(biased([](A a) { a.bias = static_cast<const char*>(a.bias) + 2, a.head_scale = &a.scale; }),
                 workspace, invalid, "bias is not aligned");
  expect_refusal(biased([](A a) { a.causal = true; }), workspace, Code::unsupported,
                 "--causal yes --bias same` and emit again; this header serves");
  expect_refusal(good, nullptr, invalid, "workspace is null");
  expect_refusal(good, static_cast<char*>(workspace) + 16, invalid, "256 bytes");
  expect(workspace_bytes(changed([](A a) { a.head_dim = 72; })) == 0, "no workspace for a refused problem");
}

void without_keys_the_output_is_zero() {
  Buffers buffers;
  Attention a = small(buffers);
  a.nk = 0;
  float* o = static_cast<float*>(a.o);
  o[0] = o[2 * 50 * 64 - 1] = o[2 * 50 * 64] = 7;
  const Status status = forward(a, buffers[4]);
  expect(status.ok(), status.text);
  expect(o[0] == 0 && o[2 * 50 * 64 - 1] == 0 && o[2 * 50 * 64] == 7,
         "all of the output is zero, and no more");
}

void a_backward_pass_that_was_not_tuned_is_refused() {
  Buffers buffers;
  const Status status = backward(small(buffers), buffers[4]);
  expect(status.code == Code::unsupported, status.text);
  ::expect_refusal(
      status,
      "`fcsa tune --op fwd,bwd --dtype f32 --head-dim 64 --causal no` and emit again; this header "
      "serves no backward pass");
}

void nearest_shape_is_chosen() {
  Attention a;
  a.batch = 2;
  a.heads = a.kv_heads = 8;
  a.nq = a.nk = 2048;
  const Selection exact = describe(a);
  expect(exact.status.ok() && exact.match == Match::exact && exact.nq == 2048, "a tuned shape is found");
  a.nq = a.nk = 600;
  const Selection near_short = describe(a);
  expect(near_short.match == Match::nearest && near_short.nq == 512, "600 is nearest to 512");
  a.nq = a.nk = 100000;
  const Selection near_long = describe(a);
  expect(near_long.match == Match::nearest && near_long.nq == 4096, "100000 is nearest to 4096");
  expect(std::string(near_short.configuration) != near_long.configuration,
         "long and short take different kernels");
}

void every_instruction_set_gives_the_same() {
  Buffers buffers;
  Attention a = small(buffers);
  std::vector<float> first;
  for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512}) {
    const Status status = forward(a, buffers[4], isa);
    if (status.code == Code::wrong_device) continue;
    expect(status.ok(), std::string("instruction set: ") + status.text);
    const float* o = static_cast<const float*>(a.o);
    const std::vector<float> here(o, o + 2 * 50 * 64);
    if (first.empty()) first = here;
    for (std::size_t i = 0; i < here.size(); ++i)
      expect(here[i] - first[i] < 1e-4f && first[i] - here[i] < 1e-4f, "equal results");
  }
}

void lse_goes_where_it_is_asked_for() {
  Buffers buffers;
  Attention a = small(buffers);
  const std::size_t without = workspace_bytes(a);
  std::vector<float> lse(2 * 50, -1.0f);
  a.lse = lse.data();
  expect(without >= workspace_bytes(a) + 400, "a null lse takes workspace");
  expect(forward(a, buffers[4]).ok(), "forward with lse");
  // 50 keys with logits of at most 8.
  for (const float x : lse) expect(x > -8.0f && x < 12.0f, "lse is written");
}

void output_follows_the_strides() {
  Buffers buffers;
  Attention a = small(buffers);
  expect(forward(a, buffers[4]).ok(), "dense");
  const float* o = static_cast<const float*>(a.o);
  const std::vector<float> dense(o, o + 2 * 50 * 64);
  a.o_strides = {0, 68, 2 * 68};
  expect(forward(a, buffers[4]).ok(), "strided");
  for (int head = 0; head < 2; ++head)
    for (int row = 0; row < 50; ++row)
      for (int d = 0; d < 64; ++d)
        expect(o[head * 68 + row * 136 + d] == dense[static_cast<std::size_t>((head * 50 + row) * 64 + d)],
               "strides");
}

// A scale of zero leaves the bias alone to decide: each row takes the value of the key that has 60.
void bias_and_head_scale_decide() {
  Buffers buffers;
  Attention a = small(buffers);
  a.batch = 2;
  const auto chosen = [](int head, int row) { return (7 * row + 3 * head) % 50; };
  std::vector<float> bias(2 * 50 * 50, 0.0f), lse(2 * 2 * 50);
  for (int head = 0; head < 2; ++head)
    for (int row = 0; row < 50; ++row)
      bias[static_cast<std::size_t>((head * 50 + row) * 50 + chosen(head, row))] = 60.0f;
  const float head_scale[] = {0.0f, 0.0f};
  a.bias = bias.data();
  a.head_scale = head_scale;
  a.lse = lse.data();
  const auto expect_values = [&](const char* what, auto head_of_bias) {
    const Status status = forward(a, buffers[4]);
    expect(status.ok(), std::string(what) + ": " + status.text);
    const float* o = static_cast<const float*>(a.o);
    const float* v = static_cast<const float*>(a.v);
    for (int i = 0; i < 2 * 2 * 50; ++i) {
      const int key = chosen(head_of_bias(i / 50 % 2), i % 50);
      expect(lse[static_cast<std::size_t>(i)] > 59.99f && lse[static_cast<std::size_t>(i)] < 60.01f, what);
      for (int d = 0; d < 64; ++d)
        expect(std::fabs(o[i * 64 + d] - v[(i / 50 * 50 + key) * 64 + d]) < 1e-4f, what);
    }
  };
  a.bias_batch = 1;
  expect_values("a bias that batches share", [](int head) { return head; });
  a.bias_heads = 1;
  expect_values("a bias that all share", [](int) { return 0; });
}

void a_mask_of_lengths_shows_so_many_keys() {
  const int lengths[] = {-1, 0, 3, 5, 9};
  unsigned char mask[26];
  std::memset(mask, 7, sizeof(mask));
  write_key_mask(lengths, 5, 5, mask);
  for (int b = 0; b < 5; ++b)
    for (int j = 0; j < 5; ++j)
      expect(mask[5 * b + j] == (j < lengths[b] ? 1 : 0), "a key of a mask of lengths");
  expect(mask[25] == 7, "a mask of lengths ends where it should");
}

}  // namespace

int main() {
  a_mask_of_lengths_shows_so_many_keys();
  bad_input_is_refused_with_the_reason();
  without_keys_the_output_is_zero();
  a_backward_pass_that_was_not_tuned_is_refused();
  nearest_shape_is_chosen();
  every_instruction_set_gives_the_same();
  lse_goes_where_it_is_asked_for();
  output_follows_the_strides();
  bias_and_head_scale_decide();
  Buffers buffers;
  Attention a = small(buffers);
  expect(forward_in_second_unit(a).code == Code::invalid_argument,
         "the second unit refuses a null workspace");
  expect(std::string(EXPANDED_TEXT_OF(FCSA_HD)) == "a macro of the program",
         "the program's macros are untouched");
  return failures() == 0 ? 0 : 1;
}
