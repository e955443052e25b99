#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "kernels/cpu/instruction_set.h"
#include "runner/device/compiler.h"
#include "runner/device/host_failure.h"
#include "runner/process/dynamic_library.h"
#include "runner/process/temporary_directory.h"
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

// A compiler that says its version, and otherwise does what the script says.
std::string fake_compiler(const std::filesystem::path& path, const std::string& body) {
  const auto script =
      write_file(path, "#!/bin/sh\ncase \"$1\" in -*version) echo fake 1.0; exit 0;; esac\n" + body + "\n");
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  return script;
}

// What compiling an empty source throws; "compiled" or "refused" when it doesn't.
std::string host_failure_of_compiling() {
  try {
    return make_system_compiler()->compile(cpu_source(""), host_target()).ok ? "compiled" : "refused";
  } catch (const HostFailure& error) {
    return error.what();
  }
}

TEST(SystemCompiler, OneThatHangsIsNamedSoonWithWhatToDo) {
  const TemporaryDirectory folder;
  const ScopedEnvironment deadline("FCSA_COMPILER_DEADLINE", "0.3");
  const auto silent = write_file(folder.path() / "silent-c++", "#!/bin/sh\nsleep 100\n");
  std::filesystem::permissions(silent, std::filesystem::perms::owner_all);
  std::string message;
  {
    const ScopedEnvironment environment("FCSA_CXX", silent);
    message = message_of_making_a_compiler();
  }
  EXPECT_NE(message.find("silent-c++ --version has not answered in 0.3 s"), std::string::npos) << message;
  EXPECT_NE(message.find("set FCSA_CXX"), std::string::npos) << message;
  EXPECT_NE(message.find("FCSA_COMPILER_DEADLINE"), std::string::npos) << message;

  const ScopedEnvironment environment("FCSA_CXX", fake_compiler(folder.path() / "c++", "sleep 100"));
  try {
    make_system_compiler()->check(host_target());
    FAIL() << "compiled";
  } catch (const HostFailure& error) {
    message = error.what();
  }
  EXPECT_NE(message.find("c++ has not compiled an empty function in 0.3 s"), std::string::npos) << message;
}

TEST(SystemCompiler, OneThatHangsOverAKernelIsKilledAtItsDeadline) {
  const TemporaryDirectory folder;
  const auto pid = folder.path() / "pid";
  const ScopedEnvironment environment(
      "FCSA_CXX", fake_compiler(folder.path() / "c++", "echo $$ > " + pid.string() + "; exec sleep 100"));
  const auto compiler = make_system_compiler(std::chrono::milliseconds(300));
  std::string message;
  try {
    compiler->compile(cpu_source(""), host_target());
  } catch (const CompilerHangs& error) {
    message = error.what();
  }
  EXPECT_NE(message.find("/c++ has not compiled a kernel in 0.3 s"), std::string::npos) << message;
  EXPECT_NE(message.find("FCSA_COMPILER_DEADLINE"), std::string::npos) << message;
  int started = 0;
  ASSERT_TRUE(std::ifstream(pid) >> started);
  EXPECT_EQ(::kill(started, 0), -1) << "it still runs";
}

TEST(SystemCompiler, ADeadlineThatIsNoTimeIsRefused) {
  for (const char* text : {"soon", "0", "-1", "nan", "5 s", "1e9"}) {
    const ScopedEnvironment deadline("FCSA_COMPILER_DEADLINE", text);
    const std::string message = message_of_making_a_compiler();
    EXPECT_NE(message.find("FCSA_COMPILER_DEADLINE is '" + std::string(text) + "'"), std::string::npos)
        << message;
  }
}

TEST(SystemCompiler, IsAPathWithBlanksAndArguments) {
  const TemporaryDirectory folder;
  const std::string path = fake_compiler(folder.path() / "my tools" / "g++", "exec c++ \"$@\"");
  for (const std::string& text :
       {path, path + " -DX", "'" + path + "' -DX", "\"" + path + "\"", " " + path + " "}) {
    const ScopedEnvironment environment("FCSA_CXX", text);
    EXPECT_EQ(host_failure_of_compiling(), "compiled") << text;
  }
  const ScopedEnvironment chosen("FCSA_CXX", "");
  const ScopedEnvironment usual("CXX", path);
  EXPECT_EQ(make_system_compiler()->version(), "fake 1.0");
}

TEST(SystemCompiler, KeepsTheOrderOfSumsWhateverItsArgumentsAre) {
  const ScopedEnvironment environment("FCSA_CXX", "c++ -Ofast -ffast-math -fassociative-math");
  const auto result = make_system_compiler()->compile(
      cpu_source(
          "#ifdef __FAST_MATH__\n#error fast math\n#endif\nextern \"C\" float kernel(float x) { return (x + "
          "12582912.0f) - 12582912.0f; }"),
      host_target());
  ASSERT_TRUE(result.ok) << result.message;
  const TemporaryDirectory folder;
  const auto file = folder.path() / "kernel.so";
  std::ofstream(file, std::ios::binary) << result.binary;
  const auto library = DynamicLibrary::open(file.string());
  EXPECT_EQ(reinterpret_cast<float (*)(float)>(library.get("kernel"))(1.3f), 1.0f);
}

TEST(SystemCompiler, AFolderIsNoCompiler) {
  const ScopedEnvironment environment("FCSA_CXX", "/usr/bin");
  EXPECT_NE(message_of_making_a_compiler().find("which is not a program"), std::string::npos);
}

TEST(SystemCompiler, WhatTheCompilerMissesIsNoFaultOfTheSource) {
  const TemporaryDirectory folder;
  const auto bin = folder.path() / "bin";
  std::filesystem::create_directory(bin);
  // Finds no assembler in its PATH.
  const auto real = write_file(bin / "g++", "#!/bin/sh\nexec /usr/bin/g++ \"$@\"\n");
  std::filesystem::permissions(real, std::filesystem::perms::owner_all);
  const ScopedEnvironment chosen("FCSA_CXX", bin / "g++");
  const ScopedEnvironment path("PATH", bin.string());
  const std::string message = host_failure_of_compiling();
  EXPECT_NE(message.find("is not complete"), std::string::npos) << message;
  EXPECT_NE(message.find("install"), std::string::npos) << message;
}

TEST(SystemCompiler, FailuresOfTheMachineAreToldFromThoseOfTheSource) {
  const TemporaryDirectory folder;
  const std::pair<std::string, std::string> causes[] = {
      {"c++: fatal error: cannot execute 'as': execvp: No such file or directory", "is not complete"},
      {"collect2: fatal error: cannot find 'ld'", "is not complete"},
      {"clang: error: unable to execute command: Executable \"ld\" doesn't exist!", "is not complete"},
      {"kernel.cpp:1:10: fatal error: vector: No such file or directory", "is not complete"},
      {"kernel.cpp:1:10: fatal error: 'vector' file not found", "is not complete"},
      {"g++: fatal error: x.s: Input/output error", "can't do its work here"},
      {"g++: fatal error: error writing to x.s: Disk quota exceeded", "no space left"},
      {"g++: fatal error: cannot fork: Resource temporarily unavailable", "could not start a process"}};
  for (const auto& [said, expected] : causes) {
    const ScopedEnvironment environment(
        "FCSA_CXX", fake_compiler(folder.path() / "c++", "echo \"" + said + "\"; exit 1"));
    const std::string message = host_failure_of_compiling();
    EXPECT_NE(message.find(expected), std::string::npos) << said << ": " << message;
  }
  for (const char* said :
       {"kernel.cpp:3:1: error: no", "kernel.cpp:3:1: internal compiler error: in f", "", "Oops.",
        "g++: internal compiler error: Segmentation fault signal terminated program cc1plus"}) {
    const ScopedEnvironment environment(
        "FCSA_CXX", fake_compiler(folder.path() / "c++", std::string("echo '") + said + "'; exit 1"));
    EXPECT_EQ(host_failure_of_compiling(), "refused") << said;
  }
}

TEST(SystemCompiler, RunningOutOfMemoryIsKeptApartFromBadSource) {
  const TemporaryDirectory folder;
  for (const char* body : {"kill -9 $$", "echo 'cc1plus: out of memory allocating 65536 bytes'; exit 1",
                           "echo 'virtual memory exhausted: Cannot allocate memory'; exit 1"}) {
    const ScopedEnvironment environment("FCSA_CXX", fake_compiler(folder.path() / "c++", body));
    const auto result = make_system_compiler()->compile(cpu_source(""), host_target());
    EXPECT_FALSE(result.ok);
    EXPECT_TRUE(result.out_of_memory) << body;
  }
}

TEST(SystemCompiler, TriesAgainWhatMayPass) {
  const TemporaryDirectory folder;
  const std::string once = (folder.path() / "once").string();
  const ScopedEnvironment environment(
      "FCSA_CXX",
      fake_compiler(folder.path() / "c++", "[ -e " + once + " ] && exec c++ \"$@\"; touch " + once +
                                               "; echo 'cannot fork: Resource temporarily "
                                               "unavailable'; exit 1"));
  EXPECT_EQ(host_failure_of_compiling(), "compiled");
}

TEST(SystemCompiler, IsCheckedByCompilingSomething) {
  const TemporaryDirectory folder;
  EXPECT_NO_THROW(make_system_compiler()->check(host_target()));
  const ScopedEnvironment environment(
      "FCSA_CXX", fake_compiler(folder.path() / "c++", "echo \"cannot execute 'as'\"; exit 1"));
  EXPECT_THROW(make_system_compiler()->check(host_target()), HostFailure);
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
