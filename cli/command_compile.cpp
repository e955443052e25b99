#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/say.h"
#include "cli/shared_options.h"
#include "cli/table.h"
#include "runner/compile/compile_all.h"
#include "runner/verification/feature_pairs.h"
#include "tuner/search/space.h"

namespace fcsa::cli {
namespace {

struct CompileOptions {
  std::string arch = "sm_75,sm_80,sm_86,sm_89,sm_90a,sm_100a,sm_120a";
  std::string op = "fwd,bwd", family, dtype = "f32,bf16,f16", head_dim = "16,32,64,80,96,128,192,256";
  int jobs = 0, sample = 0;
  std::uint64_t seed = 1;
  bool all = false, variants = false, pairs = false, json = false;
};

// The kinds of kernel that differ in code: causal with the fixed bound, everything at once with the running
// maximum, raw rows, groups with a scale per head, one query against a long cache. Backward with the
// gradients of the bias and of the scale where there are these.
std::vector<kernels::Problem> variants(kernels::Op op, kernels::DType dtype, bool tf32, int head_dim) {
  kernels::Problem full;
  full.op = op;
  full.dtype = dtype, full.allow_tf32 = tf32, full.head_dim = head_dim;
  full.batch = 2, full.heads = full.kv_heads = 16, full.nq = full.nk = 4096;
  kernels::Problem causal = full;
  causal.causal = true;
  kernels::Problem everything = causal;
  everything.key_mask = true;
  everything.bias = kernels::Bias::same;
  everything.bias_gradient = op == kernels::Op::backward;
  kernels::Problem raw = full;
  raw.l2norm_qk = false;
  kernels::Problem grouped = full;
  grouped.groups = 4;
  grouped.head_scale = true;
  grouped.scale_gradient = op == kernels::Op::backward;
  kernels::Problem decoding = full;
  decoding.batch = 1, decoding.heads = 32, decoding.kv_heads = 8, decoding.nq = 1, decoding.nk = 8192;
  return {causal, everything, raw, grouped, decoding};
}

// One kind for every dtype (TF32 is one) and head dim, by turns that begin elsewhere for every architecture:
// each kind meets each dtype and each head dim, and on the default architectures both at once. Or all kinds.
std::vector<kernels::Problem> problems_of(const CompileOptions& options, kernels::Op op,
                                          const kernels::Family& family, const kernels::Target& target,
                                          std::size_t turn) {
  std::vector<kernels::Problem> list;
  if (options.pairs) {
    const auto serves = [&](const kernels::Problem& p) { return family.unsupported(p, target).empty(); };
    for (const auto& feature_case : runner::feature_pairs(options.seed, serves, op))
      list.push_back(feature_case.problem);
    return list;
  }
  for (const auto& name : parse_words("--dtype", options.dtype)) {
    const kernels::DType dtype = kernels::dtype_from_text(name);
    for (const bool tf32 : {false, true}) {
      if (tf32 && dtype != kernels::DType::f32) continue;
      std::size_t kind = turn++;
      for (const int head_dim : parse_sizes("--head-dim", options.head_dim)) {
        const auto kinds = variants(op, dtype, tf32, head_dim);
        if (options.variants)
          list.insert(list.end(), kinds.begin(), kinds.end());
        else
          list.push_back(kinds[kind++ % kinds.size()]);
      }
    }
  }
  return list;
}

std::vector<kernels::Configuration> configurations(const CompileOptions& options,
                                                   const kernels::Family& family,
                                                   const kernels::Problem& problem,
                                                   const kernels::Target& target) {
  if (!options.all && options.sample == 0) return {family.baseline(problem, target)};
  const tuner::Space space(family, problem, target);
  if (options.all) return space.valid();
  std::mt19937_64 random(options.seed);
  std::vector<kernels::Configuration> drawn;
  for (const auto position : space.sample(static_cast<std::size_t>(options.sample), random))
    drawn.push_back(space.at(position));
  return drawn;
}

std::vector<runner::CompileJob> make_jobs(const CompileOptions& options) {
  std::vector<runner::CompileJob> jobs;
  std::size_t turn = 0;
  for (const auto& arch : parse_words("--arch", options.arch)) {
    const kernels::Target target = kernels::target_for_arch(arch);
    for (const auto& family : kernels::families()) {
      if (family->device_kind() != target.kind ||
          (!options.family.empty() && family->name() != options.family))
        continue;
      for (const auto& op : parse_words("--op", options.op))
        for (const auto& problem : problems_of(options, kernels::op_from_text(op), *family, target, turn)) {
          if (!family->unsupported(problem, target).empty()) continue;
          for (auto& configuration : configurations(options, *family, problem, target))
            jobs.push_back({{problem, family.get(), std::move(configuration)}, target});
        }
    }
    ++turn;
  }
  if (jobs.empty())
    throw UsageError(fmt::format(
        "nothing to compile: no family serves {} on these architectures, with these dtypes and head dims",
        options.op));
  return jobs;
}

bool searching(const CompileOptions& options) {
  return options.all || options.sample > 0;
}

// Any spill in a baseline is a failure, unless its family says otherwise; in a sampled configuration many
// spills disqualify the candidate. Judges what compile_all() left as ok by the former.
tuner::Evaluation judged(const CompileOptions& options, const tuner::Candidate& candidate,
                         tuner::Evaluation evaluation) {
  const auto& family = *candidate.family;
  const bool may_spill =
      searching(options) || !family.tunable() || family.baseline_may_spill(candidate.problem.op);
  if (evaluation.status != tuner::Status::ok || may_spill || evaluation.resources.spill_bytes == 0)
    return evaluation;
  evaluation.status = tuner::Status::pruned;
  evaluation.message =
      fmt::format("{} bytes of registers spilled in a baseline", evaluation.resources.spill_bytes);
  return evaluation;
}

bool is_failure(const CompileOptions& options, const tuner::Evaluation& evaluation) {
  return evaluation.status != tuner::Status::ok &&
         !(searching(options) && evaluation.status == tuner::Status::pruned);
}

void compile(const CompileOptions& options, Context& context) {
  if (!options.family.empty()) kernels::family_named(options.family);
  const auto jobs = make_jobs(options);
  const auto started = std::chrono::steady_clock::now();
  runner::CompileOnlyOptions compile_options;
  compile_options.executable = executable_path();
  compile_options.compile_jobs = options.jobs;
  compile_options.stop = context.stop;
  std::size_t failed = 0, disqualified = 0;
  const auto done = [&](std::size_t index, const tuner::Evaluation& compiled) {
    const auto& [candidate, target] = jobs[index];
    const auto evaluation = judged(options, candidate, compiled);
    if (evaluation.status == tuner::Status::ok) return;
    ++(is_failure(options, evaluation) ? failed : disqualified);
    say("{} {} {}: {}: {}\n", target.arch, kernels::class_text(candidate.problem),
        kernels::to_text(*candidate.family, candidate.problem.op, candidate.configuration),
        tuner::to_text(evaluation.status), evaluation.message);
  };
  const auto results = runner::compile_all(jobs, compile_options, done);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();

  Table table{{"arch", "problem", "configuration", "status", "registers", "spill bytes", "smem bytes"}, {}};
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const auto& [candidate, target] = jobs[i];
    const auto result = judged(options, candidate, results[i]);
    const auto& resources = result.resources;
    table.rows.push_back({target.arch, kernels::class_text(candidate.problem),
                          kernels::to_text(*candidate.family, candidate.problem.op, candidate.configuration),
                          std::string(tuner::to_text(result.status)), std::to_string(resources.registers),
                          std::to_string(resources.spill_bytes), std::to_string(resources.smem_bytes)});
  }
  print(table, options.json);
  if (!options.json)
    fmt::print("{} kernels in {:.1f} s ({:.1f} a second): {} failed, {} disqualified\n", jobs.size(), seconds,
               static_cast<double>(jobs.size()) / seconds, failed, disqualified);
  if (failed > 0) context.exit_status = 1;
}

}  // namespace

void add_compile(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("compile", "Compiles CUDA kernels with NVRTC; needs no GPU");
  auto options = std::make_shared<CompileOptions>();
  command->add_option("--arch", options->arch, "Architectures")->capture_default_str();
  command->add_option("--family", options->family, "Only this kernel family");
  command->add_option("--op", options->op, "Operations: fwd, bwd")->capture_default_str();
  command->add_option("--dtype", options->dtype, "Storage types")->capture_default_str();
  command->add_option("--head-dim", options->head_dim, "Head dimensions")->capture_default_str();
  command
      ->add_option("--sample", options->sample,
                   "N random configurations of every space instead of its baseline")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--all", options->all, "Every valid configuration");
  auto* variants =
      command->add_flag("--variants", options->variants,
                        "All kinds of kernel for every dtype and head dimension, not one by turns");
  command->add_flag("--pairs", options->pairs, "The problems of verify --pairs instead")->excludes(variants);
  command->add_option("--seed", options->seed, "Of the sample and of --pairs")->capture_default_str();
  add_jobs_option(*command, options->jobs);
  add_json_option(*command, options->json);
  command->callback([options, &context] {
    try {
      compile(*options, context);
    } catch (const std::invalid_argument& error) {
      throw UsageError(error.what());
    }
  });
}

}  // namespace fcsa::cli
