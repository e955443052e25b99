#include "cli/emit_kernels.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <stdexcept>

#include "cli/options.h"
#include "cli/say.h"
#include "runner/compile/compile_pool.h"
#include "tuner/trials/recording.h"

namespace fcsa::cli {
namespace {

using runner::CompilePool;
using tuner::Emission;

CompilePool make_pool(const kernels::Target& target) {
  return CompilePool({.executable = executable_path(),
                      .kind = target.kind == kernels::DeviceKind::cuda ? "nvrtc" : "system",
                      .cache_directory = runner::default_cache_directory()});
}

// How many of the chosen configurations there are, and how many have other sources now.
struct Comparison {
  std::size_t kernels = 0, changed = 0;
};

Comparison compare(const Emission& emission, const runner::CompilerDescription& compiler) {
  Comparison comparison;
  for (const auto& c : emission.table.classes) {
    const kernels::Problem& problem = c.entries.front().problem;
    for (const auto& text : c.configurations) {
      const auto candidate = tuner::candidate_of(problem, text);
      const auto& measured = emission.provenance.source_hashes.at({c.class_text, text});
      ++comparison.kernels;
      comparison.changed +=
          measured != runner::source_hash(candidate.family->source(problem, candidate.configuration),
                                          emission.table.device.target, compiler);
    }
  }
  return comparison;
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (!file || bytes.empty()) throw std::runtime_error(fmt::format("can't read '{}'", path));
  return bytes;
}

}  // namespace

std::optional<std::string> compare_sources(const Emission& emission) {
  try {
    auto pool = make_pool(emission.table.device.target);
    auto compiler = pool.describe(emission.table.device.target);
    compiler.version = emission.table.device.compiler;  // another one changes no source
    const Comparison comparison = compare(emission, compiler);
    if (comparison.changed == 0) return "unchanged since they were measured";
    return fmt::format("changed since {} of {} kernels were measured: tune again", comparison.changed,
                       comparison.kernels);
  } catch (const std::runtime_error&) {  // no compiler, or nowhere to keep what it makes
    return std::nullopt;
  }
}

void compile_variants(Emission& emission) {
  const kernels::Target& target = emission.table.device.target;
  auto pool = make_pool(target);
  const auto compiler = pool.describe(target);
  say("compiling {} kernels for {} with {}\n", emission.plan.variants.size(), target.arch, compiler.version);
  std::vector<runner::CompileRequest> requests;
  for (const auto& variant : emission.plan.variants) {
    requests.push_back({variant.family->source(variant.problem, variant.configuration), target, {}});
    requests.back().key = runner::source_hash(requests.back().source, target, compiler);
    pool.submit(requests.back());
  }
  emission.compiled.clear();
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const runner::Compilation result = pool.wait(requests[i]);
    if (result.status != tuner::Status::ok) {
      const auto& variant = emission.plan.variants[i];
      throw std::runtime_error(
          fmt::format("{} of {} doesn't compile for {}: {}",
                      kernels::to_text(*variant.family, variant.problem.op, variant.configuration),
                      kernels::class_text(variant.problem), target.arch, result.message));
    }
    emission.compiled.push_back(
        {contents(result.cached.binary.path), result.cached.binary.symbols, result.cached.resources});
  }
  emission.compiler = compiler.version;
}

}  // namespace fcsa::cli
