#include "tests/tuner/emit/sample_tables.h"

#include <algorithm>

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
  Configuration baseline = family.baseline(problem, target);
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
  c.configurations = {to_text(family, problem.op, family.baseline(problem, target)),
                      to_text(family, problem.op, another(family, problem, target))};
  c.worst_regret = 0.015;
  c.left_out = {.median_regret = 0.005, .worst_regret = 0.025, .priced = 4};
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

// Classes of the backward pass before those of the forward pass, as tables have them: in order of their
// texts.
void add_backward(DispatchTable& table, const std::string& family, const std::vector<Problem>& problems) {
  for (Problem problem : problems) {
    problem.op = Op::backward;
    table.classes.insert(table.classes.begin(),
                         class_of(kernels::family_named(family), problem, table.device.target));
  }
}

// The configuration with another value of a parameter, where the family has that.
std::string with(const std::string& text, const std::string& parameter, int value) {
  auto [family, op, configuration] = kernels::parse_kernel(text);
  for (auto& [name, given] : configuration.values)
    if (name == parameter) given = value;
  return to_text(*family, op, configuration);
}

DispatchTable table_for(const Target& target, const std::string& name) {
  DispatchTable table;
  table.device.target = target;
  table.device.name = name;
  table.device.driver = "1.0";
  table.device.compiler = "a compiler";
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
  // Norms by all blocks together: a second kernel, and a cooperative launch.
  for (auto& text : table.classes.back().configurations) text = with(text, "key_norms", 2);
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

DispatchTable cpu_training_table() {
  DispatchTable table = cpu_table();
  std::erase_if(table.classes, [](const auto& c) { return c.traits.causal || c.traits.dtype == DType::f16; });
  Problem problem = problem_of(2, 8), biased = problem, half = problem;
  biased.bias = kernels::Bias::f32;
  biased.head_scale = biased.bias_gradient = biased.scale_gradient = true;
  half.dtype = DType::bf16;
  half.head_dim = 32;
  add_backward(table, "cpu", {problem, biased, half});
  return table;
}

DispatchTable simt_training_table(const std::string& arch) {
  DispatchTable table = simt_table(arch);
  add_backward(table, "simt", {problem_of(2, 8)});
  return table;
}

DispatchTable wgmma_training_table() {
  DispatchTable table = wgmma_table();
  Problem problem = table.classes.front().entries.front().problem;
  add_backward(table, "mma", {problem});
  return table;
}

DispatchTable feature_table(const kernels::DeviceInfo& gpu) {
  DispatchTable table;
  table.device = gpu;
  const auto add = [&](DType dtype, const auto& change) {
    Problem problem = problem_of(2, 8);
    problem.dtype = dtype;
    change(problem);
    const auto family = std::find_if(
        kernels::families().begin(), kernels::families().end(),
        [&](const auto& f) { return f->tunable() && f->unsupported(problem, gpu.target).empty(); });
    table.classes.push_back(class_of(**family, problem, gpu.target));
  };
  add(DType::bf16, [](Problem& p) { p.causal = true; });
  add(DType::bf16, [](Problem& p) { p.key_mask = true, p.kv_heads = 2; });
  add(DType::f16, [](Problem& p) { p.head_dim = 128; });
  add(DType::f32, [](Problem&) {});
  add(DType::bf16, [](Problem& p) { p.bias = kernels::Bias::f32; });
  add(DType::f16, [](Problem& p) { p.head_scale = true; });
  add(DType::bf16, [](Problem& p) { p.groups = 2; });
  add(DType::f16, [](Problem& p) { p.l2norm_qk = false; });
  add(DType::bf16, [](Problem& p) { p.op = Op::backward, p.causal = true; });
  add(DType::bf16, [](Problem& p) { p.op = Op::backward, p.key_mask = true, p.kv_heads = 2; });
  add(DType::f16, [](Problem& p) { p.op = Op::backward, p.head_dim = 128; });
  add(DType::f32, [](Problem& p) { p.op = Op::backward; });
  add(DType::bf16, [](Problem& p) { p.op = Op::backward, p.bias = kernels::Bias::f32; });
  add(DType::f16, [](Problem& p) { p.op = Op::backward, p.l2norm_qk = false; });
  for (auto& c : table.classes)
    for (auto& configuration : c.configurations)
      if (c.traits.key_mask) configuration = with(configuration, "pack_heads", 1);
  return table;
}

Emission emission_of(const DispatchTable& table, Serve serve) {
  Emission emission;
  emission.table = table;
  emission.plan = plan_emission(table, serve);
  emission.provenance = {.devices = 1,
                         .first_at = "2026-01-02T03:04:05Z",
                         .last_at = "2026-01-02T04:05:06Z",
                         .trials = 345,
                         .timed = 321,
                         .commands = {"fcsa tune --seq 128:4096 --db tuning.db"},
                         .source_hashes = {},
                         .measurements = {}};
  for (const auto& c : table.classes)
    for (const auto& configuration : c.configurations)
      emission.provenance.source_hashes[{c.class_text, configuration}] = "hash of " + configuration;
  emission.command = "fcsa emit --db tuning.db";
  emission.sources = "unchanged since they were measured";
  return emission;
}

}  // namespace fcsa::tuner
