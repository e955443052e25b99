#include "runner/worker/worker.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <new>
#include <set>

#include "runner/device/json.h"

namespace fcsa::runner {
namespace {

using tuner::Status;

constexpr std::size_t kMaxRotation = 256;
constexpr unsigned char kPoison = 0xff;  // a NaN in every floating-point type

bool right(const tuner::Evaluation& evaluation) {
  return evaluation.status == Status::ok;
}

// Of a binary, launched in this way, on a problem.
std::string identity(const CandidateJob& candidate) {
  const Check& check = candidate.full_check;
  return fmt::format("{} {} {}, {} tensors, seed {}, {}", candidate.binary.path,
                     fmt::join(candidate.binary.symbols, " "), kernels::to_text(check.problem),
                     to_text(check.placement), check.seed, nlohmann::json(check.plan).dump());
}

// The largest cache whose contents survive from one launch to the next.
std::size_t cache_bytes(const kernels::Target& target) {
  if (target.kind == kernels::DeviceKind::cuda) return target.l2_bytes;
  const long l3 = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  return std::max<std::size_t>(
      target.l2_bytes * static_cast<std::size_t>(std::max(1, target.multiprocessors)),
      l3 > 0 ? static_cast<std::size_t>(l3) : 0);
}

}  // namespace

std::vector<tuner::Evaluation> Worker::run(const Job& job,
                                           const std::function<void(const JobProgress&)>& on_progress) {
  std::vector<Entrant> entrants(job.candidates.size());
  for (std::size_t i = 0; i < entrants.size(); ++i) {
    on_progress({i, "verifying"});
    entrants[i].candidate = &job.candidates[i];
    try {
      entrants[i].module = device_.load(entrants[i].candidate->binary);
      if (job.verify && !(job.measure && passed_before(entrants[i])))
        with_room(entrants[i].candidate->full_check, [&] { verify(entrants[i]); });
    } catch (...) {
      fail(i, entrants[i]);
    }
  }
  if (job.measure) measure_survivors(job, entrants, on_progress);
  std::vector<tuner::Evaluation> evaluations;
  evaluations.reserve(entrants.size());
  for (auto& entrant : entrants) evaluations.push_back(std::move(entrant.evaluation));
  return evaluations;
}

void Worker::verify(Entrant& entrant) {
  for (const auto& small : entrant.candidate->small_checks) {
    check(entrant, small);
    if (!right(entrant.evaluation)) return;
  }
  check(entrant, entrant.candidate->full_check);
  if (right(entrant.evaluation)) passed_[identity(*entrant.candidate)] = entrant.evaluation.accuracy;
}

bool Worker::passed_before(Entrant& entrant) const {
  const auto known = passed_.find(identity(*entrant.candidate));
  if (known == passed_.end()) return false;
  entrant.evaluation.accuracy = known->second;
  return true;
}

void Worker::check(Entrant& entrant, const Check& check) {
  const CheckResult result = verifier_.run(*entrant.module, check);
  auto& worst = entrant.evaluation.accuracy;
  // Compared as error / tolerance; NaN counts as the worst.
  if (worst.tolerance == 0 || !(result.error * worst.tolerance <= worst.error * result.tolerance))
    worst = {result.error, result.tolerance};
  if (result.ok) return;
  entrant.evaluation.status = Status::wrong_result;
  entrant.evaluation.message = result.message;
}

// What is kept of other problems gives way to what doesn't fit beside it.
template <typename Work>
void Worker::with_room(const Check& target, const Work& work) {
  try {
    return work();
  } catch (const OutOfMemory& error) {
    if (!verifier_.forget_others(target, error.missing_bytes())) throw;
  } catch (const std::bad_alloc&) {
    if (!verifier_.forget_others(target, 0)) throw;
  }
  work();
}

// Called inside a catch block.
void Worker::fail(std::size_t candidate, Entrant& entrant) {
  try {
    throw;
  } catch (const DeviceError& error) {
    if (error.sticky()) throw DeviceLost({candidate, error.what()});
    entrant.evaluation.status = Status::launch_failed;
    entrant.evaluation.message = error.what();
  } catch (const OutOfMemory& error) {
    entrant.evaluation.status = Status::out_of_memory;
    entrant.evaluation.message = error.what();
  } catch (const std::bad_alloc&) {
    entrant.evaluation.status = Status::out_of_memory;
    entrant.evaluation.message = "not enough host memory to verify it";
  } catch (const std::exception& error) {
    entrant.evaluation.status = Status::launch_failed;
    entrant.evaluation.message = error.what();
  }
}

// A candidate that fails here is taken out and the others start again.
void Worker::measure_survivors(const Job& job, std::vector<Entrant>& entrants,
                               const std::function<void(const JobProgress&)>& on_progress) {
  for (;;) {
    std::vector<Entrant*> survivors;
    for (auto& entrant : entrants)
      if (right(entrant.evaluation)) survivors.push_back(&entrant);
    if (survivors.empty()) return;
    std::size_t suspect = static_cast<std::size_t>(survivors.front() - entrants.data());
    std::set<std::size_t> announced;
    const auto starting = [&](std::size_t i) {
      suspect = static_cast<std::size_t>(survivors[i] - entrants.data());
      if (announced.insert(suspect).second || job.report_every_sample) on_progress({suspect, "measuring"});
    };
    try {
      return with_room(survivors.front()->candidate->full_check,
                       [&] { measure_together(job, survivors, starting); });
    } catch (...) {
      fail(suspect, entrants[suspect]);
    }
  }
}

void Worker::measure_together(const Job& job, std::vector<Entrant*>& entrants,
                              const std::function<void(std::size_t)>& starting) {
  DeviceTensors& tensors = verifier_.tensors(entrants.front()->candidate->full_check);
  std::size_t workspace_bytes = 0;
  for (std::size_t i = 0; i < entrants.size(); ++i) {
    starting(i);
    measure_memory(*entrants[i], tensors);
    const auto needed = static_cast<std::size_t>(entrants[i]->candidate->full_check.plan.workspace_bytes);
    // Now, while it is known who asks for it: one workspace serves all.
    if (needed > workspace_bytes) tensors.args(needed);
    workspace_bytes = std::max(workspace_bytes, needed);
  }
  const auto sets =
      argument_sets(entrants.front()->candidate->full_check, job.measurement.cache, workspace_bytes);
  std::vector<MeasuredKernel> contenders;
  contenders.reserve(entrants.size());
  for (const Entrant* entrant : entrants)
    contenders.push_back({entrant->module.get(), entrant->candidate->full_check.plan, sets});
  auto measurements = measure(device_, contenders, job.measurement, starting);
  for (std::size_t i = 0; i < entrants.size(); ++i) {
    auto& kept = entrants[i]->evaluation.measurement;
    measurements[i].peak_memory_bytes = kept.peak_memory_bytes;
    measurements[i].extra_memory_bytes = kept.extra_memory_bytes;
    kept = std::move(measurements[i]);
  }
}

// Workspace is allocated after the reset, so that it shows in what the device reports; the one that
// verification used is released first, since two that fill the memory don't fit.
void Worker::measure_memory(Entrant& entrant, DeviceTensors& tensors) {
  const Check& check = entrant.candidate->full_check;
  const auto workspace_bytes = static_cast<std::size_t>(check.plan.workspace_bytes);
  tensors.release_workspace();
  tensors.poison_outputs();
  kernels::BackwardArgs args = tensors.args(0);
  device_.reset_peak_memory();
  std::unique_ptr<Buffer> workspace;
  if (workspace_bytes > 0) {
    workspace = device_.allocate(workspace_bytes);
    device_.fill(*workspace, 0, kPoison, workspace_bytes);
    args.workspace = workspace->data();
  }
  device_.launch(*entrant.module, check.plan, args);
  device_.synchronize();
  auto& measurement = entrant.evaluation.measurement;
  // The allocator may have reused resident pages for the workspace, which then doesn't show.
  measurement.extra_memory_bytes = std::max(device_.peak_memory_bytes(), workspace_bytes);
  measurement.peak_memory_bytes =
      static_cast<std::size_t>(kernels::bytes(check.problem)) + measurement.extra_memory_bytes;
}

std::vector<kernels::BackwardArgs> Worker::argument_sets(const Check& check, tuner::CacheState cache,
                                                         std::size_t workspace_bytes) {
  std::vector<kernels::BackwardArgs> sets{verifier_.tensors(check).args(workspace_bytes)};
  if (cache == tuner::CacheState::warm) return sets;
  const auto set_bytes = static_cast<std::size_t>(kernels::bytes(check.problem));
  const std::size_t further = std::min(2 * cache_bytes(device_.info().target) / set_bytes, kMaxRotation);
  const std::string key =
      fmt::format("{} {} {}", kernels::to_text(check.problem), check.seed, fmt::join(check.key_lengths, " "));
  if (key != rotation_key_) {
    rotation_.clear();
    rotation_key_.clear();
    for (std::size_t i = 0; i < further; ++i)
      rotation_.emplace_back(
          device_, make_inputs(check.problem, Values::normal, check.seed + 1 + i, check.key_lengths));
    rotation_key_ = key;
  }
  for (auto& tensors : rotation_) {
    sets.push_back(tensors.args(0));
    sets.back().workspace = sets.front().workspace;
  }
  return sets;
}

}  // namespace fcsa::runner
