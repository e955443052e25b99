#include "runner/compile/pruning.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace fcsa::runner {
namespace {

using tuner::Status;

// Stores and loads of a thread. A few outside of the inner loops cost nothing that can be measured, and the
// time decides; many are never worth the device's time.
constexpr int kMostSpillBytes = 256;

std::string disqualification(const CachedBinary& compiled) {
  const auto& resources = compiled.resources;
  if (resources.spill_bytes > kMostSpillBytes)
    return fmt::format("{} bytes of registers spilled with {} registers a thread", resources.spill_bytes,
                       resources.registers);
  if (resources.spill_bytes == 0 && resources.stack_bytes > 0)
    return fmt::format("{} bytes of stack a thread", resources.stack_bytes);
  return fmt::format("{}", fmt::join(compiled.warnings, "; "));
}

}  // namespace

std::string reason_not_to_compile(const tuner::Candidate& candidate, const kernels::Target& target) {
  const auto& family = *candidate.family;
  if (family.device_kind() != target.kind)
    return fmt::format("{} runs on {}, not on {}", family.name(), kernels::to_text(family.device_kind()),
                       kernels::to_text(target.kind));
  return kernels::misfit(family, candidate.problem, candidate.configuration, target);
}

tuner::Evaluation pruned(std::string reason) {
  tuner::Evaluation evaluation;
  evaluation.status = Status::pruned;
  evaluation.message = std::move(reason);
  return evaluation;
}

tuner::Evaluation evaluation_of(const tuner::Candidate& candidate, const Compilation& compilation) {
  tuner::Evaluation evaluation;
  evaluation.status = compilation.status;
  evaluation.message = compilation.message;
  evaluation.resources = compilation.cached.resources;
  evaluation.compile_ms = compilation.compile_ms;
  if (evaluation.status != Status::ok || candidate.family->device_kind() != kernels::DeviceKind::cuda)
    return evaluation;
  const auto& problem = candidate.problem;
  const auto plan = candidate.family->plan(kernels::traits_of(problem), candidate.configuration,
                                           kernels::shape_args(problem));
  unsigned dynamic_bytes = 0;
  for (int i = 0; i < plan.count; ++i) dynamic_bytes = std::max(dynamic_bytes, plan.steps[i].smem_bytes);
  evaluation.resources.smem_bytes += static_cast<int>(dynamic_bytes);
  if (!candidate.family->tunable()) return evaluation;
  evaluation.message = disqualification(compilation.cached);
  if (!evaluation.message.empty()) evaluation.status = Status::pruned;
  return evaluation;
}

}  // namespace fcsa::runner
