#include "library/fork.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>
#include <vector>

#include "library/failure.h"

namespace fcsa::library {
namespace {

// Of this process: a fork() concerns everything that is open in it.
struct ForkState {
  std::mutex mutex;
  std::vector<HeldDuringFork*> held;
  std::atomic<int> inside{0};        // threads in a LockedSection
  std::atomic<bool> damaged{false};  // some were when this process was made
};

ForkState state;
thread_local int own_sections = 0;

void before_fork() {
  state.mutex.lock();
  for (auto* locks : state.held) locks->lock_all();
}

void after_fork_in_parent() {
  for (auto locks = state.held.rbegin(); locks != state.held.rend(); ++locks) (*locks)->unlock_all();
  state.mutex.unlock();
}

void after_fork_in_child() {
  const int own = own_sections > 0 ? 1 : 0;
  if (state.inside.load() > own) state.damaged.store(true);
  state.inside.store(own);
  for (auto* locks : state.held) locks->renew_all();
  new (&state.mutex) std::mutex;
}

// Since the library was loaded: made on first use, it would be missed by a fork() in between.
[[maybe_unused]] const int handlers = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);

}  // namespace

LockedSection::LockedSection() {
  if (state.damaged.load(std::memory_order_relaxed))
    throw Failure(
        FCSA_HOST_FAILED,
        "this process was forked while another thread of its parent was making or preparing a plan, "
        "which can't be finished here: prepare plans before fork(), or start the process anew (exec, "
        "multiprocessing's spawn); plans that were prepared before still run");
  if (own_sections++ == 0) state.inside.fetch_add(1);
}

LockedSection::~LockedSection() {
  if (--own_sections == 0) state.inside.fetch_sub(1);
}

void hold_during_fork(HeldDuringFork& locks) {
  const std::lock_guard lock(state.mutex);
  state.held.push_back(&locks);
}

void forget(HeldDuringFork& locks) {
  const std::lock_guard lock(state.mutex);
  std::erase(state.held, &locks);
}

}  // namespace fcsa::library
