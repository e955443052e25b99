#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "runner/compiler.h"
#include "runner/cpu/command.h"
#include "runner/temporary_directory.h"

namespace fcsa::runner {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHowToGetIt =
    "install g++ or clang++ (apt install g++), or set FCSA_CXX to a C++20 compiler";

void write_file(const fs::path& path, const std::string& text) {
  errno = 0;
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) {
    throw std::runtime_error(fmt::format("cannot write {}: {}; set TMPDIR to a folder with room",
                                         path.string(), std::strerror(errno)));
  }
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw std::runtime_error(fmt::format("the compiler reported no error, but wrote no {}", path.string()));
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return std::move(bytes).str();
}

std::optional<std::string> absolute_program(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    return access(name.c_str(), X_OK) == 0 ? std::optional(fs::absolute(name).string()) : std::nullopt;
  }
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const fs::path candidate = fs::path(folder.empty() ? "." : folder) / name;
    std::error_code ignored;
    if (access(candidate.c_str(), X_OK) == 0 && fs::is_regular_file(candidate, ignored)) {
      return fs::absolute(candidate).string();
    }
  }
  return std::nullopt;
}

// "ccache g++" -> {"/usr/bin/ccache", "g++"}; empty when the program isn't there.
std::vector<std::string> command_from(const std::string& text) {
  std::istringstream words(text);
  std::vector<std::string> command{std::istream_iterator<std::string>(words), {}};
  if (command.empty()) return {};
  const auto program = absolute_program(command.front());
  if (!program) return {};
  command.front() = *program;
  return command;
}

std::vector<std::string> find_compiler() {
  if (const char* chosen = std::getenv("FCSA_CXX"); chosen != nullptr && *chosen != '\0') {
    auto command = command_from(chosen);
    if (command.empty()) {
      throw std::runtime_error(
          fmt::format("no C++ compiler: FCSA_CXX is '{}', which is not a program: {}", chosen, kHowToGetIt));
    }
    return command;
  }
  const char* usual = std::getenv("CXX");
  for (const std::string name : {usual != nullptr ? usual : "", "c++", "g++", "clang++"}) {
    if (auto command = command_from(name); !command.empty()) return command;
  }
  throw std::runtime_error(fmt::format(
      "no C++ compiler: looked for $FCSA_CXX, $CXX, c++, g++ and clang++ in PATH: {}", kHowToGetIt));
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

class SystemCompiler final : public Compiler {
 public:
  explicit SystemCompiler(std::vector<std::string> command)
      : command_(std::move(command)), version_(version_of(command_)) {}

  std::string version() const override { return version_; }

  CompileResult compile(const kernels::KernelSource& source, const kernels::Target& target) override {
    const TemporaryDirectory directory;
    write_file(directory.path() / "kernel.cpp", source.text);
    cpu::Command command{command_, directory.path(), {"TMPDIR=" + directory.path().string(), "LC_ALL=C"}};
    for (auto& option : compile_options(target)) command.arguments.push_back(std::move(option));
    command.arguments.insert(command.arguments.end(), {"-o", "kernel.so", "kernel.cpp"});
    cpu::CommandResult run = cpu::run_command(command);
    if (was_killed(run)) run = cpu::run_command(command);
    refuse_full_disk(run, directory.path());
    CompileResult result;
    result.log = run.output;
    if (run.status != 0) {
      result.message = failure_message(run);
      return result;
    }
    result.binary = read_file(directory.path() / "kernel.so");
    result.symbols = source.entries;
    result.ok = true;
    return result;
  }

 private:
  static std::string version_of(const std::vector<std::string>& command) {
    const auto ask = [&](const char* question) {
      cpu::Command query{command, {}, {"LC_ALL=C"}};
      query.arguments.emplace_back(question);
      const cpu::CommandResult answer = cpu::run_command(query);
      return answer.status == 0 ? first_line(answer.output) : std::string();
    };
    std::string version = ask("--version");
    if (version.empty()) {
      throw std::runtime_error(
          fmt::format("{} --version fails: it is no C++ compiler; {}", command.front(), kHowToGetIt));
    }
    const std::string full = ask("-dumpfullversion");
    if (version.find(full) == std::string::npos) version += " " + full;
    return version;
  }

  // By the kernel, out of memory: no fault of the source, and what took the memory may be gone. g++ and
  // clang++ say so of the programs that they start.
  static bool was_killed(const cpu::CommandResult& run) {
    return run.status == 128 + SIGKILL ||
           (run.status != 0 && run.output.find("Killed signal terminated program") != std::string::npos);
  }

  // Recorded as a failure of the source, it would stand long after the disk has room again.
  static void refuse_full_disk(const cpu::CommandResult& run, const fs::path& directory) {
    if (run.status == 0) return;
    for (const char* complaint : {"No space left on device", "Disk quota exceeded"}) {
      if (run.output.find(complaint) == std::string::npos) continue;
      throw std::runtime_error(
          fmt::format("no space left in {}: free some, or set TMPDIR to a folder with room",
                      directory.parent_path().string()));
    }
  }

  static std::string failure_message(const cpu::CommandResult& run) {
    const std::string line = first_error_line(run.output);
    return line.empty() ? fmt::format("the compiler ended with status {} and no message", run.status) : line;
  }

  std::vector<std::string> command_;
  std::string version_;
};

}  // namespace

std::unique_ptr<Compiler> make_system_compiler() {
  return std::make_unique<SystemCompiler>(find_compiler());
}

}  // namespace fcsa::runner
