// What choosing a kernel through libfcsa costs on a shape that it has seen: fcsa_plan_create and
// fcsa_plan_destroy.
//   library_lookup [cpu|cuda] [batches]
// Prints nanoseconds of a pair of calls, the median and the fastest of many batches, for one shape and for
// many in turn, by one thread and by all at once.
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "fcsa.h"

namespace {

constexpr int kCallsPerBatch = 20000;

void require(fcsa_status status) {
  if (status != FCSA_OK) throw std::runtime_error(fcsa_last_error());
}

// Makes the primary context of GPU 0 current in this thread.
void use_gpu() {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW);
  if (driver == nullptr) throw std::runtime_error(dlerror());
  const auto function = [&](const char* name) { return dlsym(driver, name); };
  void* context = nullptr;
  const bool usable =
      reinterpret_cast<int (*)(unsigned)>(function("cuInit"))(0) == 0 &&
      reinterpret_cast<int (*)(void**, int)>(function("cuDevicePrimaryCtxRetain"))(&context, 0) == 0 &&
      reinterpret_cast<int (*)(void*)>(function("cuCtxSetCurrent"))(context) == 0;
  if (!usable) throw std::runtime_error("there is no usable GPU");
}

std::vector<fcsa_problem> shapes(int device, int count) {
  std::vector<fcsa_problem> shapes;
  for (int i = 0; i < count; ++i) {
    fcsa_problem problem = FCSA_PROBLEM_INIT;
    problem.device = device;
    problem.dtype = FCSA_BF16;
    problem.heads = 16;
    problem.nq = problem.nk = 128 * (i + 1);
    problem.head_dim = 64;
    shapes.push_back(problem);
  }
  return shapes;
}

// Nanoseconds of a pair of calls, of each batch.
std::vector<double> measure(fcsa_library* library, const std::vector<fcsa_problem>& shapes, int batches) {
  std::vector<double> times;
  for (int batch = 0; batch < batches; ++batch) {
    const auto start = std::chrono::steady_clock::now();
    std::size_t next = 0;
    for (int call = 0; call < kCallsPerBatch; ++call) {
      fcsa_plan* plan = nullptr;
      require(fcsa_plan_create(library, &shapes[next], &plan));
      fcsa_plan_destroy(plan);
      if (++next == shapes.size()) next = 0;
    }
    const std::chrono::duration<double, std::nano> elapsed = std::chrono::steady_clock::now() - start;
    times.push_back(elapsed.count() / kCallsPerBatch);
  }
  std::sort(times.begin(), times.end());
  return times;
}

struct Case {
  int device, shapes, threads, batches;
};

void report(fcsa_library* library, const Case& c) {
  const auto problems = shapes(c.device, c.shapes);
  std::vector<std::thread> others;
  for (int i = 1; i < c.threads; ++i) {
    others.emplace_back([&] {
      if (c.device == FCSA_CUDA) use_gpu();
      measure(library, problems, c.batches);
    });
  }
  const auto times = measure(library, problems, c.batches);
  for (auto& other : others) other.join();
  std::printf("%6d  %7d  %9.1f  %10.1f\n", c.shapes, c.threads, times[times.size() / 2], times.front());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int device = argc > 1 && std::strcmp(argv[1], "cuda") == 0 ? FCSA_CUDA : FCSA_CPU;
    const int batches = argc > 2 ? std::max(1, std::atoi(argv[2])) : 51;
    if (device == FCSA_CUDA) use_gpu();
    fcsa_options options = FCSA_OPTIONS_INIT;
    options.database = "";  // where a configuration comes from doesn't matter once it is known
    fcsa_library* library = nullptr;
    require(fcsa_open(&options, &library));
    std::printf("shapes  threads  median ns  fastest ns\n");
    const int cores = static_cast<int>(std::max(2U, std::thread::hardware_concurrency()));
    for (const int threads : {1, cores})
      for (const int count : {1, 64, 1024}) report(library, {device, count, threads, batches});
    fcsa_close(library);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "library_lookup: %s\n", error.what());
    return 1;
  }
}
