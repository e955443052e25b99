#include "tests/tuner/sample_tables.h"

#include "kernels/cpu/instruction_set.h"

namespace fcsa::tuner {
namespace {

using kernels::Configuration;
using kernels::DType;
using kernels::Family;
using kernels::Op;
using kernels::Problem;
using kernels::Target;

Problem problem_of(int batch, int heads) {
  Problem problem;
  problem.batch = batch;
  problem.heads = problem.kv_heads = heads;
  return problem;
}

// A valid configuration that differs from the baseline in one parameter.
Configuration another(const Family& family, const Problem& problem, const Target& target) {
  const Configuration baseline = family.baseline(problem, target);
  const auto parameters = family.parameters(problem.op);
  for (std::size_t i = parameters.size(); i-- > 0;) {
    for (const int value : parameters[i].values) {
      Configuration candidate = baseline;
      candidate.values[i].second = value;
      if (candidate == baseline || !invalid_reason(family, problem, candidate, target).empty()) continue;
      return candidate;
    }
  }
  return baseline;
}

// The baseline for lengths up to 512, another configuration for longer ones.
DispatchClass class_of(const Family& family, Problem problem, const Target& target) {
  problem.nq = problem.nk = 4096;
  DispatchClass c;
  c.class_text = class_text(problem);
  c.traits = traits_of(problem);
  c.configurations = {to_text(family, Op::forward, family.baseline(problem, target)),
                      to_text(family, Op::forward, another(family, problem, target))};
  c.worst_regret = 0.015;
  for (const int length : {128, 512, 2048, 4096}) {
    problem.nq = problem.nk = length;
    c.entries.push_back({.problem = problem,
                         .choice = length <= 512 ? 0u : 1u,
                         .chosen_ms = 1e-6 * length * length,
                         .best_ms = 1e-6 * length * length,
                         .baseline_ms = 1.1e-6 * length * length,
                         .times_ms = {length <= 512 ? 1e-6 * length * length : 1.1e-6 * length * length,
                                      length <= 512 ? 1.1e-6 * length * length : 1e-6 * length * length}});
  }
  c.rule = fit_rule(c, target.multiprocessors);
  return c;
}

DispatchTable table_for(const Target& target, const std::string& name) {
  DispatchTable table;
  table.device.target = target;
  table.device.name = name;
  table.device.driver = "1.0";
  table.device.compiler = "a compiler";
  table.created_at = "2026-01-02T03:04:05Z";
  return table;
}

}  // namespace

DispatchTable simt_table(const std::string& arch) {
  const Target target = kernels::target_for_arch(arch);
  const Family& simt = kernels::family_named("simt");
  DispatchTable table = table_for(target, "Imaginary GPU");
  Problem problem = problem_of(2, 8);
  table.classes.push_back(class_of(simt, problem, target));
  problem.causal = true;
  table.classes.push_back(class_of(simt, problem, target));
  return table;
}

DispatchTable wgmma_table() {
  const Target target = kernels::target_for_arch("sm_90a");
  DispatchTable table = table_for(target, "Imaginary GPU");
  Problem problem = problem_of(2, 8);
  problem.dtype = DType::bf16;
  problem.causal = true;
  table.classes.push_back(class_of(kernels::family_named("wgmma"), problem, target));
  return table;
}

DispatchTable cpu_table() {
  Target target{.arch = kernels::cpu::host_instruction_set(),
                .multiprocessors = 2,
                .smem_per_block_bytes = 32 << 10,
                .l2_bytes = 1 << 20,
                .memory_bytes = std::size_t{1} << 33};
  const Family& cpu = kernels::family_named("cpu");
  DispatchTable table = table_for(target, "Imaginary CPU");
  Problem problem = problem_of(2, 8);
  table.classes.push_back(class_of(cpu, problem, target));
  problem.causal = true;
  table.classes.push_back(class_of(cpu, problem, target));
  problem.causal = false;
  Problem biased = problem;
  biased.bias = kernels::Bias::f32;
  biased.head_scale = true;
  table.classes.push_back(class_of(cpu, biased, target));
  problem.head_dim = 32;
  for (const DType dtype : {DType::bf16, DType::f16}) {
    problem.dtype = dtype;
    table.classes.push_back(class_of(cpu, problem, target));
  }
  return table;
}

}  // namespace fcsa::tuner
