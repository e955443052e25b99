// Compiled against an emitted header with a backward pass by emitted_cpu_header_test.cpp. Exit status 1 when
// an expectation fails.
#include "../../../../examples/check.h"
#include "expectations.h"
#include "fcsa_tuned_cpu.h"

using namespace fcsa_tuned::cpu;

namespace {

Attention sizes() {
  Attention a;
  a.batch = 2;
  a.heads = 4;
  a.kv_heads = 2;
  a.nq = 50;
  a.nk = 70;
  return a;
}

struct Workspace {
  explicit Workspace(std::size_t bytes) : data(std::aligned_alloc(256, (bytes + 511) / 256 * 256)) {}
  ~Workspace() { std::free(data); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* data;
};

Status run(const Attention& a, Op op, Isa isa) {
  const Workspace workspace(workspace_bytes(a, op, isa));
  return op == Op::forward ? forward(a, workspace.data, isa) : backward(a, workspace.data, isa);
}

void expect_gradients(const Attention& a, Isa isa) {
  const Status wrote_o = run(a, Op::forward, isa);
  if (wrote_o.code == Code::wrong_device) return;
  expect(wrote_o.ok(), wrote_o.text);
  const Status status = run(a, Op::backward, isa);
  expect(status.ok(), status.text);
  const double error = check::worst_gradient_error(a, 1000);
  expect(error <= check::tolerance(static_cast<int>(a.dtype)),
         "dq, dk and dv, and not an error of " + std::to_string(error));
}

void gradients_are_those_of_the_formula() {
  Attention half = sizes(), causal = sizes(), raw = sizes();
  half.dtype = DType::bf16;
  half.head_dim = 32;
  half.layout = Layout::bnhd;
  causal.causal = causal.deterministic = true;
  raw.l2norm_qk = false;
  raw.scale = 0.125f;
  for (const Isa isa : {Isa::generic, Isa::avx2, Isa::avx512})
    for (const Attention& a : {sizes(), half}) {
      const check::HostProblem<Attention> problem(a, {});
      expect_gradients(problem.attention(), isa);
    }
#ifndef FCSA_TUNED_ONLY
  for (const Attention& a : {causal, raw})
    for (const bool masked : {false, true}) {
      const check::HostProblem<Attention> problem(a, {.masked = masked});
      expect_gradients(problem.attention(), best_isa());
    }
#endif
}

// Of a bias that the batches share.
void gradients_of_bias_and_scale_are_those_of_the_formula() {
  const check::HostProblem<Attention> problem(sizes(), {.biased = true, .head_scaled = true});
  Attention a = problem.attention();
  std::vector<float> dbias(static_cast<std::size_t>(a.heads * a.nq * a.nk)), dscale(4);
  a.dbias = dbias.data();
  a.dscale = dscale.data();
  expect_gradients(a, best_isa());
  for (int head = 0; head < a.heads; ++head) {
    double sum = 0, squares = 0;
    for (int row = 0; row < a.nq; ++row)
      for (int key = 0; key < a.nk; ++key) {
        double expected = 0;
        for (int batch = 0; batch < a.batch; ++batch) {
          const check::QueryRow<Attention> query(a, batch, head, row);
          const auto k = check::normalised(a, check::row_of(a, a.k, a.kv_heads, a.nk, batch, head / 2, key));
          const auto v = check::row_of(a, a.v, a.kv_heads, a.nk, batch, head / 2, key);
          const double ds = query.pair(key, k, v).ds.value, term = ds * check::dot(query.unit, k);
          expected += ds;
          sum += term;
          squares += term * term;
        }
        const float got = dbias[static_cast<std::size_t>((head * a.nq + row) * a.nk + key)];
        expect(std::fabs(got - expected) < 1e-4 + 1e-4 * std::fabs(expected), "dbias");
      }
    expect(std::fabs(dscale[static_cast<std::size_t>(head)] - sum) < 1e-4 * std::sqrt(squares), "dscale");
  }
}

void gradients_follow_the_strides() {
  const check::HostProblem<Attention> problem(sizes(), {});
  Attention a = problem.attention();
  expect_gradients(a, best_isa());
  const float* const dense = static_cast<const float*>(a.dk);
  std::vector<float> memory(2 * 70 * 2 * 68 + 4);
  a.dk = memory.data() + (16 - reinterpret_cast<std::uintptr_t>(memory.data()) % 16) % 16 / 4;
  a.dk_strides = {70 * 2 * 68, 68, 2 * 68};
  expect(run(a, Op::backward, best_isa()).ok(), "strided");
  for (int i = 0; i < 2 * 2 * 70 * 64; ++i) {
    const int batch = i / 64 / 70 / 2, head = i / 64 / 70 % 2, key = i / 64 % 70, d = i % 64;
    const float* const row = static_cast<const float*>(a.dk) + (batch * 70 + key) * 2 * 68 + head * 68;
    expect(row[d] == dense[i], "strides of dk");
  }
}

void each_pass_chooses_among_its_own() {
  Attention a;
  a.batch = 2;
  a.heads = a.kv_heads = 8;
  a.nq = a.nk = 2048;
  const Selection forward = describe(a), backward = describe(a, Op::backward);
  expect(forward.match == Match::exact && backward.match == Match::exact, "tuned shapes");
  expect(std::strstr(forward.configuration, "cpu.forward{") != nullptr, forward.configuration);
  expect(std::strstr(backward.configuration, "cpu.backward{") != nullptr, backward.configuration);
  a.nq = a.nk = 300;
  const Selection shorter = describe(a, Op::backward);
  expect(shorter.match == Match::nearest && std::strcmp(shorter.configuration, backward.configuration) != 0,
         "long and short take different kernels");
  a.deterministic = true;
  expect(std::strcmp(describe(a, Op::backward).configuration, shorter.configuration) == 0,
         "on a CPU all kernels are deterministic");
}

void bad_input_is_refused_with_the_reason() {
  const check::HostProblem<Attention> problem(sizes(), {});
  const Attention good = problem.attention();
  const auto refused = [&](const std::string& text, auto change) {
    Attention a = good;
    change(a);
    const Workspace workspace(1 << 20);
    expect_refusal(backward(a, workspace.data), text);
  };
  using A = Attention&;
  refused("dout is null", [](A a) { a.dout = nullptr; });
  refused("dv is null", [](A a) { a.dv = nullptr; });
  refused("lse is null: backward reads", [](A a) { a.lse = nullptr; });
  refused("dq is not aligned", [](A a) { a.dq = static_cast<char*>(a.dq) + 4; });
  refused("dk has strides", [](A a) { a.dk_strides = {6400, 3200, 66}; });
  refused("dscale is not aligned",
          [](A a) { a.dscale = reinterpret_cast<float*>(static_cast<char*>(a.dq) + 1); });
  refused("dbias is the gradient of a bias, and bias is null", [](A a) { a.dbias = a.dq; });
  refused(
      "`fcsa tune --op fwd,bwd --dtype f32 --head-dim 96 --causal no` and emit again; this header serves "
      "f32 head_dim 64; bf16 head_dim 32; where tuned bias in f32, head_scale",
      [](A a) { a.dtype = DType::f32, a.head_dim = 96; });
  expect_refusal(backward(good, nullptr), "workspace is null");
  expect(workspace_bytes(good, Op::backward) > 0, "which there would have been");
}

}  // namespace

int main() {
  gradients_are_those_of_the_formula();
  gradients_of_bias_and_scale_are_those_of_the_formula();
  gradients_follow_the_strides();
  each_pass_chooses_among_its_own();
  bad_input_is_refused_with_the_reason();
  return failures() == 0 ? 0 : 1;
}
