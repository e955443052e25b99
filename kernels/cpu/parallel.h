// Runs the tasks of CPU kernels on all cores this process may use. Standard headers only: also pasted into
// emitted headers.
#pragma once

#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "kernels/common/empty.h"
#include "kernels/common/interface.h"

namespace fcsa::kernels::cpu {

// The entry point of a kernel: one of the tasks of a Launch. Must not throw.
using TaskFunction = void (*)(const Args& args, long long task, void* scratch);

// Cores that the control group's quota pays for; 0: no limit found.
inline int cores_of_quota() {
  long long quota = 0, period = 0;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen("/sys/fs/cgroup/cpu.max", "r"),
                                                             std::fclose);
  if (!file || std::fscanf(file.get(), "%lld %lld", &quota, &period) != 2 || quota <= 0 || period <= 0)
    return 0;
  return static_cast<int>((quota + period - 1) / period);
}

// FCSA_NUM_THREADS when it is a number above 0, else the cores of the affinity mask, at most those of the
// quota.
inline int usable_cores() {
  if (const char* text = std::getenv("FCSA_NUM_THREADS")) {
    const int wanted = std::atoi(text);
    if (wanted > 0) return wanted < 1024 ? wanted : 1024;
  }
  int cores = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) cores = CPU_COUNT(&mask);
  const int quota = cores_of_quota();
  if (quota > 0 && quota < cores) cores = quota;
#endif
  return cores > 0 ? cores : 1;
}

// Threads that wait for work: for a moment by spinning, since the next step of a plan comes at once, then
// asleep. The calling thread works too, and doesn't wait for threads that wake up too late to help. Several
// threads may call: their runs are serialised. In a child process after fork() the caller works alone.
class ThreadPool {
 public:
  explicit ThreadPool(int threads = usable_cores())
      : scratch_(static_cast<std::size_t>(threads > 0 ? threads : 1)) {
    try {
      for (std::size_t i = 1; i < scratch_.size(); ++i) threads_.emplace_back([this, i] { serve(i); });
    } catch (const std::system_error&) {
      // No more threads to be had: fewer will do.
    }
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() {
    if (forked()) {
      // The threads are not in this process: nothing to join, and the condition would wait for them for ever.
      for (auto& thread : threads_) thread.detach();
      static_cast<void>(sleep_.release());
      return;
    }
    stop_.store(true);
    announce();
    for (auto& thread : threads_) thread.join();
  }

  int threads() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls function(task, scratch) for every task in [0, tasks), in no particular order; returns when all have
  // returned. `scratch` is the thread's own, 64-byte aligned, kept between runs, its content undefined.
  // Throws std::bad_alloc before any call. Must not be called from inside a function that it runs.
  template <typename Function>
  void run(long long tasks, std::size_t scratch_bytes, const Function& function) {
    const std::lock_guard lock(run_mutex_);
    for (auto& scratch : scratch_) scratch.reserve(scratch_bytes);
    call_ = [](const void* f, long long task, void* scratch) {
      (*static_cast<const Function*>(f))(task, scratch);
    };
    function_ = &function;
    tasks_ = tasks;
    next_.store(0, std::memory_order_relaxed);
    if (tasks < 2 || threads_.empty() || forked()) return work(0);
    gate_.store(kOpen, std::memory_order_release);
    announce();
    work(0);
    gate_.fetch_and(~kOpen, std::memory_order_acq_rel);
    for (int spins = 0; gate_.load(std::memory_order_acquire) != 0; ++spins)
      spins < 10000 ? pause() : std::this_thread::yield();
  }

 private:
  static constexpr std::size_t kAlignment = 64;
  static constexpr std::chrono::microseconds kSpin{100};
  static constexpr unsigned kOpen = 1u << 31;

  class Scratch {
   public:
    Scratch() = default;
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { release(); }
    void* data() const { return data_; }
    void reserve(std::size_t bytes) {
      if (bytes <= bytes_) return;
      release();
      data_ = ::operator new (bytes, std::align_val_t{kAlignment});
      bytes_ = bytes;
    }

   private:
    void release() {
      if (data_) ::operator delete (data_, std::align_val_t{kAlignment});
      data_ = nullptr;
      bytes_ = 0;
    }
    void* data_ = nullptr;
    std::size_t bytes_ = 0;
  };

  struct Sleep {
    std::mutex mutex;
    std::condition_variable wake;
  };

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  bool forked() const {
    return getpid() != process_;
  }

  void announce() {
    {
      const std::lock_guard lock(sleep_->mutex);
      generation_.fetch_add(1, std::memory_order_release);
    }
    if (sleeping_.load() != 0) sleep_->wake.notify_all();
  }

  void work(std::size_t thread) {
    for (long long task = next_.fetch_add(1); task < tasks_; task = next_.fetch_add(1))
      call_(function_, task, scratch_[thread].data());
  }

  // Passes the gate if it is open, and counts as inside until it leaves.
  bool enter() {
    for (unsigned gate = gate_.load(std::memory_order_acquire); gate & kOpen;)
      if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire)) return true;
    return false;
  }

  void serve(std::size_t thread) {
    for (unsigned seen = 0; !stop_.load();) {
      seen = wait_for_other_than(seen);
      if (!enter()) continue;
      work(thread);
      gate_.fetch_sub(1, std::memory_order_release);
    }
  }

  unsigned wait_for_other_than(unsigned seen) {
    const auto deadline = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 64; ++i) {
        const unsigned now = generation_.load(std::memory_order_acquire);
        if (now != seen) return now;
        pause();
      }
    } while (std::chrono::steady_clock::now() < deadline);
    std::unique_lock lock(sleep_->mutex);
    sleeping_.fetch_add(1);
    sleep_->wake.wait(lock, [&] { return generation_.load() != seen; });
    sleeping_.fetch_sub(1);
    return generation_.load();
  }

  const pid_t process_ = getpid();
  std::mutex run_mutex_;
  std::vector<Scratch> scratch_;
  void (*call_)(const void*, long long, void*) = nullptr;
  const void* function_ = nullptr;
  long long tasks_ = 0;
  std::atomic<long long> next_{0};
  std::atomic<unsigned> gate_{0};  // kOpen while a run takes helpers, plus the number of helpers inside
  std::atomic<unsigned> generation_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
  std::unique_ptr<Sleep> sleep_ = std::make_unique<Sleep>();
  std::vector<std::thread> threads_;
};

// Runs the steps of a plan in order, `args` being BackwardArgs where they take those;
// functions[Launch::kernel] is called for every task of a step.
inline void run_plan(ThreadPool& pool, const LaunchPlan& plan, const Args& args,
                     TaskFunction const* functions) {
  if (plan.nothing.to_compute)
    Fills(plan.nothing, args).for_each([](const Fill& fill) {
      for (long long row = 0; row < fill.rows; ++row)
        std::memset(static_cast<char*>(fill.to) + row * fill.pitch, fill.value,
                    static_cast<std::size_t>(fill.width));
    });
  for (int i = 0; i < plan.count; ++i) {
    const Launch& step = plan.steps[i];
    const TaskFunction function = functions[step.kernel];
    const long long tasks = static_cast<long long>(step.grid_x) * step.grid_y * step.grid_z;
    pool.run(tasks, step.smem_bytes, [&](long long task, void* scratch) { function(args, task, scratch); });
  }
}

// The pool of this process, made on first use.
inline ThreadPool& process_pool() {
  static ThreadPool pool;
  return pool;
}

inline void run_plan(const LaunchPlan& plan, const Args& args, TaskFunction const* functions) {
  run_plan(process_pool(), plan, args, functions);
}

}  // namespace fcsa::kernels::cpu
