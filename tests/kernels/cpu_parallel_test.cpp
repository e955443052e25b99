#include "kernels/cpu/parallel.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdint>
#include <latch>
#include <set>

// More memory than there is gives null, as without the sanitizer.
extern "C" const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}

namespace fcsa::kernels::cpu {
namespace {

TEST(ThreadPool, CallsEveryTaskOnce) {
  ThreadPool pool(4);
  for (const long long tasks : {0, 1, 2, 3, 100, 1000}) {
    std::vector<std::atomic<int>> calls(static_cast<std::size_t>(tasks));
    pool.run(tasks, 0, [&](long long task, void*) { ++calls[static_cast<std::size_t>(task)]; });
    for (const auto& count : calls) EXPECT_EQ(count, 1);
  }
}

TEST(ThreadPool, StillCallsEveryTaskAfterItsThreadsFellAsleep) {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int> calls{0};
    pool.run(50, 0, [&](long long, void*) { ++calls; });
    EXPECT_EQ(calls, 50);
  }
}

TEST(ThreadPool, RunsTasksOnSeveralThreadsAtATime) {
  ThreadPool pool(2);
  std::atomic<int> waiting{0};
  std::mutex mutex;
  std::set<std::thread::id> threads;
  pool.run(2, 0, [&](long long, void*) {
    ++waiting;
    while (waiting < 2) std::this_thread::yield();
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(threads.size(), 2u);
}

TEST(ThreadPool, GivesEveryThreadAlignedScratchOfItsOwn) {
  ThreadPool pool(3);
  for (const std::size_t bytes : {64, 1000, 100000, 64}) {
    std::atomic<int> wrong{0};
    pool.run(200, bytes, [&](long long task, void* scratch) {
      if (reinterpret_cast<std::uintptr_t>(scratch) % 64 != 0) ++wrong;
      auto* values = static_cast<unsigned char*>(scratch);
      std::fill(values, values + bytes, static_cast<unsigned char>(task));
      std::this_thread::yield();
      for (std::size_t i = 0; i < bytes; ++i) wrong += values[i] != static_cast<unsigned char>(task);
    });
    EXPECT_EQ(wrong, 0);
  }
}

TEST(ThreadPool, KeepsScratchBetweenRuns) {
  ThreadPool pool(1);
  void* first = nullptr;
  void* second = nullptr;
  pool.run(1, 4096, [&](long long, void* scratch) { first = scratch; });
  pool.run(1, 1024, [&](long long, void* scratch) { second = scratch; });
  EXPECT_EQ(first, second);
}

TEST(ThreadPool, SerialisesCallersFromSeveralThreads) {
  ThreadPool pool(2);
  std::atomic<int> total{0}, wrong{0};
  std::atomic<int> tasks_of[4] = {};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&, i] {
      for (int round = 0; round < 200; ++round) {
        pool.run(5, 0, [&, i](long long, void*) {
          ++tasks_of[i];
          for (int other = 0; other < 4; ++other)
            if (other != i) wrong += tasks_of[other] % 5 != 0;
          ++total;
        });
      }
    });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(total, 4 * 200 * 5);
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadPool, WorksInAChildAfterFork) {
  ThreadPool pool(3);
  // All threads take part, so that none is still beginning when the process forks: a lock of the address
  // sanitizer's allocator that it holds then stays locked in the child.
  std::latch all(3);
  pool.run(3, 0, [&](long long, void*) { all.arrive_and_wait(); });
  const pid_t child = fork();
  if (child == 0) {
    std::atomic<int> calls{0};
    pool.run(10, 64, [&](long long, void*) { ++calls; });
    pool.~ThreadPool();
    _exit(calls == 10 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(ThreadPool, HasThreadsAgainInAChildThatWasForkedWhileOthersWereInside) {
  ThreadPool pool(3);
  std::atomic<bool> stop{false};
  std::vector<std::thread> callers;
  for (int i = 0; i < 2; ++i)
    callers.emplace_back([&] {
      while (!stop) pool.run(20, 1000, [](long long, void* scratch) { *static_cast<char*>(scratch) = 1; });
    });
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(30);
      std::atomic<int> calls{0};
      bool ran = pool.run(10, 64, [&](long long, void*) { ++calls; });
      const pid_t grandchild = fork();
      if (grandchild == 0) {
        alarm(30);
        ran = ran && pool.run(10, 2000, [&](long long, void*) { ++calls; });
        _exit(ran && calls == 20 && pool.threads() == 3 ? 0 : 1);
      }
      int status = -1;
      waitpid(grandchild, &status, 0);
      _exit(ran && calls == 10 && pool.threads() == 3 && status == 0 ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  stop = true;
  for (auto& caller : callers) caller.join();
}

TEST(ThreadPool, SaysSoWhenThereIsNoMemory) {
  ThreadPool pool(2);
  int calls = 0;
  EXPECT_FALSE(pool.run(1, std::size_t{1} << 60, [&](long long, void*) { ++calls; }));
  EXPECT_EQ(calls, 0);
  EXPECT_TRUE(pool.run(1, 64, [&](long long, void*) { ++calls; }));
  EXPECT_EQ(calls, 1);
}

TEST(ThreadPool, LeavesSignalsToTheThreadsOfTheProgram) {
  ThreadPool pool(2);
  std::atomic<int> waiting{0}, unblocked{0};
  pool.run(2, 0, [&](long long, void*) {
    ++waiting;
    while (waiting < 2) std::this_thread::yield();
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    unblocked += sigismember(&mask, SIGTERM) == 0;
  });
  EXPECT_EQ(unblocked, 1);  // the caller
}

#if defined(__x86_64__)
TEST(ThreadPool, ComputesWithDenormalNumbersWhateverTheProgramWasLinkedWith) {
  ThreadPool pool(2);
  const unsigned before = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(before | 0x8040);  // as -Ofast does before main
  std::atomic<int> wrong{0};
  pool.run(100, 0, [&](long long, void*) {
    volatile float small = 1e-40f;
    if (small * 2 == 0) ++wrong;
  });
  EXPECT_EQ(__builtin_ia32_stmxcsr() & 0x8040, 0x8040U);
  __builtin_ia32_ldmxcsr(before);
  EXPECT_EQ(wrong, 0);
}
#endif

TEST(ThreadPool, HasTheNumberOfThreadsAskedForInTheEnvironment) {
  setenv("FCSA_NUM_THREADS", "3", 1);
  EXPECT_EQ(ThreadPool().threads(), 3);
  setenv("FCSA_NUM_THREADS", "many", 1);
  EXPECT_GE(usable_cores(), 1);
  unsetenv("FCSA_NUM_THREADS");
}

TEST(ThreadPool, UsesNoMoreThreadsThanTheAffinityMaskAllows) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  CPU_ZERO(&one);
  int core = 0;
  while (!CPU_ISSET(core, &before)) ++core;
  CPU_SET(core, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(usable_cores(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
}

TEST(RunPlan, RunsAStepAfterTheWholeOfTheOneBefore) {
  ThreadPool pool(3);
  LaunchPlan plan;
  plan.count = 2;
  plan.steps[0] = {.kernel = 1, .grid_x = 40, .smem_bytes = 64};
  plan.steps[1] = {.kernel = 0, .grid_x = 30, .grid_y = 2, .smem_bytes = 64};
  std::vector<int> log(41);
  Args args;
  args.workspace = log.data();
  const TaskFunction functions[] = {[](const Args& a, long long task, void*) {
                                      auto* values = static_cast<int*>(a.workspace);
                                      for (int i = 0; i < 40; ++i)
                                        if (values[i] != i)
                                          __atomic_fetch_add(&values[40], 1000, __ATOMIC_RELAXED);
                                      if (task < 60) __atomic_fetch_add(&values[40], 1, __ATOMIC_RELAXED);
                                    },
                                    [](const Args& a, long long task, void*) {
                                      std::this_thread::sleep_for(std::chrono::microseconds(50));
                                      static_cast<int*>(a.workspace)[task] = static_cast<int>(task);
                                    }};
  run_plan(pool, plan, args, functions);
  EXPECT_EQ(log[40], 60);
}

}  // namespace
}  // namespace fcsa::kernels::cpu
