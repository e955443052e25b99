#include "runner/process/abandon.h"

#include <dlfcn.h>
#include <pthread.h>

#include <condition_variable>
#include <csignal>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>

namespace fcsa::runner {
namespace {

// Twice what a program's first thread usually has: compilers recurse.
constexpr std::size_t kStackBytes = std::size_t{16} << 20;

struct Work {
  std::function<void()> run;
  std::mutex mutex;
  std::condition_variable changed;
  bool ended = false;
  std::exception_ptr failure;
};

void* begin(void* shared) {
  const std::unique_ptr<std::shared_ptr<Work>> owned(static_cast<std::shared_ptr<Work>*>(shared));
  Work& work = **owned;
  std::exception_ptr failure;
  try {
    work.run();
  } catch (...) {
    failure = std::current_exception();
  }
  const std::lock_guard lock(work.mutex);
  work.failure = std::move(failure);
  work.ended = true;
  work.changed.notify_all();
  return nullptr;
}

// Signals that arrive meanwhile are for the program's own threads.
int start_thread(pthread_t& thread, std::shared_ptr<Work>* shared) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_attr_t attributes;
  if (const int error = pthread_attr_init(&attributes)) return error;
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  const int error = pthread_create(&thread, &attributes, &begin, shared);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return error;
}

// The thread comes back into this code one day, after the program may have unloaded it.
void stay_loaded() {
  Dl_info here{};
  if (dladdr(reinterpret_cast<void*>(&begin), &here) != 0 && here.dli_fname != nullptr)
    dlopen(here.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

}  // namespace

bool ends_within(std::chrono::milliseconds deadline, std::function<void()> run) {
  const auto work = std::make_shared<Work>();
  work->run = std::move(run);
  auto handed = std::make_unique<std::shared_ptr<Work>>(work);
  pthread_t thread;
  if (const int error = start_thread(thread, handed.get()))
    throw std::system_error(error, std::generic_category(), "cannot start a thread");
  [[maybe_unused]] const auto* now_the_threads = handed.release();
  std::unique_lock lock(work->mutex);
  if (!work->changed.wait_for(lock, deadline, [&] { return work->ended; })) {
    stay_loaded();
    pthread_detach(thread);
    return false;
  }
  lock.unlock();
  pthread_join(thread, nullptr);  // nothing of it runs when the caller goes on
  if (work->failure) std::rethrow_exception(work->failure);
  return true;
}

}  // namespace fcsa::runner
