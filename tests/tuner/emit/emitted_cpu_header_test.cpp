// Emitted CPU headers, compiled as a user compiles them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/tuner/emit/compile_run.h"
#include "tests/tuner/emit/sample_tables.h"
#include "tuner/emit/emit.h"

namespace fcsa::tuner {
namespace {

// Compiles sources with every warning an error, links them and runs the program.
void expect_program_passes(const DispatchTable& table, const std::string& compiler,
                           const std::string& program) {
  const ScratchDirectory directory;
  const std::string dir = directory.path().string(), sources = FCSA_TEST_SOURCES "/tests/tuner/emit/emitted";
  emit(emission_of(table), Format::header, directory.path());
  const auto built = run_command(fmt::format(
      "cd '{2}' && {0} -std=c++20 -O2 -Wall -Wextra -Werror -pthread -I '{1}' {3} -o '{1}/program'", compiler,
      dir, sources, program));
  ASSERT_EQ(built.status, 0) << built.output;
  const auto ran = run_command(fmt::format("'{}/program'", dir));
  EXPECT_EQ(ran.status, 0) << ran.output;
}

// The first class of the table alone, so that it compiles in no time.
DispatchTable small_table() {
  DispatchTable table = cpu_table();
  table.classes.resize(1);
  return table;
}

// Each compiles and runs the program with other options.
void expect_right_with(const std::string& compiler, const std::vector<std::string>& options) {
  const ScratchDirectory directory;
  const std::string dir = directory.path().string();
  emit(emission_of(small_table(), Serve::tuned), Format::header, directory.path());
  for (const std::string& flags : options) {
    const auto built = run_command(
        fmt::format("{0} -std=c++20 {1} -Wall -Wextra -Werror -pthread -I '{2}' '" FCSA_TEST_SOURCES
                    "/tests/tuner/emit/emitted/cpu_math_program.cpp' -o '{2}/program'",
                    compiler, flags, dir));
    ASSERT_EQ(built.status, 0) << flags << "\n" << built.output;
    const auto ran = run_command(fmt::format("'{}/program'", dir));
    EXPECT_EQ(ran.status, 0) << flags << "\n" << ran.output;
  }
}

TEST(EmittedCpuHeader, IsRightWhateverIsAllowedToTheArithmeticOfTheProgram) {
  expect_right_with(FCSA_TEST_GXX,
                    {"-O2 -ffast-math", "-O1 -fassociative-math -fno-signed-zeros -fno-trapping-math",
                     "-Ofast -fno-exceptions -fno-rtti"});
}

TEST(EmittedCpuHeader, IsRightWithoutOptimisation) {
  expect_right_with(FCSA_TEST_GXX, {"-O0"});
}

TEST(EmittedCpuHeader, IsRightWithFastMathOfClang) {
  if (std::string(FCSA_TEST_CLANGXX).empty()) GTEST_SKIP() << "clang++ is not installed";
  expect_right_with(FCSA_TEST_CLANGXX, {"-O2 -ffast-math -fno-exceptions", "-O0"});
}

constexpr const char* kTwoUnits = "-DFCSA_TUNED_ONLY cpu_program.cpp cpu_second_unit.cpp";

TEST(EmittedCpuHeader, WorksInTwoTranslationUnitsCompiledByGcc) {
  expect_program_passes(cpu_table(), FCSA_TEST_GXX, kTwoUnits);
}

TEST(EmittedCpuHeader, WorksInTwoTranslationUnitsCompiledByClang) {
  if (std::string(FCSA_TEST_CLANGXX).empty()) GTEST_SKIP() << "clang++ is not installed";
  expect_program_passes(cpu_table(), FCSA_TEST_CLANGXX, kTwoUnits);
}

TEST(EmittedCpuHeader, HasTheBackwardPassesThatWereTunedAndThoseNextToThem) {
  expect_program_passes(cpu_training_table(), FCSA_TEST_GXX, "cpu_backward_program.cpp");
}

TEST(EmittedCpuHeader, HasBackwardPassesCompiledByClang) {
  if (std::string(FCSA_TEST_CLANGXX).empty()) GTEST_SKIP() << "clang++ is not installed";
  expect_program_passes(cpu_training_table(), FCSA_TEST_CLANGXX,
                        "-DFCSA_TUNED_ONLY cpu_backward_program.cpp");
}

// The first line that begins like this.
std::string line_of(const std::string& output, const std::string& beginning) {
  const auto start = output.find(beginning);
  return start == std::string::npos ? "" : output.substr(start, output.find('\n', start) - start);
}

// What the example prints, of a header.
std::string output_of_example(const Emission& emission, const std::string& lengths) {
  const ScratchDirectory directory;
  const std::string dir = directory.path().string();
  emit(emission, Format::header, directory.path());
  const auto built =
      run_command(fmt::format("{0} -std=c++20 -O2 -Wall -Wextra -Werror -pthread -I '{1}' '" FCSA_TEST_SOURCES
                              "/examples/cpu_attention.cpp' -o '{1}/example'",
                              FCSA_TEST_GXX, dir));
  EXPECT_EQ(built.status, 0) << built.output;
  const auto ran = run_command(fmt::format("'{}/example' {}", dir, lengths));
  EXPECT_EQ(ran.status, 0) << ran.output;
  return ran.output;
}

TEST(EmittedCpuHeader, ExampleIsRightAtLengthsThatWereNotTuned) {
  const DispatchTable table = cpu_table();
  const std::string output = output_of_example(emission_of(table), "1 77 1501");
  for (const char* part : {"f32  d64", "bf16 d32", "f16  d32", "h4/2", "h6/2", "causal", "masked", "bnhd",
                           "bias head_scale", "raw"})
    EXPECT_NE(output.find(part), std::string::npos) << part << " wasn't run:\n" << output;
  const auto& configurations = table.classes.front().configurations;
  EXPECT_TRUE(line_of(output, "f32  d64  h4/4    77 x 77  ").ends_with(configurations[0])) << output;
  EXPECT_TRUE(line_of(output, "f32  d64  h4/4  1501 x 1501").ends_with(configurations[1])) << output;
}

TEST(EmittedCpuHeader, ExampleRunsTheBackwardPassWhereTheHeaderHasOne) {
  const std::string output = output_of_example(emission_of(cpu_training_table(), Serve::tuned), "1 77 501");
  for (const char* part :
       {"77 x 77    backward  ", "501 x 501   backward  ", "bf16 d32", "backward bias head_scale"})
    EXPECT_NE(output.find(part), std::string::npos) << part << " wasn't run:\n" << output;
}

}  // namespace
}  // namespace fcsa::tuner
