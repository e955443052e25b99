#include "runner/process_evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <unordered_map>

#include "runner/compile/compile_pool.h"
#include "runner/compile/pruning.h"
#include "runner/device/host_failure.h"
#include "runner/worker/builtin_job.h"
#include "runner/worker/worker_client.h"
#include "tuner/trials/recording.h"

namespace fcsa::runner {
namespace {

using tuner::Candidate;
using tuner::Evaluation;
using tuner::Status;

// Slower than anything worth waiting for; a job may take as long as this much arithmetic does.
constexpr double kSlowGpuFlops = 1e12;
constexpr double kSlowCoreFlops = 2e10;
// Verification, warm-up and the samples that are taken whatever they cost.
constexpr double kLaunchesPerJob = 8;
constexpr double kHostBytesPerSecond = 5e7;  // drawing inputs and comparing outputs

// The compilations of this machine's cores would be measured along with a CPU kernel.
class CompilationPause {
 public:
  CompilationPause(CompilePool& pool, kernels::DeviceKind kind) {
    if (kind != kernels::DeviceKind::cpu) return;
    pool_ = &pool;
    pool.pause();
  }
  CompilationPause(const CompilationPause&) = delete;
  CompilationPause& operator=(const CompilationPause&) = delete;
  ~CompilationPause() {
    if (pool_ != nullptr) pool_->resume();
  }

 private:
  CompilePool* pool_ = nullptr;
};

std::string identity(const Candidate& candidate) {
  return kernels::to_text(candidate.problem) + '\n' + tuner::configuration_text(candidate);
}

std::filesystem::path cache_directory(const ProcessEvaluatorOptions& options) {
  return options.cache_directory.empty() ? default_cache_directory() : options.cache_directory;
}

CompilePoolOptions pool_options(const ProcessEvaluatorOptions& options, kernels::DeviceKind kind,
                                std::function<bool()> interrupted) {
  return {.executable = options.executable,
          .kind = kind == kernels::DeviceKind::cuda ? "nvrtc" : "system",
          .jobs = options.compile_jobs,
          .cache_directory = cache_directory(options),
          .deadline = options.compile_deadline,
          .interrupted = std::move(interrupted)};
}

std::vector<int> key_lengths_of(const kernels::Problem& problem, const std::vector<double>& given) {
  std::vector<int> lengths;
  for (int batch = 0; problem.key_mask && !given.empty() && batch < problem.batch; ++batch) {
    const double length = given[static_cast<std::size_t>(batch) % given.size()];
    const double keys = length < 1 ? std::round(length * problem.nk) : length;
    lengths.push_back(static_cast<int>(std::min<double>(keys, problem.nk)));
  }
  return lengths;
}

}  // namespace

struct ProcessEvaluator::Impl {
  explicit Impl(ProcessEvaluatorOptions given)
      : options(std::move(given)),
        worker(options.executable, options.device, [this] { return interrupted(); }),
        device(worker.describe()),
        pool(pool_options(options, device.target.kind, [this] { return interrupted(); })) {
    try {
      compiler = pool.describe(device.target);
      device.compiler = compiler.version;
    } catch (const NoCompiler& error) {
      if (device.target.kind == kernels::DeviceKind::cuda) throw;
      no_compiler = error.what();
      compiler.version = device.compiler = "built into fcsa " FCSA_VERSION;
    }
    if (device.target.kind == kernels::DeviceKind::cpu && no_compiler.empty()) require_executable_cache();
  }

  bool interrupted() const {
    return (options.stop != nullptr && *options.stop) ||
           std::chrono::steady_clock::now().time_since_epoch().count() >= deadline.load();
  }

  // Every trial would fail to launch, and be recorded.
  void require_executable_cache() const {
    const BinaryCache cache(cache_directory(options));
    if (!cache.executable())
      throw HostFailure(
          fmt::format("{} is on a file system that is mounted with noexec, so that no compiled kernel can be "
                      "loaded from there: choose another cache directory (--cache-dir, XDG_CACHE_HOME)",
                      cache.directory().string()));
  }

  CompileRequest request(const Candidate& candidate) const {
    auto source = candidate.family->source(candidate.problem, candidate.configuration);
    auto key = runner::source_hash(source, device.target, compiler);
    return {std::move(source), device.target, std::move(key)};
  }

  CandidateJob job(const Candidate& candidate, const Binary& binary, Placement placement) const {
    const auto& [problem, family, configuration] = candidate;
    return with_lengths({binary, small_checks(*family, problem, configuration, options.seed),
                         full_check(*family, problem, configuration, options.seed, placement)});
  }

  CandidateJob with_lengths(CandidateJob job) const {
    job.full_check.key_lengths = key_lengths_of(job.full_check.problem, options.key_lengths);
    return job;
  }

  // `job` says what to do; its candidates are filled in, then `adjust` may change them.
  std::vector<Evaluation> run(std::span<const Candidate> candidates, Job job,
                              const std::function<void(CandidateJob&)>& adjust = {},
                              Placement placement = Placement::dense) {
    if (interrupted()) throw tuner::Interrupted("stopped before it began");
    std::vector<Evaluation> evaluations(candidates.size());
    const auto entrants = compile(candidates, evaluations, job, placement);
    if (entrants.empty()) return evaluations;
    if (adjust) std::for_each(job.candidates.begin(), job.candidates.end(), adjust);
    const CompilationPause pause(pool, device.target.kind);
    const auto results = worker.run(job, limits(candidates, job.measurement.max_seconds));
    for (std::size_t i = 0; i < entrants.size(); ++i) {
      Evaluation& compiled = evaluations[entrants[i]];
      const auto resources = compiled.resources;
      const double compile_ms = compiled.compile_ms;
      compiled = results[i];
      compiled.resources = resources;
      compiled.compile_ms = compile_ms;
    }
    return evaluations;
  }

  // Fills in what is decided before anything runs and adds the rest to the job. Positions of those in the
  // job.
  std::vector<std::size_t> compile(std::span<const Candidate> candidates,
                                   std::vector<Evaluation>& evaluations, Job& work, Placement placement) {
    std::vector<std::optional<CompileRequest>> requests(candidates.size());
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      evaluations[i] = pruned(reason_not_to_compile(candidates[i], device.target));
      if (!evaluations[i].message.empty()) continue;
      requests[i] = request(candidates[i]);
      if (no_compiler.empty()) pool.submit(*requests[i]);
    }
    std::vector<std::size_t> entrants;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (!requests[i]) continue;
      auto ready = no_compiler.empty() ? compiled(candidates[i], *requests[i], evaluations[i], placement)
                                       : built_in(candidates[i], evaluations[i], placement);
      if (!ready) continue;
      work.candidates.push_back(std::move(*ready));
      entrants.push_back(i);
    }
    return entrants;
  }

  std::optional<CandidateJob> compiled(const Candidate& candidate, const CompileRequest& request,
                                       Evaluation& evaluation, Placement placement) {
    const Compilation compilation = pool.wait(request);
    evaluation = evaluation_of(candidate, compilation);
    if (evaluation.status != Status::ok) return std::nullopt;
    return job(candidate, compilation.cached.binary, placement);
  }

  std::optional<CandidateJob> built_in(const Candidate& candidate, Evaluation& evaluation,
                                       Placement placement) const {
    evaluation = {};
    auto ready = builtin_job(candidate, device.target, options.seed, placement);
    if (ready) return with_lengths(std::move(*ready));
    evaluation.status = Status::compile_failed;
    evaluation.message = no_compiler;
    return std::nullopt;
  }

  Job full_job() const { return {.candidates = {}, .measurement = options.measurement}; }

  StageLimits limits(std::span<const Candidate> candidates, double max_seconds) const {
    const auto& target = device.target;
    const double rate =
        target.kind == kernels::DeviceKind::cuda ? kSlowGpuFlops : kSlowCoreFlops * target.multiprocessors;
    double seconds = 0;
    for (const auto& candidate : candidates) {
      const double compute = kLaunchesPerJob * kernels::flops(candidate.problem) / rate;
      seconds = std::max(seconds, compute + kernels::bytes(candidate.problem) / kHostBytesPerSecond);
    }
    const std::chrono::duration<double> one =
        options.evaluate_deadline + std::chrono::duration<double>(seconds);
    const double sampling = max_seconds + seconds;
    return {one, one + std::chrono::duration<double>(static_cast<double>(candidates.size()) * sampling)};
  }

  const ProcessEvaluatorOptions options;
  // Of the steady clock, in its own units; read by the threads that compile.
  std::atomic<std::chrono::steady_clock::rep> deadline{
      std::numeric_limits<std::chrono::steady_clock::rep>::max()};
  WorkerClient worker;
  kernels::DeviceInfo device;
  CompilePool pool;
  CompilerDescription compiler;
  std::string no_compiler;  // why there is none; empty when there is one
  // Key of the compilation of each candidate that was prefetched, by its identity: rendering and hashing its
  // source again takes longer than looking it up.
  std::unordered_map<std::string, std::string> prefetched;
};

ProcessEvaluator::ProcessEvaluator(ProcessEvaluatorOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {}

ProcessEvaluator::~ProcessEvaluator() = default;

const kernels::DeviceInfo& ProcessEvaluator::device() const {
  return impl_->device;
}

tuner::CacheState ProcessEvaluator::cache_state() const {
  return impl_->options.measurement.cache;
}

void ProcessEvaluator::end_at(std::chrono::steady_clock::time_point deadline) {
  impl_->deadline = deadline.time_since_epoch().count();
}

const std::string& ProcessEvaluator::missing_compiler() const {
  return impl_->no_compiler;
}

std::string ProcessEvaluator::source_hash(const Candidate& candidate) {
  return impl_->request(candidate).key;
}

void ProcessEvaluator::prefetch(std::span<const Candidate> candidates) {
  if (!impl_->no_compiler.empty()) return;
  for (const auto& candidate : candidates) {
    if (!reason_not_to_compile(candidate, impl_->device.target).empty()) continue;
    auto request = impl_->request(candidate);
    impl_->prefetched.insert_or_assign(identity(candidate), request.key);
    impl_->pool.submit(std::move(request));
  }
}

void ProcessEvaluator::cancel(std::span<const Candidate> candidates) {
  for (const auto& candidate : candidates) {
    const auto prefetched = impl_->prefetched.find(identity(candidate));
    if (prefetched == impl_->prefetched.end()) continue;
    impl_->pool.cancel(prefetched->second);
    impl_->prefetched.erase(prefetched);
  }
}

// What was never prefetched, or is pruned, has no key: evaluating it doesn't wait for a compiler, or can't be
// said to.
std::size_t ProcessEvaluator::first_ready(std::span<const Candidate> candidates) {
  std::vector<std::string> keys;
  keys.reserve(candidates.size());
  for (const auto& candidate : candidates) {
    const auto prefetched = impl_->prefetched.find(identity(candidate));
    keys.push_back(prefetched == impl_->prefetched.end() ? "" : prefetched->second);
  }
  return impl_->pool.first_done(keys);
}

Evaluation ProcessEvaluator::evaluate(const Candidate& candidate) {
  return impl_->run({&candidate, 1}, impl_->full_job()).front();
}

std::vector<Evaluation> ProcessEvaluator::race(std::span<const Candidate> candidates) {
  for (const auto& candidate : candidates)
    if (!(candidate.problem == candidates.front().problem))
      throw std::invalid_argument("only candidates of one problem can be raced");
  return impl_->run(candidates, impl_->full_job());
}

Evaluation ProcessEvaluator::verify(const Candidate& candidate, int launches) {
  const auto repeat = [&](CandidateJob& job) { job.full_check.launches = launches; };
  return impl_->run({&candidate, 1}, {.candidates = {}, .measurement = {}, .measure = false}, repeat).front();
}

Evaluation ProcessEvaluator::verify(const Candidate& candidate, const OneCheck& check, int launches) {
  const auto one_check = [&](CandidateJob& job) {
    job.small_checks.clear();
    job.full_check.values = check.values;
    job.full_check.reference_flops = check.reference_flops;
    job.full_check.launches = launches;
  };
  const Job job{.candidates = {}, .measurement = {}, .measure = false};
  return impl_->run({&candidate, 1}, job, one_check, check.placement).front();
}

Evaluation ProcessEvaluator::measure(const Candidate& candidate, int launches,
                                     std::chrono::duration<double> limit) {
  Job job = impl_->full_job();
  job.verify = false;
  job.measurement.launches = launches;
  job.measurement.max_seconds = limit.count();
  return impl_->run({&candidate, 1}, std::move(job)).front();
}

}  // namespace fcsa::runner
