// Emitted headers with binaries inside: compiled by NVRTC here, then by a C++ compiler as a user does.
// Nothing here needs a GPU.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "runner/device/compiler.h"
#include "tests/tuner/emit/compile_run.h"
#include "tests/tuner/emit/sample_tables.h"

namespace fcsa::tuner {
namespace {

constexpr const char* kSources = FCSA_TEST_SOURCES "/tests/tuner/emit/emitted";

Emission compiled(const DispatchTable& table) {
  Emission emission = emission_of(table, Serve::tuned);
  const auto compiler = runner::make_nvrtc_compiler();
  emission.compiler = compiler->version();
  for (const auto& v : emission.plan.variants) {
    const auto result = compiler->compile(v.family->source(v.problem, v.configuration), table.device.target);
    EXPECT_TRUE(result.ok) << result.log;
    emission.compiled.push_back({result.binary, result.symbols, result.resources});
  }
  return emission;
}

class EmittedCubinHeader : public testing::Test {
 protected:
  // Compiled once for all tests.
  static void SetUpTestSuite() {
    directory_ = new ScratchDirectory;
    for (const auto& table : {simt_table("sm_80"), wgmma_training_table()})
      emit(compiled(table), Format::header, directory_->path());
  }
  static void TearDownTestSuite() { delete directory_; }

  static CommandResult in_directory(const std::string& command) {
    return run_command(fmt::format("cd '{}' && {}", directory_->path().string(), command));
  }

  // Two translation units that share a header, linked with a driver whose GPU isn't there.
  static void expect_program_passes(const std::string& compiler) {
    const auto built = in_directory(
        fmt::format("{0} -std=c++20 -O1 -Wall -Wextra -Werror -I . -isystem '{1}' '{2}/cubin_program.cpp' "
                    "'{2}/cubin_second_unit.cpp' '{2}/fake_driver.cpp' -o program",
                    compiler, FCSA_TEST_CUDA_INCLUDE, kSources));
    ASSERT_EQ(built.status, 0) << built.output;
    const auto ran = in_directory("./program");
    EXPECT_EQ(ran.status, 0) << ran.output;
  }

  static ScratchDirectory* directory_;
};

ScratchDirectory* EmittedCubinHeader::directory_ = nullptr;

TEST_F(EmittedCubinHeader, LaunchesItsKernelsInAProgramThatGccCompiles) {
  expect_program_passes(FCSA_TEST_GXX);
}

TEST_F(EmittedCubinHeader, LaunchesItsKernelsInAProgramThatClangCompiles) {
  if (std::string(FCSA_TEST_CLANGXX).empty()) GTEST_SKIP() << "clang++ is not installed";
  expect_program_passes(FCSA_TEST_CLANGXX);
}

// A header that compiles, with nothing in its binaries.
Emission with_empty_binaries(const DispatchTable& table) {
  Emission emission = emission_of(table);
  emission.compiler = "NVRTC 0.0";
  emission.compiled.resize(emission.plan.variants.size(), {"12345678", {"forward", "key_factors"}, {}});
  return emission;
}

TEST(EmittedCubinHeaderText, CompilesWithTheExampleAndWithNvcc) {
  const ScratchDirectory directory;
  emit(with_empty_binaries(wgmma_table()), Format::header, directory.path());
  const auto built =
      run_command(fmt::format("cd '{}' && {} -std=c++20 -Xcompiler -Wall,-Wextra -Werror all-warnings -I . "
                              "-DFCSA_HEADER='\"fcsa_tuned_sm_90.h\"' -DFCSA_NAMESPACE=fcsa_tuned::sm_90 "
                              "-c '" FCSA_TEST_SOURCES "/examples/cuda_attention.cu' -o example.o",
                              directory.path().string(), FCSA_TEST_NVCC));
  EXPECT_EQ(built.status, 0) << built.output;
}

TEST(EmittedCubinHeaderText, RefusesTheHeaderWithTheSourcesInTheSameFile) {
  const ScratchDirectory directory;
  emit(with_empty_binaries(wgmma_table()), Format::header, directory.path());
  emit(emission_of(wgmma_table()), Format::header, directory.path());
  const auto built =
      run_command(fmt::format("cd '{}' && printf '#include \"fcsa_tuned_sm_90.cuh\"\\n#include "
                              "\"fcsa_tuned_sm_90.h\"\\n' > both.cu && "
                              "{} -std=c++20 -arch=sm_80 -c both.cu -o both.o",
                              directory.path().string(), FCSA_TEST_NVCC));
  EXPECT_NE(built.status, 0);
  EXPECT_NE(built.output.find("include either"), std::string::npos) << built.output;
}

}  // namespace
}  // namespace fcsa::tuner
