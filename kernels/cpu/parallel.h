// Runs the tasks of CPU kernels on all cores this process may use. Standard headers only: also pasted into
// emitted headers, which may be compiled without exceptions.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <thread>

#include "kernels/common/empty.h"
#include "kernels/common/interface.h"
#include "kernels/cpu/cores.h"
#include "kernels/cpu/float_environment.h"

namespace fcsa::kernels::cpu {

// The entry point of a kernel: one of the tasks of a Launch. Must not throw.
using TaskFunction = void (*)(const Args& args, long long task, void* scratch);

// How often this process, or one that it was copied from, has been the child of a fork().
inline std::atomic<unsigned> forks{0};
// Since the program was loaded: a fork() in between would be missed.
inline const int fork_handler = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });

// Threads of one process that wait for work: for a moment by spinning, since the next step of a plan comes at
// once, then asleep.
class Crew {
 public:
  // As many as can be started, at most `threads` with the caller's.
  explicit Crew(int threads, Crew* abandoned)
      : abandoned_(abandoned),
        wanted_(threads > 0 ? static_cast<std::size_t>(threads) : 1),
        members_(new (std::nothrow) Member[wanted_]) {
    if (!members_) return;
    const SignalsElsewhere blocked;
    for (started_ = 1; started_ < wanted_; ++started_) {
      members_[started_].crew = this;
      if (pthread_create(&members_[started_].thread, nullptr, &Crew::begin, &members_[started_]) != 0) return;
    }
  }
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;
  // Precondition: of this process.
  ~Crew() {
    stop_.store(true);
    announce();
    for (std::size_t i = 1; i < started_; ++i) pthread_join(members_[i].thread, nullptr);
  }

  bool of_this_process() const { return process_ == forks.load(std::memory_order_relaxed); }
  int threads() const { return static_cast<int>(started_); }

  // False when there is no memory for it.
  bool reserve(std::size_t scratch_bytes) {
    if (!members_) return false;
    for (std::size_t i = 0; i < started_; ++i)
      if (!members_[i].reserve(scratch_bytes)) return false;
    return true;
  }

  template <typename Function>
  bool run(long long tasks, std::size_t scratch_bytes, const Function& function) {
    const std::lock_guard lock(run_mutex_);
    if (!reserve(scratch_bytes)) return false;
    call_ = [](const void* f, long long task, void* scratch) {
      (*static_cast<const Function*>(f))(task, scratch);
    };
    function_ = &function;
    tasks_ = tasks;
    next_.store(0, std::memory_order_relaxed);
    const bool alone = tasks < 2 || started_ < 2;
    if (!alone) {
      gate_.store(kOpen, std::memory_order_release);
      announce();
    }
    work(members_[0]);
    if (!alone) close_gate();
    return true;
  }

 private:
  static constexpr std::size_t kAlignment = 64;
  static constexpr std::chrono::microseconds kSpin{100};
  static constexpr unsigned kOpen = 1u << 31;

  struct Member {
    Member() = default;
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;
    ~Member() { release(); }
    bool reserve(std::size_t wanted) {
      if (wanted <= bytes) return true;
      release();
      scratch = ::operator new (wanted, std::align_val_t{kAlignment}, std::nothrow);
      if (scratch == nullptr) return false;
      bytes = wanted;
      return true;
    }
    void release() {
      if (scratch != nullptr) ::operator delete (scratch, std::align_val_t{kAlignment});
      scratch = nullptr;
      bytes = 0;
    }
    Crew* crew = nullptr;
    pthread_t thread{};
    void* scratch = nullptr;
    std::size_t bytes = 0;
  };

  // Threads that are made in its scope leave the program's signals to the program's threads.
  class SignalsElsewhere {
   public:
    SignalsElsewhere() {
      sigset_t blocked;
      sigfillset(&blocked);
      for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGPROF, SIGABRT})
        sigdelset(&blocked, own);
      pthread_sigmask(SIG_BLOCK, &blocked, &before_);
    }
    ~SignalsElsewhere() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsElsewhere(const SignalsElsewhere&) = delete;
    SignalsElsewhere& operator=(const SignalsElsewhere&) = delete;

   private:
    sigset_t before_;
  };

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  static void* begin(void* member) {
    auto* own = static_cast<Member*>(member);
    own->crew->serve(*own);
    return nullptr;
  }

  void announce() {
    {
      const std::lock_guard lock(sleep_mutex_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    if (sleeping_.load() != 0) wake_.notify_all();
  }

  void work(const Member& member) {
    const DefaultFloatEnvironment defaults;
    for (long long task = next_.fetch_add(1); task < tasks_; task = next_.fetch_add(1))
      call_(function_, task, member.scratch);
  }

  // Passes the gate if it is open, and counts as inside until it leaves.
  bool enter() {
    for (unsigned gate = gate_.load(std::memory_order_acquire); gate & kOpen;)
      if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire)) return true;
    return false;
  }

  // The caller doesn't wait for threads that wake up too late to help.
  void close_gate() {
    gate_.fetch_and(~kOpen, std::memory_order_acq_rel);
    for (int spins = 0; gate_.load(std::memory_order_acquire) != 0; ++spins)
      spins < 10000 ? pause() : std::this_thread::yield();
  }

  void serve(const Member& member) {
    for (unsigned seen = 0; !stop_.load();) {
      seen = wait_for_other_than(seen);
      if (!enter()) continue;
      work(member);
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
    std::unique_lock lock(sleep_mutex_);
    sleeping_.fetch_add(1);
    wake_.wait(lock, [&] { return generation_.load() != seen; });
    sleeping_.fetch_sub(1);
    return generation_.load();
  }

  const unsigned process_ = forks.load();
  [[maybe_unused]] Crew* const
      abandoned_;  // of the process that this one was copied from; kept so that it is no leak
  const std::size_t wanted_;
  const std::unique_ptr<Member[]> members_;  // that of the caller first; null: no memory
  std::size_t started_ = 1;
  std::mutex run_mutex_, sleep_mutex_;
  std::condition_variable wake_;
  void (*call_)(const void*, long long, void*) = nullptr;
  const void* function_ = nullptr;
  long long tasks_ = 0;
  std::atomic<long long> next_{0};
  std::atomic<unsigned> gate_{0};  // kOpen while a run takes helpers, plus the number of helpers inside
  std::atomic<unsigned> generation_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
};

// A crew for as long as this object lives, made on first use, and anew in a child process after fork(): the
// threads are not there, and what they held is locked for ever. The calling thread works too. Several threads
// may call: their runs are serialised.
class ThreadPool {
 public:
  explicit ThreadPool(int threads = usable_cores()) : wanted_(threads > 0 ? threads : 1) {}
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() {
    Crew* crew = crew_.load();
    if (crew != nullptr && crew->of_this_process()) delete crew;
  }

  // Those that run() has; fewer than were asked for where they can't be started.
  int threads() {
    const Crew* own = crew();
    return own != nullptr ? own->threads() : 1;
  }

  // Calls function(task, scratch) for every task in [0, tasks), in no particular order; returns when all have
  // returned. `scratch` is the thread's own, 64-byte aligned, kept between runs, its content undefined.
  // False, before any call, when there is no memory. Must not be called from inside a function that it runs.
  template <typename Function>
  bool run(long long tasks, std::size_t scratch_bytes, const Function& function) {
    Crew* own = crew();
    return own != nullptr && own->run(tasks, scratch_bytes, function);
  }

 private:
  Crew* crew() {
    Crew* known = crew_.load(std::memory_order_acquire);
    if (known != nullptr && known->of_this_process()) return known;
    Crew* made = new (std::nothrow) Crew(wanted_, known);
    if (made == nullptr || crew_.compare_exchange_strong(known, made, std::memory_order_acq_rel)) return made;
    delete made;
    return known;
  }

  const int wanted_;
  std::atomic<Crew*> crew_{nullptr};
};

// Runs the steps of a plan in order, `args` being BackwardArgs where they take those;
// functions[Launch::kernel] is called for every task of a step. False, before any of them, when there is no
// memory.
inline bool run_plan(ThreadPool& pool, const LaunchPlan& plan, const Args& args,
                     TaskFunction const* functions) {
  std::size_t scratch_bytes = 0;
  for (int i = 0; i < plan.count; ++i) {
    const auto bytes = static_cast<std::size_t>(plan.steps[i].smem_bytes);
    if (bytes > scratch_bytes) scratch_bytes = bytes;
  }
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
    const auto call = [&](long long task, void* scratch) { function(args, task, scratch); };
    if (!pool.run(tasks, scratch_bytes, call)) return false;
  }
  return true;
}

// The pool of this process, made on first use; nothing is locked meanwhile that a fork() could leave locked.
struct ProcessPool {
  std::atomic<ThreadPool*> pool{nullptr};
  constexpr ProcessPool() = default;
  ProcessPool(const ProcessPool&) = delete;
  ProcessPool& operator=(const ProcessPool&) = delete;
  ~ProcessPool() { delete pool.exchange(nullptr); }
};
inline ProcessPool process_pool;

// Null when there is no memory.
inline ThreadPool* pool_of_process() {
  ThreadPool* known = process_pool.pool.load(std::memory_order_acquire);
  if (known != nullptr) return known;
  auto* made = new (std::nothrow) ThreadPool;
  if (made == nullptr || process_pool.pool.compare_exchange_strong(known, made, std::memory_order_acq_rel))
    return made;
  delete made;
  return known;
}

inline bool run_plan(const LaunchPlan& plan, const Args& args, TaskFunction const* functions) {
  ThreadPool* pool = pool_of_process();
  return pool != nullptr && run_plan(*pool, plan, args, functions);
}

}  // namespace fcsa::kernels::cpu
