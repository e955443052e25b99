// The examples of libfcsa for a GPU, compiled and linked the way their first lines say; nothing here needs
// one.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "runner/process/temporary_directory.h"
#include "tests/tuner/emit/compile_run.h"

namespace fcsa::library {
namespace {

const std::string kLibrary =
    fmt::format("-I '{}/library' -L '{}' -lfcsa -Xlinker -rpath='{}'", FCSA_TEST_SOURCES,
                FCSA_TEST_LIBRARY_FOLDER, FCSA_TEST_LIBRARY_FOLDER);

TEST(CudaExamples, CompileAndLink) {
  const runner::TemporaryDirectory folder;
  const auto cpp =
      tuner::run_command(fmt::format("'{}' -std=c++17 -O2 -DWITH_CUDA -Xcompiler -Wall,-Wextra,-Werror "
                                     "'{}/examples/library_attention.cpp' {} -o '{}/cpp'",
                                     FCSA_TEST_NVCC, FCSA_TEST_SOURCES, kLibrary, folder.path().string()));
  EXPECT_EQ(cpp.status, 0) << cpp.output;
  const auto c =
      tuner::run_command(fmt::format("'{}' -DWITH_CUDA -Xcompiler -Wall,-Wextra,-Werror "
                                     "'{}/examples/library_attention.c' {} -lm -o '{}/c'",
                                     FCSA_TEST_NVCC, FCSA_TEST_SOURCES, kLibrary, folder.path().string()));
  EXPECT_EQ(c.status, 0) << c.output;
}

}  // namespace
}  // namespace fcsa::library
