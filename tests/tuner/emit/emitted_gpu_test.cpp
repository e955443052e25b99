// Emitted headers on the GPU of this machine, in both forms: every feature against double precision, captured
// into a graph, and called from several threads.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "runner/device/compiler.h"
#include "runner/device/device.h"
#include "tests/tuner/emit/compile_run.h"
#include "tests/tuner/emit/sample_tables.h"

namespace fcsa::tuner {
namespace {

constexpr const char* kExample = FCSA_TEST_SOURCES "/examples/cuda_attention.cu";
constexpr const char* kGraphs = FCSA_TEST_SOURCES "/tests/tuner/emit/emitted/graph_program.cu";

kernels::DeviceInfo gpu() {
  const auto inventory = runner::take_inventory();
  const kernels::DeviceInfo& first = inventory.devices.front().info;
  if (first.target.kind != kernels::DeviceKind::cuda) throw std::runtime_error("there is no GPU");
  return first;
}

void add_binaries(Emission& emission) {
  const auto compiler = runner::make_nvrtc_compiler();
  emission.compiler = compiler->version();
  for (const auto& v : emission.plan.variants) {
    const auto result =
        compiler->compile(v.family->source(v.problem, v.configuration), emission.table.device.target);
    ASSERT_TRUE(result.ok) << result.log;
    emission.compiled.push_back({result.binary, result.symbols, result.resources});
  }
}

// `compiler` with its options but for the sources. The two programs are compiled at the same time: nvcc takes
// most of a minute for each.
void expect_right(const Emission& emission, const std::string& compiler, const std::string& libraries) {
  const ScratchDirectory directory;
  emit(emission, Format::header, directory.path());
  const auto compile = [&](const char* source, const char* program) {
    return fmt::format(
        "{} -std=c++20 -O2 -I . -I '{}' -DFCSA_HEADER='\"{}\"' -DFCSA_NAMESPACE=fcsa_tuned::sm_{} '{}' {} -o "
        "{}",
        compiler, FCSA_TEST_CUDA_INCLUDE, emitted_name(emission, Format::header),
        emission.table.device.target.compute_capability, source, libraries, program);
  };
  const auto run = [&](const std::string& command) {
    return run_command(fmt::format("cd '{}' && {}", directory.path().string(), command));
  };
  const auto compiled = run(fmt::format("{{ {} & other=$!; {} && wait $other; }}", compile(kGraphs, "graphs"),
                                        compile(kExample, "example")));
  ASSERT_EQ(compiled.status, 0) << compiled.output;
  const auto checked = run("./example 1 77 333 1000 3001");
  EXPECT_EQ(checked.status, 0) << checked.output;
  for (const char* part : {"f32  d64", "bf16 d64", "f16  d128", "h4/2", "h6/2", "causal", "masked bnhd",
                           " bias ", " head_scale ", " groups ", " raw ", " backward causal ",
                           " backward masked ", " backward bias ", " backward raw "})
    EXPECT_NE(checked.output.find(part), std::string::npos) << part << " wasn't run:\n" << checked.output;
  const auto captured = run("./graphs");
  EXPECT_EQ(captured.status, 0) << captured.output;
}

TEST(EmittedHeaderOnGpu, WithSourcesServesEveryFeature) {
  const Emission emission = emission_of(feature_table(gpu()), Serve::tuned);
  const std::string arch = emission.table.device.target.arch.substr(3);
  expect_right(
      emission,
      fmt::format("{0} --split-compile=0 -gencode arch=compute_{1},code=sm_{1}", FCSA_TEST_NVCC, arch), "");
}

TEST(EmittedHeaderOnGpu, WithBinariesServesEveryFeature) {
  Emission emission = emission_of(feature_table(gpu()), Serve::tuned);
  add_binaries(emission);
  expect_right(emission, fmt::format("{} -x c++", FCSA_TEST_GXX),
               "-x none -L /usr/local/cuda/lib64 -lcudart -lcuda -pthread");
}

}  // namespace
}  // namespace fcsa::tuner
