#include "runner/worker/builtin_job.h"

#include <stdexcept>

#include "kernels/cpu/builtin.h"

namespace fcsa::runner {

std::optional<CandidateJob> builtin_job(const tuner::Candidate& candidate, const kernels::Target& target,
                                        std::uint64_t seed, Placement placement) {
  const auto& [problem, family, configuration] = candidate;
  if (family->name() != "cpu") return std::nullopt;
  if (!(configuration == family->baseline(problem, target))) return std::nullopt;
  // Where heads are few the baseline deals out their keys, which the built-in kernels don't.
  if (problem.op == kernels::Op::backward && configuration.at("key_splits") != 1) return std::nullopt;
  try {
    const auto builtin = kernels::cpu::builtin_kernels(problem.op, kernels::traits_of(problem));
    CandidateJob job;
    job.binary.path = "builtin:" + kernels::to_text(problem);
    job.small_checks = small_checks(*family, problem, configuration, seed);
    job.full_check = full_check(*family, problem, configuration, seed, placement);
    // The built-in instance may be one for more general traits, with a plan of its own.
    for (auto& check : job.small_checks)
      check.plan = builtin.plan(placed_args(check.problem, check.placement));
    job.full_check.plan = builtin.plan(placed_args(problem, placement));
    return job;
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
}

}  // namespace fcsa::runner
