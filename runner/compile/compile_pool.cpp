#include "runner/compile/compile_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <thread>

#include "kernels/cpu/cores.h"
#include "runner/compile/compile_child.h"
#include "runner/device/json.h"
#include "runner/process/channel.h"
#include "runner/process/temporary_directory.h"
#include "tuner/trials/evaluator.h"

namespace fcsa::runner {
namespace {

using nlohmann::json;

constexpr auto kInterruptCheck = std::chrono::milliseconds(100);

struct Entry {
  enum class State { queued, running, done };
  State state = State::queued;
  CompileRequest request;  // until it is done
  Compilation result;
  std::exception_ptr broken;
};

Compilation compiled(const json& message) {
  const auto result = member<CompileResult>(message, "compiled");
  const double compile_ms = member<double>(message, "compile_ms");
  if (!result.ok && result.out_of_memory)
    return {
        tuner::Status::out_of_memory, "not enough memory to compile it: " + result.message, {}, compile_ms};
  if (!result.ok) return {tuner::Status::compile_failed, result.message, {}, compile_ms};
  return {tuner::Status::ok,
          {},
          {{member<std::string>(message, "path"), result.symbols}, result.resources, result.warnings},
          compile_ms};
}

}  // namespace

struct CompilePool::Impl {
  explicit Impl(CompilePoolOptions given) : options(std::move(given)), cache(options.cache_directory) {
    cache.remove_abandoned();
    TemporaryDirectory::remove_abandoned();
    int jobs = options.jobs;
    if (jobs <= 0) jobs = kernels::cpu::allowed_cores();
    for (int i = 0; i < jobs; ++i) threads.emplace_back([this] { serve(); });
  }

  ~Impl() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    work.notify_all();
    for (auto& thread : threads) thread.join();
  }

  void serve() {
    const std::function<bool()> stopping = [this] { return stop.load(); };
    CompileChild child(options, stopping);
    std::unique_lock lock(mutex);
    for (;;) {
      work.wait(lock, [this] { return stop || !questions.empty() || (!paused && !queue.empty()); });
      if (stop) return;
      if (!questions.empty()) {
        auto question = std::move(questions.front());
        questions.pop_front();
        lock.unlock();
        question(child);
        lock.lock();
      } else {
        compile_next(child, lock);
      }
    }
  }

  void compile_next(CompileChild& child, std::unique_lock<std::mutex>& lock) {
    const std::string key = queue.front();
    queue.pop_front();
    Entry& entry = entries.at(key);
    entry.state = Entry::State::running;
    ++running;
    lock.unlock();
    Compilation result;
    std::exception_ptr broken;
    try {
      result = compile(child, entry.request);
    } catch (...) {
      broken = std::current_exception();
    }
    lock.lock();
    entry.result = std::move(result);
    entry.broken = broken;
    entry.request = {};
    entry.state = Entry::State::done;
    finished.push_back(key);
    --running;
    done.notify_all();
  }

  Compilation compile(CompileChild& child, const CompileRequest& request) const {
    if (auto cached = cache.find(request.key)) return {tuner::Status::ok, {}, std::move(*cached), 0};
    const auto answer = child.ask({{"compile",
                                    {{"key", request.key},
                                     {"cache_directory", cache.directory().string()},
                                     {"source", request.source},
                                     {"target", request.target}}}});
    if (answer.kind == Received::Kind::timed_out)
      return {tuner::Status::timed_out,
              fmt::format("the compiler was stopped after {:.3g} s", options.deadline.count()),
              {},
              0};
    // Killed by the kernel, most likely, for want of memory; else it crashed because of the source.
    if (answer.kind == Received::Kind::ended)
      return {answer.killed_from_outside ? tuner::Status::out_of_memory : tuner::Status::crashed,
              "the compile process was " + answer.report,
              {},
              0};
    if (answer.message.contains("no_compiler"))
      throw NoCompiler(member<std::string>(answer.message, "no_compiler"));
    if (answer.message.contains("error"))
      throw std::runtime_error(member<std::string>(answer.message, "error"));
    return compiled(answer.message);
  }

  CompilerDescription ask_description(CompileChild& child, const kernels::Target& target) const {
    const auto answer = child.ask({{"describe", target}});
    if (answer.kind == Received::Kind::timed_out)
      throw NoCompiler(
          fmt::format("the compiler did not tell its version in {:.3g} s", options.deadline.count()));
    if (answer.kind == Received::Kind::ended)
      throw std::runtime_error("the compile process ended before its first job: " + answer.report);
    if (answer.message.contains("no_compiler"))
      throw NoCompiler(member<std::string>(answer.message, "no_compiler"));
    if (answer.message.contains("error"))
      throw std::runtime_error(member<std::string>(answer.message, "error"));
    return {member<std::string>(answer.message, "version"),
            member<std::vector<std::string>>(answer.message, "options")};
  }

  // Precondition: locked.
  template <typename Condition>
  void wait_until(std::unique_lock<std::mutex>& lock, const Condition& condition) {
    while (!done.wait_for(lock, kInterruptCheck, condition))
      if (options.interrupted()) throw tuner::Interrupted("stopped while kernels were compiled");
  }

  // Precondition: locked.
  Entry& find_or_queue(CompileRequest request) {
    const std::string key = request.key;
    const auto found = entries.find(key);
    if (found != entries.end()) return found->second;
    Entry& entry = entries[key];
    queue_entry(entry, std::move(request));
    return entry;
  }

  void queue_entry(Entry& entry, CompileRequest request) {
    queue.push_back(request.key);
    entry.request = std::move(request);
    entry.state = Entry::State::queued;
    work.notify_one();
  }

  static Compilation tell(Entry& entry) {
    if (entry.broken) std::rethrow_exception(entry.broken);
    Compilation result = entry.result;
    entry.result.compile_ms = 0;
    return result;
  }

  // Somebody emptied the cache directory.
  static bool lost(const Entry& entry) {
    return entry.result.status == tuner::Status::ok && !entry.broken &&
           !std::filesystem::exists(entry.result.cached.binary.path);
  }

  void move_to_front(const std::string& key) {
    const auto found = std::find(queue.begin(), queue.end(), key);
    if (found == queue.end()) return;
    queue.erase(found);
    queue.push_front(key);
  }

  const CompilePoolOptions options;
  const BinaryCache cache;
  std::mutex mutex;
  std::condition_variable work;
  std::condition_variable done;
  std::atomic<bool> stop{false};
  bool paused = false;
  int running = 0;
  std::deque<std::string> queue;
  std::deque<std::function<void(CompileChild&)>> questions;
  std::map<std::string, Entry> entries;
  std::vector<std::string> finished;
  std::map<std::string, CompilerDescription> descriptions;  // by architecture
  std::vector<std::thread> threads;
};

CompilePool::CompilePool(CompilePoolOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}

CompilePool::~CompilePool() = default;

CompilerDescription CompilePool::describe(const kernels::Target& target) {
  Impl& impl = *impl_;
  const auto promise = std::make_shared<std::promise<CompilerDescription>>();
  {
    const std::lock_guard lock(impl.mutex);
    const auto known = impl.descriptions.find(target.arch);
    if (known != impl.descriptions.end()) return known->second;
    impl.questions.emplace_back([&impl, promise, target](CompileChild& child) {
      try {
        promise->set_value(impl.ask_description(child, target));
      } catch (...) {
        promise->set_exception(std::current_exception());
      }
    });
  }
  impl.work.notify_one();
  auto answer = promise->get_future();
  while (answer.wait_for(kInterruptCheck) != std::future_status::ready)
    if (impl.options.interrupted()) throw tuner::Interrupted("stopped while the compiler was asked");
  auto description = answer.get();
  const std::lock_guard lock(impl.mutex);
  return impl.descriptions.emplace(target.arch, std::move(description)).first->second;
}

void CompilePool::submit(CompileRequest request) {
  const std::lock_guard lock(impl_->mutex);
  impl_->find_or_queue(std::move(request));
}

void CompilePool::cancel(const std::string& key) {
  const std::lock_guard lock(impl_->mutex);
  const auto queued = std::find(impl_->queue.begin(), impl_->queue.end(), key);
  if (queued == impl_->queue.end()) return;
  impl_->queue.erase(queued);
  impl_->entries.erase(key);
}

std::size_t CompilePool::first_done(std::span<const std::string> keys) {
  Impl& impl = *impl_;
  std::unique_lock lock(impl.mutex);
  const auto done = [&](const std::string& key) {
    const auto entry = impl.entries.find(key);
    return entry == impl.entries.end() || entry->second.state == Entry::State::done;
  };
  auto found = keys.end();
  impl.wait_until(lock, [&] {
    found = std::find_if(keys.begin(), keys.end(), done);
    return found != keys.end();
  });
  return static_cast<std::size_t>(found - keys.begin());
}

Compilation CompilePool::wait(const CompileRequest& request) {
  Impl& impl = *impl_;
  std::unique_lock lock(impl.mutex);
  Entry& entry = impl.find_or_queue(request);
  if (entry.state == Entry::State::done && impl.lost(entry)) impl.queue_entry(entry, request);
  impl.move_to_front(request.key);
  impl.wait_until(lock, [&] { return entry.state == Entry::State::done; });
  return Impl::tell(entry);
}

Compilation CompilePool::result(const std::string& key) {
  const std::lock_guard lock(impl_->mutex);
  return Impl::tell(impl_->entries.at(key));
}

std::vector<std::string> CompilePool::wait_finished() {
  std::unique_lock lock(impl_->mutex);
  impl_->wait_until(lock, [&] { return !impl_->finished.empty(); });
  return std::exchange(impl_->finished, {});
}

void CompilePool::pause() {
  std::unique_lock lock(impl_->mutex);
  impl_->paused = true;
  try {
    impl_->wait_until(lock, [&] { return impl_->running == 0; });
  } catch (...) {
    impl_->paused = false;
    throw;
  }
}

void CompilePool::resume() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->paused = false;
  }
  impl_->work.notify_all();
}

}  // namespace fcsa::runner
