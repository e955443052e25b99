// Compilation in child processes, ahead of its use: a queue, one process per job slot, results by content.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/family.h"
#include "runner/compile/binary_cache.h"
#include "tuner/trials/trial.h"

namespace fcsa::runner {

// The compiler is missing or unusable; the message says how to get one.
class NoCompiler : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct CompilePoolOptions {
  std::string executable;  // started as `executable __compile KIND`
  std::string kind;        // "nvrtc", "system"
  int jobs = 0;            // 0: one per core
  std::filesystem::path cache_directory;
  std::chrono::duration<double> deadline{120};  // of one compilation
  // What waits for a compilation throws tuner::Interrupted soon after this has become true.
  std::function<bool()> interrupted = [] { return false; };
};

struct CompileRequest {
  kernels::KernelSource source;
  kernels::Target target;
  std::string key;  // source_hash of the two
};

struct Compilation {
  tuner::Status status = tuner::Status::ok;  // ok, compile_failed, out_of_memory, timed_out, crashed
  std::string message;
  CachedBinary cached;    // when ok
  double compile_ms = 0;  // zero when it came from the cache
};

// Thread-safe. Processes start when there is work for them; one that hangs or dies is replaced. The
// constructor removes the temporary files that killed processes left.
class CompilePool {
 public:
  // Throws std::runtime_error when the cache directory can't be written to.
  explicit CompilePool(CompilePoolOptions options);
  ~CompilePool();  // kills what is under way
  CompilePool(const CompilePool&) = delete;
  CompilePool& operator=(const CompilePool&) = delete;

  // Version and options of the compiler for a target, asked of a child once. Throws NoCompiler.
  CompilerDescription describe(const kernels::Target& target);
  // Queues it unless its key is queued, under way or done. Returns at once.
  void submit(CompileRequest request);
  // Takes it out of the queue again; does nothing when it is under way or done, or was never submitted.
  void cancel(const std::string& key);
  // Index of the first of these that is done, or was never submitted (or cancelled); waits until there is
  // one. Precondition: not paused, and at least one.
  std::size_t first_done(std::span<const std::string> keys);
  // Its result, ahead of everything still in the queue. compile_ms is told once per compilation, then zero.
  // Throws std::runtime_error when the environment is broken (the cache can't be written, the child can't be
  // started). Precondition: not paused.
  Compilation wait(const CompileRequest& request);
  // The result of a key that wait_finished() returned.
  Compilation result(const std::string& key);
  // Keys that were finished since the last call, at least one. Precondition: something is queued or under
  // way.
  std::vector<std::string> wait_finished();
  // No compilation begins until resume(); returns when those under way are done. Keeps cores free for
  // measuring.
  void pause();
  void resume();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fcsa::runner
