// Attention on a CPU with a tuned header:
//   fcsa emit --db tuning.db --out include
//   g++ -std=c++20 -O2 -pthread -I include cpu_attention.cpp -o cpu_attention && ./cpu_attention [length ...]
// Runs at the lengths given, tuned or not, compares with double precision and prints error and time.
#include <chrono>
#include <cstdio>

#include "check.h"
#include "fcsa_tuned_cpu.h"

namespace {

using fcsa_tuned::cpu::Attention;
using fcsa_tuned::cpu::DType;
using fcsa_tuned::cpu::Layout;

// 256-byte aligned memory; the library aligns tensors and workspace alike.
struct AlignedBuffer {
  explicit AlignedBuffer(std::size_t bytes) : data(std::aligned_alloc(256, (bytes + 255) / 256 * 256)) {}
  explicit AlignedBuffer(const std::vector<unsigned char>& bytes) : AlignedBuffer(bytes.size()) {
    std::memcpy(data, bytes.data(), bytes.size());
  }
  ~AlignedBuffer() { std::free(data); }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  void* data;
};

// Best of a few runs, in ms; negative when it failed.
double run(const Attention& attention) {
  const AlignedBuffer workspace(fcsa_tuned::cpu::workspace_bytes(attention));
  double best = -1;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const fcsa_tuned::cpu::Status status = fcsa_tuned::cpu::forward(attention, workspace.data);
    const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
    if (!status.ok()) {
      std::fprintf(stderr, "forward: %s\n", status.text);
      return -1;
    }
    if (best < 0 || elapsed.count() < best) best = elapsed.count();
  }
  return best;
}

// Makes tensors for the sizes in `a`, runs, checks. A header without kernels for the problem isn't a failure.
bool run_and_check(Attention a, bool masked) {
  const int dtype = static_cast<int>(a.dtype);
  const std::size_t q_count = static_cast<std::size_t>(a.batch) * a.heads * a.nq * a.head_dim;
  const std::size_t k_count = static_cast<std::size_t>(a.batch) * a.kv_heads * a.nk * a.head_dim;
  const AlignedBuffer q(check::random_tensor(dtype, q_count, 1)), k(check::random_tensor(dtype, k_count, 2)),
      v(check::random_tensor(dtype, k_count, 3)), o(q_count * check::element_bytes(dtype));
  std::vector<float> lse(static_cast<std::size_t>(a.batch) * a.heads * a.nq);
  const auto mask = check::random_mask(static_cast<std::size_t>(a.batch) * a.nk, 4);
  a.q = q.data;
  a.k = k.data;
  a.v = v.data;
  a.o = o.data;
  a.lse = lse.data();
  if (masked) a.key_mask = mask.data();

  const fcsa_tuned::cpu::Selection selection = fcsa_tuned::cpu::describe(a);
  if (selection.status.code == fcsa_tuned::cpu::Code::unsupported) return true;
  const double ms = run(a);
  if (ms < 0) return false;
  const double error = check::worst_error(a, 64);
  const bool right = error <= check::tolerance(dtype);
  std::printf("%-4s d%-3d h%d/%d %5d x %-5d%s%s%s  %9.3f ms  %7.1f GFLOP/s  error %.1e  %s  %s\n",
              dtype == 0   ? "f32"
              : dtype == 1 ? "bf16"
                           : "f16",
              a.head_dim, a.heads, a.kv_heads, a.nq, a.nk, a.causal ? " causal" : "", masked ? " masked" : "",
              a.layout == Layout::bnhd ? " bnhd" : "", ms, check::flops(a) / ms * 1e-6, error,
              right ? "ok" : "WRONG", selection.configuration);
  return right;
}

bool run_length(DType dtype, int head_dim, int length) {
  Attention a;
  a.dtype = dtype;
  a.head_dim = head_dim;
  a.heads = a.kv_heads = 4;
  a.nq = a.nk = length;
  bool right = run_and_check(a, false);
  a.causal = true;
  right = run_and_check(a, false) && right;
  // Two query heads for each key/value head, more keys than queries, axes as most frameworks have them.
  a.batch = 2;
  a.kv_heads = 2;
  a.nq = length / 2 + 1;
  a.layout = Layout::bnhd;
  right = run_and_check(a, false) && right;
  a.causal = false;
  return run_and_check(a, true) && right;
}

}  // namespace

int main(int argc, char** argv) {
  bool right = true;
  for (const int length : check::lengths_from(argc, argv))
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
      for (const int head_dim : {16, 32, 64, 80, 96, 128})
        right = run_length(dtype, head_dim, length) && right;
  return right ? 0 : 1;
}
