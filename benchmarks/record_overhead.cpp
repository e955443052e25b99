// What FCSA_RECORD costs a call of a problem that is known: nanoseconds of a count, the median and the
// fastest of many batches, by one thread and by all at once.
//   record_overhead [batches]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "library/problem_record.h"

namespace {

constexpr int kCallsPerBatch = 1 << 20;

std::vector<double> measure(const std::vector<int>& slots, int batches) {
  std::vector<double> times;
  for (int batch = 0; batch < batches; ++batch) {
    const auto start = std::chrono::steady_clock::now();
    std::size_t next = 0;
    for (int call = 0; call < kCallsPerBatch; ++call) {
      fcsa::library::count_call(slots[next]);
      if (++next == slots.size()) next = 0;
    }
    const std::chrono::duration<double, std::nano> elapsed = std::chrono::steady_clock::now() - start;
    times.push_back(elapsed.count() / kCallsPerBatch);
  }
  std::sort(times.begin(), times.end());
  return times;
}

void report(int problems, int threads, int batches) {
  const auto notes = std::make_shared<fcsa::library::Notes>([](const std::string&) {});
  std::vector<int> slots;
  for (int i = 0; i < problems; ++i) {
    fcsa::kernels::Problem problem;
    problem.nq = problem.nk = 128 * (i + 1);
    slots.push_back(fcsa::library::record_slot(problem, fcsa::kernels::DeviceKind::cpu, notes));
  }
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back([&] { measure(slots, batches); });
  const auto times = measure(slots, batches);
  for (auto& other : others) other.join();
  std::printf("%8d  %7d  %9.1f  %10.1f\n", problems, threads, times[times.size() / 2], times.front());
}

}  // namespace

int main(int argc, char** argv) {
  const int batches = argc > 1 ? std::max(1, std::atoi(argv[1])) : 21;
  setenv("FCSA_RECORD", "/dev/null", 0);
  std::printf("problems  threads  median ns  fastest ns\n");
  const int cores = static_cast<int>(std::max(2U, std::thread::hardware_concurrency()));
  for (const int threads : {1, cores})
    for (const int problems : {1, 64, 1024}) report(problems, threads, batches);
  return 0;
}
