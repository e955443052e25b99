// Emitted CPU headers, compiled as a user compiles them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/tuner/compile_run.h"
#include "tests/tuner/sample_tables.h"
#include "tuner/emit.h"

namespace fcsa::tuner {
namespace {

// Compiles two translation units with every warning an error, links them and runs the program.
void expect_program_passes(const std::string& compiler) {
  const ScratchDirectory directory;
  const std::string dir = directory.path().string(), sources = FCSA_TEST_SOURCES "/tests/tuner/emitted";
  emit(emission_of(cpu_table()), Format::header, directory.path());
  const auto built = run_command(fmt::format(
      "{0} -std=c++20 -O2 -Wall -Wextra -Werror -pthread -DFCSA_TUNED_ONLY -I '{1}' '{2}/cpu_program.cpp' "
      "'{2}/cpu_second_unit.cpp' -o '{1}/program'",
      compiler, dir, sources));
  ASSERT_EQ(built.status, 0) << built.output;
  const auto ran = run_command(fmt::format("'{}/program'", dir));
  EXPECT_EQ(ran.status, 0) << ran.output;
}

TEST(EmittedCpuHeader, WorksInTwoTranslationUnitsCompiledByGcc) {
  expect_program_passes(FCSA_TEST_GXX);
}

TEST(EmittedCpuHeader, WorksInTwoTranslationUnitsCompiledByClang) {
  if (std::string(FCSA_TEST_CLANGXX).empty()) GTEST_SKIP() << "clang++ is not installed";
  expect_program_passes(FCSA_TEST_CLANGXX);
}

// The first line that begins like this.
std::string line_of(const std::string& output, const std::string& beginning) {
  const auto start = output.find(beginning);
  return start == std::string::npos ? "" : output.substr(start, output.find('\n', start) - start);
}

TEST(EmittedCpuHeader, ExampleIsRightAtLengthsThatWereNotTuned) {
  const ScratchDirectory directory;
  const std::string dir = directory.path().string();
  const DispatchTable table = cpu_table();
  emit(emission_of(table), Format::header, directory.path());
  const auto built =
      run_command(fmt::format("{0} -std=c++20 -O2 -Wall -Wextra -Werror -pthread -I '{1}' '" FCSA_TEST_SOURCES
                              "/examples/cpu_attention.cpp' -o '{1}/example'",
                              FCSA_TEST_GXX, dir));
  ASSERT_EQ(built.status, 0) << built.output;
  const auto ran = run_command(fmt::format("'{}/example' 1 77 1501", dir));
  EXPECT_EQ(ran.status, 0) << ran.output;
  for (const char* part : {"f32  d64", "bf16 d32", "f16  d32", "h4/2", "h6/2", "causal", "masked", "bnhd",
                           "bias head_scale", "raw"})
    EXPECT_NE(ran.output.find(part), std::string::npos) << part << " wasn't run:\n" << ran.output;
  const auto& configurations = table.classes.front().configurations;
  EXPECT_TRUE(line_of(ran.output, "f32  d64  h4/4    77 x 77  ").ends_with(configurations[0])) << ran.output;
  EXPECT_TRUE(line_of(ran.output, "f32  d64  h4/4  1501 x 1501").ends_with(configurations[1])) << ran.output;
}

}  // namespace
}  // namespace fcsa::tuner
