// One forward pass of an emitted header against sums in double precision, in this process and in one that is
// forked while others are inside; compiled with options that other programs are compiled with. Without
// exceptions. Exit status 1 when an expectation fails.
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <thread>

#include "fcsa_tuned_cpu.h"

using namespace fcsa_tuned::cpu;

namespace {

constexpr int kRows = 64, kDim = 64;

struct Case {
  alignas(64) float q[kRows * kDim], k[kRows * kDim], v[kRows * kDim], o[kRows * kDim];
  float lse[kRows];
};

void fill(Case& c) {
  unsigned state = 1;
  for (float* values : {c.q, c.k, c.v})
    for (int i = 0; i < kRows * kDim; ++i) {
      state = state * 1664525u + 1013904223u;
      values[i] = static_cast<float>(static_cast<int>(state >> 8) % 2001 - 1000) / 500;
    }
  for (float& value : c.o) value = -7;
}

bool runs(Case& c) {
  Attention a;
  a.q = c.q;
  a.k = c.k;
  a.v = c.v;
  a.o = c.o;
  a.lse = c.lse;
  a.nq = a.nk = kRows;
  alignas(256) static thread_local unsigned char workspace[1 << 20];
  if (workspace_bytes(a) > sizeof(workspace)) return false;
  const Status status = forward(a, workspace);
  if (!status.ok()) std::printf("FAILED: %s\n", status.text);
  return status.ok();
}

double norm(const float* row) {
  double sum = 0;
  for (int c = 0; c < kDim; ++c) sum += static_cast<double>(row[c]) * row[c];
  return std::sqrt(sum);
}

// Largest error of o and lse.
double worst_error(const Case& c) {
  double worst = 0;
  for (int i = 0; i < kRows; ++i) {
    double weights[kRows], sum = 0;
    for (int j = 0; j < kRows; ++j) {
      double dot = 0;
      for (int d = 0; d < kDim; ++d) dot += static_cast<double>(c.q[i * kDim + d]) * c.k[j * kDim + d];
      sum += weights[j] = std::exp(8 * dot / norm(c.q + i * kDim) / norm(c.k + j * kDim));
    }
    worst = std::fmax(worst, std::fabs(std::log(sum) - c.lse[i]));
    for (int d = 0; d < kDim; ++d) {
      double o = 0;
      for (int j = 0; j < kRows; ++j) o += weights[j] * c.v[j * kDim + d];
      worst = std::fmax(worst, std::fabs(o / sum - c.o[i * kDim + d]));
    }
  }
  return worst;
}

bool is_right(Case& c) {
  fill(c);
  if (!runs(c)) return false;
  const double worst = worst_error(c);
  if (worst < 1e-5) return true;
  std::printf("FAILED: the largest error is %g\n", worst);
  return false;
}

int child_of_a_busy_process() {
  std::atomic<bool> stop{false};
  std::thread other([&] {
    static Case own;
    fill(own);
    while (!stop) runs(own);
  });
  int failures = 0;
  for (int i = 0; i < 10; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      static Case own;
      _exit(is_right(own) ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    failures += status != 0;
  }
  stop = true;
  other.join();
  if (failures > 0) std::printf("FAILED: %d children of 10\n", failures);
  return failures;
}

}  // namespace

int main() {
  static Case c;
  if (!is_right(c)) return 1;
  return child_of_a_busy_process() == 0 ? 0 : 1;
}
