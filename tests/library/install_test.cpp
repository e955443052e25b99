// libfcsa as somebody has it who installed it: built against and run outside of this tree.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "runner/process/temporary_directory.h"
#include "tests/library/tuned_database.h"
#include "tests/runner/scoped_environment.h"
#include "tests/runner/write_file.h"
#include "tests/tuner/emit/compile_run.h"

namespace fcsa::library {
namespace {

namespace fs = std::filesystem;
using tuner::run_command;

// Installed once for all tests here.
class InstalledLibraryTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<runner::TemporaryDirectory>();
    const auto installed = run_command(fmt::format("'{}' --install '{}' --prefix '{}' --component library",
                                                   FCSA_TEST_CMAKE, FCSA_TEST_BUILD, prefix().string()));
    ASSERT_EQ(installed.status, 0) << installed.output;
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static fs::path folder() { return folder_->path(); }
  static fs::path prefix() { return folder() / "prefix"; }
  static fs::path library_folder() { return prefix() / FCSA_TEST_LIBDIR; }

  // Copied away from this tree, so that nothing of it is found by being near.
  static fs::path example(const std::string& name) {
    for (const std::string& file :
         {std::string("check.h"), std::string("check_gradients.h"), std::string("attention_formula.h"), name})
      fs::copy_file(fs::path(FCSA_TEST_SOURCES "/examples") / file, folder() / file,
                    fs::copy_options::skip_existing);
    return folder() / name;
  }

  static std::string output_of_documented_program() {
    std::ifstream file(FCSA_TEST_SOURCES "/docs/library.md");
    std::stringstream page;
    page << file.rdbuf();
    const std::string text = page.str();
    const auto begin = text.find("```c\n") + 5;
    const fs::path program = folder() / "documented.c";
    testing::write_file(program, text.substr(begin, text.find("```", begin) - begin));
    const auto built =
        run_command(fmt::format("'{0}' {1} -Wall -Wextra -Werror '{2}' -I '{3}/include' -L '{4}' -lfcsa "
                                "-Wl,-rpath,'{4}' -o '{5}/documented'",
                                FCSA_TEST_CC, FCSA_TEST_FLAGS, program.string(), prefix().string(),
                                library_folder().string(), folder().string()));
    EXPECT_EQ(built.status, 0) << built.output;
    const auto ran =
        run_command(fmt::format("ASAN_OPTIONS=detect_leaks=0 '{}/documented'", folder().string()));
    EXPECT_EQ(ran.status, 0) << ran.output;
    return ran.output;
  }

  static inline std::unique_ptr<runner::TemporaryDirectory> folder_;
  testing::ScopedEnvironment cache_{"XDG_CACHE_HOME", folder() / "cache"};
  testing::ScopedEnvironment data_{"XDG_DATA_HOME", folder() / "data"};
  testing::ScopedEnvironment compiler_{"FCSA_CXX", "/nowhere/c++"};  // kernels that are built in
};

TEST_F(InstalledLibraryTest, IsFoundByCMakeAndServesExamplesInCAndCpp) {
  example("library_attention.c");
  example("library_attention.cpp");
  fs::copy_file(FCSA_TEST_SOURCES "/tests/library/consumer/CMakeLists.txt", folder() / "CMakeLists.txt");
  const auto configured = run_command(
      fmt::format("'{}' -S '{}' -B '{}/build' -G Ninja -DCMAKE_PREFIX_PATH='{}' -DCMAKE_C_FLAGS='{}' "
                  "-DCMAKE_CXX_FLAGS='{}'",
                  FCSA_TEST_CMAKE, folder().string(), folder().string(), prefix().string(), FCSA_TEST_FLAGS,
                  FCSA_TEST_FLAGS));
  ASSERT_EQ(configured.status, 0) << configured.output;
  const auto built = run_command(fmt::format("'{}' --build '{}/build'", FCSA_TEST_CMAKE, folder().string()));
  ASSERT_EQ(built.status, 0) << built.output;
  for (const char* program : {"c_shared", "c_static", "cpp_shared", "cpp_static"}) {
    const auto ran = run_command(fmt::format("'{}/build/{}' 100", folder().string(), program));
    EXPECT_EQ(ran.status, 0) << program << "\n" << ran.output;
    EXPECT_NE(ran.output.find("error: "), std::string::npos) << program << "\n" << ran.output;
  }
}

TEST_F(InstalledLibraryTest, ServesACompilerAlone) {
  const auto built =
      run_command(fmt::format("'{0}' {1} -std=c99 -pedantic -Wall -Wextra -Werror '{2}' -I '{3}/include' -L "
                              "'{4}' -lfcsa -lm -Wl,-rpath,'{4}' "
                              "-o '{5}/program'",
                              FCSA_TEST_CC, FCSA_TEST_FLAGS, example("library_attention.c").string(),
                              prefix().string(), library_folder().string(), folder().string()));
  ASSERT_EQ(built.status, 0) << built.output;
  const auto ran = run_command(fmt::format("'{}/program' 100", folder().string()));
  EXPECT_EQ(ran.status, 0) << ran.output;
  EXPECT_NE(ran.output.find("error of the gradients: "), std::string::npos) << ran.output;
  const auto compiled = run_command(fmt::format("FCSA_CXX= '{}/program' 100", folder().string()));
  EXPECT_EQ(compiled.status, 0) << compiled.output;
  EXPECT_NE(compiled.output.find("error of the gradients: "), std::string::npos) << compiled.output;
}

TEST_F(InstalledLibraryTest, ServesTheProgramInItsPage) {
  // Rows of v are all alike, and so is every mean of them.
  const std::string output = output_of_documented_program();
  EXPECT_NE(output.find("o[0][0] = 0 ... 63"), std::string::npos) << output;
}

TEST_F(InstalledLibraryTest, TakesTheTunedDataThatIsShippedWithIt) {
  kernels::Problem problem;
  problem.heads = problem.kv_heads = 8;
  problem.nq = problem.nk = 1000;
  problem.causal = true;
  const fs::path shipped = prefix() / "share" / "fcsa" / "tuned.db";
  write_tuned_database(shipped, problem, runner::cpu::describe_cpu("g++"));
  const std::string output = output_of_documented_program();
  EXPECT_NE(output.find("configuration: " + configuration_of_tuned_database(64)), std::string::npos)
      << output;
  EXPECT_NE(output.find(fs::canonical(shipped).string()), std::string::npos) << output;
  fs::remove(shipped);
}

TEST_F(InstalledLibraryTest, ShowsOnlyItsOwnInterface) {
  const auto symbols =
      run_command(fmt::format("nm -D --defined-only '{}/libfcsa.so'", library_folder().string()));
  ASSERT_EQ(symbols.status, 0) << symbols.output;
  std::istringstream lines(symbols.output);
  int own = 0;
  for (std::string address, kind, name; lines >> address >> kind >> name; ++own)
    EXPECT_EQ(name.rfind("fcsa_", 0), 0U) << name;
  EXPECT_EQ(own, 13) << symbols.output;
}

TEST_F(InstalledLibraryTest, HasAPkgConfigFileThatPointsAtIt) {
  std::ifstream file(library_folder() / "pkgconfig" / "fcsa.pc");
  std::string prefix_line;
  ASSERT_TRUE(std::getline(file, prefix_line));
  const std::string here = "prefix=${pcfiledir}/";
  ASSERT_EQ(prefix_line.rfind(here, 0), 0U) << prefix_line;
  const fs::path found = library_folder() / "pkgconfig" / prefix_line.substr(here.size());
  EXPECT_TRUE(fs::equivalent(found, prefix())) << prefix_line;
}

}  // namespace
}  // namespace fcsa::library
