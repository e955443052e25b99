// Emitted CUDA headers, compiled by nvcc; nothing here needs a GPU.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/tuner/emit/compile_run.h"
#include "tests/tuner/emit/sample_tables.h"

namespace fcsa::tuner {
namespace {

constexpr const char* kSources = FCSA_TEST_SOURCES "/tests/tuner/emit/emitted";
constexpr const char* kFor80 = "-gencode arch=compute_80,code=sm_80";
constexpr const char* kFor90 = "-gencode arch=compute_90a,code=sm_90a";

void emit_headers(const ScratchDirectory& directory, const std::vector<DispatchTable>& tables) {
  for (const auto& table : tables) emit(emission_of(table), Format::header, directory.path());
}

CommandResult nvcc(const ScratchDirectory& directory, const std::string& arguments) {
  return run_command(fmt::format(
      "cd '{}' && {} -std=c++20 -Xcompiler -Wall,-Wextra -Werror all-warnings -DFCSA_TUNED_ONLY -I . {}",
      directory.path().string(), FCSA_TEST_NVCC, arguments));
}

// Two translation units that share a header, linked with a runtime whose GPU isn't there.
void expect_program_passes(const ScratchDirectory& directory, const std::string& program,
                           const std::string& architectures) {
  const auto built = nvcc(directory, fmt::format("{0} -cudart none '{1}/{2}' '{1}/cuda_second_unit.cu' "
                                                 "'{1}/fake_runtime.cpp' -Xcompiler -pthread -o program",
                                                 architectures, kSources, program));
  ASSERT_EQ(built.status, 0) << built.output;
  EXPECT_EQ(built.output.find("(C75"), std::string::npos) << "products wait for each other: " << built.output;
  const auto ran = run_command(fmt::format("'{}/program'", directory.path().string()));
  EXPECT_EQ(ran.status, 0) << ran.output;
}

TEST(EmittedCudaHeader, SharesATranslationUnitWithAnotherArchitectureThatIsNotCompiled) {
  const ScratchDirectory directory;
  emit_headers(directory, {simt_training_table("sm_80"), simt_table("sm_90a")});
  expect_program_passes(directory, "cuda_program.cu", kFor80);
}

TEST(EmittedCudaHeader, LaunchesItsOwnKernelsInAProgramForTwoGpusAndACpu) {
  const ScratchDirectory directory;
  DispatchTable cpu = cpu_table();
  cpu.classes.resize(1);
  emit_headers(directory, {simt_table("sm_80"), wgmma_training_table(), cpu});
  expect_program_passes(directory, "two_gpus_program.cu", fmt::format("{} {}", kFor80, kFor90));
}

// The intermediate code of the kernels, for a GPU.
std::string ptx(const ScratchDirectory& directory, const std::string& architecture) {
  const auto built =
      nvcc(directory, fmt::format("-ptx -arch={} '{}/cuda_second_unit.cu' -o unit.ptx && cat unit.ptx",
                                  architecture, kSources));
  EXPECT_EQ(built.status, 0) << built.output;
  return built.output;
}

TEST(EmittedCudaHeader, HasNoCodeForAnotherArchitecture) {
  const ScratchDirectory directory;
  emit_headers(directory, {simt_table("sm_90a")});
  EXPECT_NE(ptx(directory, "compute_90").find("fma.rn.f32"), std::string::npos);
  EXPECT_EQ(ptx(directory, "compute_80").find("fma.rn.f32"), std::string::npos);
}

TEST(EmittedCudaHeader, CompilesWithTheExampleAsItsOpeningCommentSays) {
  const ScratchDirectory directory;
  const Emission emission = emission_of(simt_table("sm_90a"));
  const std::string flags = fmt::format("-std=c++20 -O2 {}", kFor90);
  EXPECT_NE(emitted_text(emission, Format::header).find("nvcc " + flags), std::string::npos);
  emit(emission, Format::header, directory.path());
  const auto built = run_command(fmt::format("{0} {1} -Werror all-warnings -I '{2}' '" FCSA_TEST_SOURCES
                                             "/examples/cuda_attention.cu' -o '{2}/example'",
                                             FCSA_TEST_NVCC, flags, directory.path().string()));
  EXPECT_EQ(built.status, 0) << built.output;
}

}  // namespace
}  // namespace fcsa::tuner
