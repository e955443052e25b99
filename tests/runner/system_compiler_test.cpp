#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "kernels/cpu/instruction_set.h"
#include "runner/compiler.h"
#include "runner/temporary_directory.h"
#include "tests/runner/scoped_environment.h"
#include "tests/runner/write_file.h"

namespace fcsa::runner {
namespace {

using fcsa::testing::ScopedEnvironment;
using fcsa::testing::write_file;

kernels::Target host_target() {
  kernels::Target target;
  target.arch = kernels::cpu::host_instruction_set();
  return target;
}

kernels::KernelSource cpu_source(std::string text) {
  return {kernels::DeviceKind::cpu, std::move(text), {"kernel"}};
}

std::string message_of_making_a_compiler() {
  try {
    make_system_compiler();
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

TEST(SystemCompiler, MakesASharedObjectAndKeepsNoFile) {
  const TemporaryDirectory temporary;
  const ScopedEnvironment environment("TMPDIR", temporary.path());
  const auto compiler = make_system_compiler();
  const auto result = compiler->compile(cpu_source("extern \"C\" void kernel() {}"), host_target());
  EXPECT_TRUE(result.ok) << result.log;
  EXPECT_EQ(result.message, "");
  EXPECT_EQ(result.binary.substr(1, 3), "ELF");
  EXPECT_EQ(result.symbols, std::vector<std::string>{"kernel"});
  EXPECT_TRUE(std::filesystem::is_empty(temporary.path()));
}

TEST(SystemCompiler, EqualSourcesGiveEqualBytes) {
  const auto compiler = make_system_compiler();
  const auto source = cpu_source("extern \"C\" int kernel(int x) { return x + 1; }");
  EXPECT_EQ(compiler->compile(source, host_target()).binary, compiler->compile(source, host_target()).binary);
}

TEST(SystemCompiler, ReportsTheFirstErrorLineOfBadSource) {
  const auto result = make_system_compiler()->compile(
      cpu_source("int fine;\nint f() { return nonsense; }\nint g( {}"), host_target());
  EXPECT_FALSE(result.ok);
  EXPECT_NE(result.message.find("kernel.cpp:2"), std::string::npos) << result.message;
  EXPECT_NE(result.message.find("nonsense"), std::string::npos) << result.message;
  EXPECT_EQ(result.message.find('\n'), std::string::npos);
  EXPECT_GT(result.log.size(), result.message.size());
  EXPECT_TRUE(result.binary.empty());
}

TEST(SystemCompiler, OptionsFollowTheInstructionSet) {
  kernels::Target target;
  target.arch = "avx2";
  const auto options = compile_options(target);
  EXPECT_NE(std::ranges::find(options, "-mavx2"), options.end());
  EXPECT_NE(std::ranges::find(options, "-std=c++20"), options.end());
  target.arch = "generic";
  EXPECT_NE(compile_options(target), options);
}

TEST(SystemCompiler, VersionIsTheCompilersFirstLine) {
  const std::string version = make_system_compiler()->version();
  EXPECT_NE(version.find_first_of("0123456789"), std::string::npos) << version;
  EXPECT_EQ(version.find('\n'), std::string::npos);
}

TEST(SystemCompiler, MissingIsAnErrorThatSaysWhatToInstall) {
  const ScopedEnvironment environment("FCSA_CXX", "/nonexistent");
  const std::string message = message_of_making_a_compiler();
  EXPECT_NE(message.find("/nonexistent"), std::string::npos) << message;
  EXPECT_NE(message.find("install g++"), std::string::npos) << message;
}

TEST(SystemCompiler, NotFoundInPathIsAnErrorThatSaysWhereItLooked) {
  const ScopedEnvironment chosen("FCSA_CXX", "");
  const ScopedEnvironment usual("CXX", "");
  const ScopedEnvironment path("PATH", "/nonexistent");
  const std::string message = message_of_making_a_compiler();
  EXPECT_NE(message.find("clang++"), std::string::npos) << message;
  EXPECT_NE(message.find("PATH"), std::string::npos) << message;
}

TEST(SystemCompiler, AProgramThatIsNoCompilerIsRefused) {
  const ScopedEnvironment environment("FCSA_CXX", "/bin/false");
  EXPECT_NE(message_of_making_a_compiler().find("/bin/false"), std::string::npos);
}

TEST(SystemCompiler, AnUnusableTemporaryFolderIsNamed) {
  const auto compiler = make_system_compiler();
  const ScopedEnvironment environment("TMPDIR", "/nonexistent/folder");
  try {
    compiler->compile(cpu_source(""), host_target());
    FAIL() << "compiled in a folder that does not exist";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("/nonexistent/folder"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("TMPDIR"), std::string::npos) << error.what();
  }
}

TEST(SystemCompiler, AFullDiskIsNamedAsTheCause) {
  const TemporaryDirectory folder;
  const auto script =
      write_file(folder.path() / "fake-compiler",
                 "#!/bin/sh\n"
                 "case \"$1\" in -*version) echo fake 1.0; exit 0;; esac\n"
                 "echo 'fatal error: error writing to x.s: No space left on device'; exit 1\n");
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  const ScopedEnvironment environment("FCSA_CXX", script);
  try {
    make_system_compiler()->compile(cpu_source(""), host_target());
    FAIL() << "counted against the source";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("no space left"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("TMPDIR"), std::string::npos) << error.what();
  }
}

TEST(SystemCompiler, ACompilerThatTheKernelKilledIsRunOnceMore) {
  const TemporaryDirectory folder;
  const std::string second = (folder.path() / "second").string();
  const auto script = write_file(
      folder.path() / "fake-compiler",
      "#!/bin/sh\n"
      "case \"$1\" in -*version) echo fake 1.0; exit 0;; esac\n"
      "[ -e " +
          second +
          " ] && exec c++ \"$@\"\n"
          "touch " +
          second + "\necho 'c++: fatal error: Killed signal terminated program cc1plus'; exit 1\n");
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  const ScopedEnvironment environment("FCSA_CXX", script);
  const auto result =
      make_system_compiler()->compile(cpu_source("extern \"C\" void f() {}\n"), host_target());
  EXPECT_TRUE(result.ok) << result.message;
}

TEST(FirstErrorLine, IsTheErrorElseTheFirstLineElseEmpty) {
  EXPECT_EQ(first_error_line("a.cpp: note\na.cpp:3: error: bad\nerror: later"), "a.cpp:3: error: bad");
  EXPECT_EQ(first_error_line("\nkilled\nmore"), "killed");
  EXPECT_EQ(first_error_line(""), "");
}

}  // namespace
}  // namespace fcsa::runner
