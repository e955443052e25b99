#include "runner/compile/compile_all.h"

#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "runner/compile/compile_pool.h"
#include "runner/compile/pruning.h"

namespace fcsa::runner {
namespace {

using tuner::Evaluation;

// Sources are tens of kilobytes: this many are held at a time.
constexpr std::size_t kWindow = 256;

// The jobs for one kind of device, in one pool.
class Batch {
 public:
  Batch(std::span<const CompileJob> jobs, const CompileOnlyOptions& options, kernels::DeviceKind kind)
      : jobs_(jobs),
        pool_({.executable = options.executable,
               .kind = kind == kernels::DeviceKind::cuda ? "nvrtc" : "system",
               .jobs = options.compile_jobs,
               .cache_directory =
                   options.cache_directory.empty() ? default_cache_directory() : options.cache_directory,
               .deadline = options.deadline,
               .interrupted = [stop = options.stop] { return stop != nullptr && *stop; }}) {}

  void run(std::span<const std::size_t> indices, const std::function<void(std::size_t, Evaluation)>& done) {
    while (!indices.empty() || !waiting_.empty()) {
      while (!indices.empty() && waiting_.size() < kWindow) {
        add(indices.front(), done);
        indices = indices.subspan(1);
      }
      if (!waiting_.empty())
        for (const auto& key : pool_.wait_finished()) report(key, done);
    }
  }

 private:
  // Jobs with the same binary share one compilation.
  void add(std::size_t index, const std::function<void(std::size_t, Evaluation)>& done) {
    const auto& [candidate, target] = jobs_[index];
    CompileRequest request{candidate.family->source(candidate.problem, candidate.configuration), target, {}};
    request.key = source_hash(request.source, target, pool_.describe(target));
    if (finished_.contains(request.key)) {
      done(index, evaluation_of(jobs_[index].candidate, pool_.result(request.key)));
    } else {
      waiting_[request.key].push_back(index);
      pool_.submit(std::move(request));
    }
  }

  void report(const std::string& key, const std::function<void(std::size_t, Evaluation)>& done) {
    const auto found = waiting_.extract(key);
    for (const auto index : found.mapped())
      done(index, evaluation_of(jobs_[index].candidate, pool_.result(key)));
    finished_.insert(key);
  }

  std::span<const CompileJob> jobs_;
  CompilePool pool_;
  std::map<std::string, std::vector<std::size_t>> waiting_;  // positions in jobs_ by key
  std::set<std::string> finished_;
};

}  // namespace

std::vector<Evaluation> compile_all(std::span<const CompileJob> jobs, const CompileOnlyOptions& options,
                                    const std::function<void(std::size_t, const Evaluation&)>& done) {
  std::vector<Evaluation> evaluations(jobs.size());
  const auto report = [&](std::size_t index, Evaluation evaluation) {
    evaluations[index] = std::move(evaluation);
    if (done) done(index, evaluations[index]);
  };
  std::map<kernels::DeviceKind, std::vector<std::size_t>> by_kind;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    auto reason = reason_not_to_compile(jobs[i].candidate, jobs[i].target);
    if (reason.empty()) {
      by_kind[jobs[i].target.kind].push_back(i);
    } else {
      report(i, pruned(std::move(reason)));
    }
  }
  for (const auto& [kind, indices] : by_kind) {
    Batch(jobs, options, kind).run(indices, report);
  }
  return evaluations;
}

}  // namespace fcsa::runner
