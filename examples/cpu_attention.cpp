// Attention on a CPU with a tuned header:
//   fcsa emit --db tuning.db --out include
//   g++ -std=c++20 -O2 -pthread -I include cpu_attention.cpp -o cpu_attention && ./cpu_attention [length ...]
// Runs forward and, where the header has one, backward at the lengths given, tuned or not, compares with
// double precision and prints error and time.
#include <chrono>
#include <cstdio>

#include "check.h"
#include "fcsa_tuned_cpu.h"

namespace {

namespace tuned = fcsa_tuned::cpu;

// Aligned as forward() wants it.
struct Workspace {
  explicit Workspace(std::size_t bytes) : data(std::aligned_alloc(256, (bytes + 255) / 256 * 256)) {}
  ~Workspace() { std::free(data); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* data;
};

// Best of a few runs, in ms; negative when it failed.
double run(const tuned::Attention& attention, tuned::Op op) {
  const Workspace workspace(tuned::workspace_bytes(attention, op));
  double best = -1;
  for (int i = 0; i < 3; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const tuned::Status status = op == tuned::Op::forward ? tuned::forward(attention, workspace.data)
                                                          : tuned::backward(attention, workspace.data);
    const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", status.text);
      return -1;
    }
    if (best < 0 || elapsed.count() < best) best = elapsed.count();
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  return check::check_all<tuned::Attention, tuned::Op>(argc, argv, run);
}
