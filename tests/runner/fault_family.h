// A family with one configuration for every fault that a tuner has to survive, and many right ones.
#pragma once

#include <numeric>

#include "tests/runner/fault_plan.h"
#include "tests/runner/test_families.h"

namespace fcsa::runner {

// The kernel of all configurations: the compiler's stand-in writes the fault and the time of a configuration
// over the digits.
inline std::string fault_kernel_text() {
  return kernel_text(R"(
  static volatile char behaviour[] = "FCSA_BEHAVIOUR:00000000";
  static int runs = 0;
  const auto digits = [](int first, int last) {
    int value = 0;
    for (int d = first; d < last; ++d) value = 10 * value + behaviour[15 + d] - '0';
    return value;
  };
  const int fault = digits(0, 2);
  const bool tuned_shape = a.nq == 3;
  volatile int* const nowhere = reinterpret_cast<int*>(16);
  while (fault == 1 && behaviour[0] != 0) {}
  if (fault == 2) *nowhere = 1;
  if (fault == 3) abort();
  if (fault == 4) _exit(3);
  if (fault == 5) { kill(getpid(), SIGKILL); sleep(100); }
  if (fault == 6 && tuned_shape && task == 0 && ++runs > 2) *nowhere = 1;
  if (fault == 7 && i == a.nq - 1) { for (int c = 0; c < kDim; ++c) o[c] = NAN; *lse = 0; return; }
  if (fault == 9 && tuned_shape && i == a.nq - 1) return;
  if (fault == 10 && i == a.nq - 1) o[kDim] = 1;
  if (fault == 0 && tuned_shape && task == 0) {
    timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - begin.tv_sec) * 1000000000LL + now.tv_nsec - begin.tv_nsec < 1000LL * digits(2, 8));
  }
)",
                     "(fault == 8 && a.nk > 1 ? a.nk - 1 : a.nk)", "float");
}

class FaultFamily final : public TextFamily {
 public:
  FaultFamily() : TextFamily("") {}

  std::vector<kernels::Parameter> parameters(kernels::Op) const override {
    std::vector<int> numbers(kFaultConfigurations);
    std::iota(numbers.begin(), numbers.end(), 0);
    return {{"number", std::move(numbers), kFaultBaseline, ""}};
  }
  std::vector<kernels::Constraint> constraints(kernels::Op) const override { return {}; }
  // Of each problem its own, so that tuners of different problems compile everything themselves.
  kernels::KernelSource source(const kernels::Problem& problem,
                               const kernels::Configuration& configuration) const override {
    auto source = TextFamily::source(problem, configuration);
    source.text += "static const int keys = " + std::to_string(problem.nk) + ";\n";
    return source;
  }
};

// Small, and of a shape that no small check has.
inline kernels::Problem fault_problem(int keys) {
  kernels::Problem problem;
  problem.head_dim = 16;
  problem.nq = 3;
  problem.nk = keys;
  return problem;
}

}  // namespace fcsa::runner
