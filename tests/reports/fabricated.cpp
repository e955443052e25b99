#include "tests/reports/fabricated.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <random>

namespace fcsa::reports::fabricated {
namespace {

using kernels::DeviceKind;
using tuner::Status;

constexpr std::size_t kMiB = 1024 * 1024;

const kernels::Family& family_on(const kernels::DeviceInfo& device, bool tunable) {
  for (const auto& family : kernels::families()) {
    if (family->device_kind() == device.target.kind && family->tunable() == tunable) return *family;
  }
  throw std::logic_error("no family for the device");
}

// The digits of a number, scrambled, choose the values.
kernels::Configuration configuration(const kernels::DeviceInfo& device, int number) {
  const kernels::Family& family = family_on(device, true);
  kernels::Configuration result{kernels::kernel_name(family, kernels::Op::forward), {}};
  std::size_t digits = static_cast<std::size_t>(number) * 7919;
  for (const auto& parameter : family.parameters(kernels::Op::forward)) {
    result.values.emplace_back(parameter.name, parameter.values[digits % parameter.values.size()]);
    digits /= parameter.values.size();
  }
  return result;
}

// The first parameter matters most, each further one half as much; the best value depends on the length.
double slowdown(const kernels::DeviceInfo& device, int number, int length) {
  const auto parameters = family_on(device, true).parameters(kernels::Op::forward);
  const auto values = configuration(device, number).values;
  double factor = 1, weight = 0.3;
  for (std::size_t i = 0; i < parameters.size(); ++i, weight /= 2) {
    const auto& all = parameters[i].values;
    const auto at = std::find(all.begin(), all.end(), values[i].second) - all.begin();
    const auto best = (length < 4096 ? 0 : static_cast<std::ptrdiff_t>(all.size()) - 1);
    factor += weight * static_cast<double>(std::abs(at - best));
  }
  return factor;
}

tuner::Evaluation took_with(double median_ms, double relative, std::mt19937_64& random) {
  tuner::Evaluation evaluation = took(median_ms);
  tuner::Measurement& m = evaluation.measurement;
  std::normal_distribution<double> noise(0, relative);
  m.samples_ms.assign(21, median_ms);
  for (double& sample : m.samples_ms) sample *= 1 + noise(random);
  m.ci_low_ms = median_ms * (1 - relative);
  m.ci_high_ms = median_ms * (1 + relative);
  return evaluation;
}

// Slower on short sequences; unfused falls behind on long ones.
double speed_at(const Shape& shape, int length) {
  const double ramp = length / (length + 900.0);
  return shape.flops_per_second * ramp * (shape.causal ? 0.85 : 1.0);
}

void set_memory(tuner::Evaluation& evaluation, const kernels::Problem& problem, std::size_t extra) {
  tuner::Measurement& m = evaluation.measurement;
  m.peak_memory_bytes = static_cast<std::size_t>(kernels::bytes(problem)) + extra;
  m.extra_memory_bytes = extra;
}

tuner::Evaluation unfused_at(const Shape& shape, const kernels::Problem& problem, std::mt19937_64& random) {
  const double scores = 4.0 * problem.batch * problem.heads * problem.nq * problem.nk;
  if (problem.nk > 16384) {
    return failed(Status::out_of_memory, fmt::format("out of memory: {:.0f} bytes of workspace", scores));
  }
  const double slowdown = 2.1 + 0.4 * std::log2(problem.nk / 512.0);
  tuner::Evaluation evaluation =
      took_with(kernels::flops(problem) / speed_at(shape, problem.nk) * 1e3 * slowdown, 0.02, random);
  set_memory(evaluation, problem, static_cast<std::size_t>(scores));
  return evaluation;
}

tuner::Evaluation failure(std::uint64_t dice) {
  switch (dice % 5) {
    case 0:
      return failed(Status::compile_failed, "ptxas: 48 bytes of spill stores");
    case 1:
      return failed(Status::wrong_result,
                    "o differs by 0.31 (allowed 2.4e-6) in row 64 of head 0: nq=65 nk=63");
    case 2:
      return failed(Status::timed_out, "no answer within 60 s");
    case 3:
      return failed(Status::launch_failed, "cuLaunchKernel: CUDA_ERROR_INVALID_VALUE");
    default:
      return failed(Status::pruned, "shared memory above the limit");
  }
}

}  // namespace

kernels::DeviceInfo gpu() {
  kernels::DeviceInfo device;
  device.target.kind = DeviceKind::cuda;
  device.target.arch = "sm_90a";
  device.target.compute_capability = 90;
  device.target.multiprocessors = 132;
  device.target.smem_per_block_bytes = 232448;
  device.target.l2_bytes = 50 * kMiB;
  device.target.memory_bytes = 80UL * 1024 * kMiB;
  device.name = "NVIDIA H100 80GB HBM3";
  device.uuid = "GPU-00000000-1111-2222-3333-444444444444";
  device.driver = "580.95.05 (CUDA 13.0)";
  device.compiler = "NVRTC 13.0";
  return device;
}

kernels::DeviceInfo cpu() {
  kernels::DeviceInfo device;
  device.target.kind = DeviceKind::cpu;
  device.target.arch = "avx512";
  device.target.multiprocessors = 16;
  device.target.smem_per_block_bytes = 48UL * 1024;
  device.target.l2_bytes = 2 * kMiB;
  device.target.memory_bytes = 64UL * 1024 * kMiB;
  device.name = "Example CPU @ 2.40GHz";
  device.uuid = "cpu-0123456789abcdef";
  device.driver = "6.1.0-28-amd64";
  device.compiler = "g++ (Debian 12.2.0-14) 12.2.0";
  return device;
}

kernels::Problem problem(int length) {
  kernels::Problem p;
  p.batch = std::max(1, 16384 / length);
  p.heads = p.kv_heads = 32;
  p.nq = p.nk = length;
  return p;
}

std::string baseline(const kernels::DeviceInfo& device, const kernels::Problem& problem) {
  const kernels::Family& family = family_on(device, true);
  return kernels::to_text(family, problem.op, family.baseline(problem, device.target));
}

std::string unfused(const kernels::DeviceInfo& device) {
  return kernels::kernel_name(family_on(device, false), kernels::Op::forward);
}

std::string variant(const kernels::DeviceInfo& device, int number) {
  return kernels::to_text(configuration(device, number),
                          family_on(device, true).parameters(kernels::Op::forward));
}

tuner::Evaluation took(double median_ms) {
  tuner::Evaluation evaluation;
  tuner::Measurement& m = evaluation.measurement;
  m.samples_ms = {median_ms * 0.99, median_ms, median_ms * 1.01};
  m.median_ms = median_ms;
  m.ci_low_ms = median_ms * 0.99;
  m.ci_high_ms = median_ms * 1.01;
  m.peak_memory_bytes = 64 * kMiB;
  m.extra_memory_bytes = kMiB;
  m.clocks.sm_mhz = 1980;
  evaluation.accuracy = {4e-7, 2e-6};
  return evaluation;
}

tuner::Evaluation failed(Status status, const std::string& message) {
  tuner::Evaluation evaluation;
  evaluation.status = status;
  evaluation.message = message;
  return evaluation;
}

Database::Database(kernels::DeviceInfo device, const std::string& session) {
  session_.id = session;
  session_.started_at = "2026-03-01T10:00:00Z";
  session_.command = "fcsa tune --device auto --seq 512,1024 --budget 10m --db tuning.db";
  session_.host = "node-17";
  session_.fcsa_version = "0.1.0";
  session_.seed = 42;
  session_.device = std::move(device);
}

tuner::StoredTrial& Database::add(const kernels::Problem& problem, const std::string& configuration,
                                  const tuner::Evaluation& evaluation) {
  tuner::StoredTrial stored;
  stored.id = static_cast<std::int64_t>(trials_.size()) + 1;
  stored.session = session_;
  stored.trial.problem = problem;
  stored.trial.configuration = configuration;
  stored.trial.source_hash = "feedc0de";
  stored.trial.finished_at = fmt::format("2026-03-01T{:02}:{:02}:{:02}Z", 10 + stored.id / 3600,
                                         stored.id / 60 % 60, stored.id % 60);
  stored.trial.seed = 42;
  stored.trial.evaluation = evaluation;
  return trials_.emplace_back(std::move(stored));
}

Database& Database::search(const kernels::Problem& problem, const std::string& configuration,
                           const tuner::Evaluation& evaluation) {
  add(problem, configuration, evaluation);
  return *this;
}

Database& Database::confirm(const std::string& race, const kernels::Problem& problem,
                            const std::string& configuration, const tuner::Evaluation& evaluation) {
  tuner::Trial& trial = add(problem, configuration, evaluation).trial;
  trial.phase = tuner::Phase::confirm;
  trial.race_id = race;
  return *this;
}

Database& Database::tuned(const kernels::Problem& problem) {
  const std::string race = "race of " + kernels::to_text(problem);
  const std::string base = baseline(device(), problem);
  return search(problem, base, took(2.1))
      .search(problem, variant(device(), 1), took(1.1))
      .confirm(race, problem, variant(device(), 1), took(1.0))
      .confirm(race, problem, base, took(2.0))
      .confirm(race, problem, unfused(device()), took(4.0));
}

std::vector<tuner::StoredTrial> joined(const Database& one, const Database& other) {
  std::vector<tuner::StoredTrial> all = one.trials();
  all.insert(all.end(), other.trials().begin(), other.trials().end());
  for (std::size_t i = 0; i < all.size(); ++i) all[i].id = static_cast<std::int64_t>(i) + 1;
  return all;
}

void add_realistic(Database& database, const Shape& shape) {
  std::mt19937_64 random(shape.seed);
  std::uniform_real_distribution<double> uniform(0, 1);
  const kernels::DeviceInfo device = database.device();
  for (const int length : shape.lengths) {
    kernels::Problem p = problem(length);
    p.dtype = shape.dtype;
    p.head_dim = shape.head_dim;
    p.causal = shape.causal;
    p.heads = p.kv_heads = shape.heads;
    const double best_ms = kernels::flops(p) / speed_at(shape, length) * 1e3;
    const double baseline_ms = best_ms * (1.25 + 0.5 * uniform(random));
    const auto with_memory = [&](tuner::Evaluation evaluation) {
      set_memory(evaluation, p,
                 length >= 8192 ? 0 : static_cast<std::size_t>(p.batch) * p.heads * length * 4);
      return evaluation;
    };
    database.search(p, baseline(device, p), with_memory(took_with(baseline_ms, 0.004, random)));
    std::map<double, int> fastest;
    for (int i = 1; i < shape.evaluations; ++i) {
      const double time_ms = best_ms * slowdown(device, i, length);
      const bool fails = uniform(random) < 0.15;
      if (!fails) fastest[time_ms] = i;
      database.search(p, variant(device, i),
                      fails ? failure(random()) : with_memory(took_with(time_ms, 0.006, random)));
    }
    if (shape.interrupted_after == length) return;
    const std::string race = fmt::format("race-{}-{}", device.uuid, kernels::to_text(p));
    for (auto finalist = fastest.begin(); finalist != fastest.end() && fastest.size() > 2; ++finalist) {
      if (std::distance(fastest.begin(), finalist) == 2) break;
      database.confirm(race, p, variant(device, finalist->second),
                       with_memory(took_with(finalist->first, 0.006, random)));
    }
    database.confirm(race, p, baseline(device, p), with_memory(took_with(baseline_ms, 0.008, random)));
    database.confirm(race, p, unfused(device), unfused_at(shape, p, random));
  }
}

std::vector<tuner::StoredTrial> two_devices() {
  Database one(gpu()), other(cpu(), "session-2");
  add_realistic(one, {});
  add_realistic(one, {.dtype = kernels::DType::bf16, .head_dim = 128, .causal = true});
  add_realistic(other, {.lengths = {512, 1000, 4096}, .evaluations = 20, .flops_per_second = 9e11});
  return joined(one, other);
}

std::vector<tuner::StoredTrial> interrupted() {
  Database database(gpu());
  add_realistic(database, {.lengths = {512, 1024, 2048}, .interrupted_after = 2048});
  add_realistic(database,
                {.lengths = {512, 1024}, .evaluations = 3, .causal = true, .interrupted_after = 512});
  return database.trials();
}

std::vector<tuner::StoredTrial> nothing_worked() {
  Database database(gpu());
  for (const int length : {512, 1024, 2048})
    for (int i = 0; i < 20; ++i)
      database.search(problem(length), variant(gpu(), i), failure(static_cast<std::uint64_t>(i)));
  return database.trials();
}

std::vector<tuner::StoredTrial> many(std::size_t trials) {
  Database one(gpu()), other(cpu(), "session-2");
  const int evaluations = static_cast<int>(trials / 40 / 8) - 3;  // and four confirmations
  for (int section = 0; section < 40; ++section) {
    add_realistic(section < 30 ? one : other, {.evaluations = evaluations,
                                               .flops_per_second = section < 30 ? 60e12 : 6e11,
                                               .head_dim = 16 * (section / 2 % 16 + 1),
                                               .causal = section % 2 == 1,
                                               .heads = section < 32 ? 32 : 16,
                                               .seed = static_cast<std::uint64_t>(section)});
  }
  return joined(one, other);
}

}  // namespace fcsa::reports::fabricated
