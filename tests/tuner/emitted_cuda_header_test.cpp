// Emitted CUDA headers, compiled by nvcc; nothing here needs a GPU.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/tuner/compile_run.h"
#include "tests/tuner/sample_tables.h"
#include "tuner/emit.h"

namespace fcsa::tuner {
namespace {

TEST(EmittedCudaHeader, SharesATranslationUnitWithAnotherArchitecture) {
  const ScratchDirectory directory;
  const std::string dir = directory.path().string(), sources = FCSA_TEST_SOURCES "/tests/tuner/emitted";
  emit_header(simt_table("sm_90a"), directory.path());
  emit_header(simt_table("sm_80"), directory.path());
  const auto built = run_command(fmt::format(
      "{0} -std=c++20 -arch=sm_80 -Xcompiler -Wall,-Wextra -Werror all-warnings -DFCSA_TUNED_ONLY -I '{1}' "
      "'{2}/cuda_program.cu' '{2}/cuda_second_unit.cu' -o '{1}/program'",
      FCSA_TEST_NVCC, dir, sources));
  ASSERT_EQ(built.status, 0) << built.output;
  const auto ran = run_command(fmt::format("'{}/program'", dir));
  EXPECT_EQ(ran.status, 0) << ran.output;
}

TEST(EmittedCudaHeader, HasKernelsThatTakeTensorMapsInTwoTranslationUnits) {
  const ScratchDirectory directory;
  const std::string dir = directory.path().string(), sources = FCSA_TEST_SOURCES "/tests/tuner/emitted";
  emit_header(wgmma_table(), directory.path());
  const auto built = run_command(fmt::format(
      "{0} -std=c++20 -gencode arch=compute_90a,code=sm_90a -Xcompiler -Wall,-Wextra -Werror all-warnings "
      "-DFCSA_TUNED_ONLY -I '{1}' '{2}/wgmma_program.cu' '{2}/cuda_second_unit.cu' -o '{1}/program'",
      FCSA_TEST_NVCC, dir, sources));
  ASSERT_EQ(built.status, 0) << built.output;
  EXPECT_EQ(built.output.find("(C75"), std::string::npos) << "products wait for each other: " << built.output;
  const auto ran = run_command(fmt::format("'{}/program'", dir));
  EXPECT_EQ(ran.status, 0) << ran.output;
}

TEST(EmittedCudaHeader, WithWgmmaMayBeCompiledForAnEarlierArchitectureToo) {
  const ScratchDirectory directory;
  emit_header(wgmma_table(), directory.path());
  const auto built = run_command(
      fmt::format("{0} -std=c++20 -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a "
                  "-Werror all-warnings -DFCSA_TUNED_ONLY -I '{1}' -c '" FCSA_TEST_SOURCES
                  "/tests/tuner/emitted/cuda_second_unit.cu' -o '{1}/unit.o'",
                  FCSA_TEST_NVCC, directory.path().string()));
  EXPECT_EQ(built.status, 0) << built.output;
}

TEST(EmittedCudaHeader, CompilesWithTheExampleAsItsOpeningCommentSays) {
  const ScratchDirectory directory;
  const std::string text = header_text(simt_table("sm_90a"));
  const std::string flags = "-std=c++20 -O2 -gencode arch=compute_90a,code=sm_90a";
  EXPECT_NE(text.find("nvcc " + flags), std::string::npos);
  emit_header(simt_table("sm_90a"), directory.path());
  const auto built = run_command(fmt::format("{0} {1} -Werror all-warnings -I '{2}' '" FCSA_TEST_SOURCES
                                             "/examples/cuda_attention.cu' -o '{2}/example'",
                                             FCSA_TEST_NVCC, flags, directory.path().string()));
  EXPECT_EQ(built.status, 0) << built.output;
}

}  // namespace
}  // namespace fcsa::tuner
