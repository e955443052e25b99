#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#include "runner/cpu/command.h"
#include "runner/cpu/compiler_command.h"
#include "runner/cpu/compiler_failure.h"
#include "runner/device/compiler.h"
#include "runner/device/host_failure.h"
#include "runner/process/temporary_directory.h"

namespace fcsa::runner {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSourceName = "kernel.cpp";
// Between attempts; after the last none.
constexpr std::array<std::chrono::milliseconds, 3> kPauses = {
    std::chrono::milliseconds(100), std::chrono::milliseconds(1000), std::chrono::milliseconds(0)};
constexpr const char* kNoProcess =
    "end other programs, or raise the limits of processes and memory (ulimit -u, ulimit -v, the container's)";

void write_file(const fs::path& path, const std::string& text) {
  errno = 0;
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) {
    throw HostFailure(fmt::format("cannot write {}: {}; set TMPDIR to a folder with room", path.string(),
                                  std::strerror(errno)));
  }
}

std::string compiled_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw HostFailure(fmt::format("the compiler reported no error, but wrote no {}", path.string()));
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return std::move(bytes).str();
}

// Of a compiler that doesn't come back. `what` it hasn't done.
std::string no_answer(const std::string& what, std::chrono::milliseconds deadline) {
  return fmt::format("{} in {:g} s: it hangs (does it wait for a license, a lock or a network?); {}; {}",
                     what, static_cast<double>(deadline.count()) / 1000, cpu::kHowToGetACompiler,
                     kHowToWaitLonger);
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

class SystemCompiler final : public Compiler {
 public:
  SystemCompiler(std::vector<std::string> command, std::chrono::milliseconds deadline)
      : command_(std::move(command)), version_(version_of(command_)), deadline_(deadline) {}

  std::string version() const override { return version_; }

  void check(const kernels::Target& target) override {
    const auto deadline = compiler_deadline();
    const auto result =
        compile_within({kernels::DeviceKind::cpu, "extern \"C\" void nothing() {}\n", {}}, target, deadline);
    if (!result)
      throw HostFailure(no_answer(command_.front() + " has not compiled an empty function", deadline));
    if (!result->ok)
      throw HostFailure(fmt::format("{} can't compile an empty function: {}; {}", command_.front(),
                                    result->message, cpu::kHowToGetACompiler));
  }

  CompileResult compile(const kernels::KernelSource& source, const kernels::Target& target) override {
    auto result = compile_within(source, target, deadline_);
    if (!result) throw CompilerHangs(no_answer(command_.front() + " has not compiled a kernel", deadline_));
    return std::move(*result);
  }

 private:
  // Nothing: not within the deadline. 0: without one.
  std::optional<CompileResult> compile_within(const kernels::KernelSource& source,
                                              const kernels::Target& target,
                                              std::chrono::milliseconds deadline) {
    const TemporaryDirectory directory;
    write_file(directory.path() / kSourceName, source.text);
    cpu::Command command = command_for(directory.path(), target);
    command.deadline = deadline;
    cpu::CommandResult run = run_patiently(command);
    if (run.timed_out) return std::nullopt;
    CompileResult result;
    result.log = run.output;
    if (run.status != 0) {
      const auto blame = cpu::blame_for(run, kSourceName);
      result.out_of_memory = blame == cpu::Blame::passes && cpu::ran_out_of_memory(run);
      if (blame != cpu::Blame::source && !result.out_of_memory)
        throw HostFailure(
            cpu::cause_of_failure(run, command_.front(), directory.path().parent_path().string()));
      result.message = failure_message(run);
      return result;
    }
    result.binary = compiled_file(directory.path() / "kernel.so");
    result.symbols = source.entries;
    result.ok = true;
    return result;
  }

  cpu::Command command_for(const fs::path& directory, const kernels::Target& target) const {
    cpu::Command command{command_, directory, {"TMPDIR=" + directory.string(), "LC_ALL=C"}};
    for (auto& option : compile_options(target)) command.arguments.push_back(std::move(option));
    // Whatever FCSA_CXX says: kernels are wrong when sums are reordered.
    if (command_.size() > 1)
      command.arguments.insert(command.arguments.end(),
                               {"-fno-fast-math", "-fno-associative-math", "-fno-finite-math-only"});
    command.arguments.insert(command.arguments.end(), {"-o", "kernel.so", kSourceName});
    return command;
  }

  // What the source isn't to blame for may be gone a moment later: the kernel took the memory back, or
  // another program ended.
  static cpu::CommandResult run_patiently(const cpu::Command& command) {
    for (const auto pause : kPauses) {
      const bool last = pause == kPauses.back();
      try {
        cpu::CommandResult run = cpu::run_command(command);
        if (last || run.status == 0 || run.timed_out ||
            cpu::blame_for(run, kSourceName) != cpu::Blame::passes)
          return run;
      } catch (const std::system_error& error) {
        if (last || !may_pass_soon(error.code()))
          throw HostFailure(fmt::format("{}; {}", error.what(), kNoProcess));
      }
      std::this_thread::sleep_for(pause);
    }
    throw std::logic_error("not reached");
  }

  static bool may_pass_soon(const std::error_code& error) {
    return error == std::errc::resource_unavailable_try_again || error == std::errc::not_enough_memory;
  }

  static std::string version_of(const std::vector<std::string>& command) {
    const std::chrono::milliseconds deadline = compiler_deadline();
    const auto ask = [&](const char* question) {
      cpu::Command query{command, {}, {"LC_ALL=C"}, deadline};
      query.arguments.emplace_back(question);
      const cpu::CommandResult answer = run_patiently(query);
      if (answer.timed_out)
        throw CompilerHangs(
            no_answer(fmt::format("{} {} has not answered", command.front(), question), deadline));
      return answer.status == 0 ? first_line(answer.output) : std::string();
    };
    std::string version = ask("--version");
    if (version.empty()) {
      throw std::runtime_error(fmt::format("{} --version fails: it is no C++ compiler; {}", command.front(),
                                           cpu::kHowToGetACompiler));
    }
    const std::string full = ask("-dumpfullversion");
    if (version.find(full) == std::string::npos) version += " " + full;
    return version;
  }

  static std::string failure_message(const cpu::CommandResult& run) {
    const std::string line = first_error_line(run.output);
    return line.empty() ? fmt::format("the compiler ended with status {} and no message", run.status) : line;
  }

  std::vector<std::string> command_;
  std::string version_;
  std::chrono::milliseconds deadline_;  // of a kernel
};

}  // namespace

std::unique_ptr<Compiler> make_system_compiler(std::chrono::milliseconds deadline) {
  return std::make_unique<SystemCompiler>(cpu::find_compiler(), deadline);
}

}  // namespace fcsa::runner
