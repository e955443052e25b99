#include "runner/compile/compile_process.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>

#include "runner/compile/binary_cache.h"
#include "runner/device/compiler.h"
#include "runner/device/host_failure.h"
#include "runner/device/json.h"
#include "runner/process/channel.h"
#include "runner/process/child_process.h"

namespace fcsa::runner {
namespace {

using nlohmann::json;

// Takes the compiler that is running along.
extern "C" void end_process_group(int /*signal*/) {
  ::kill(0, SIGKILL);
}

class CompileServer {
 public:
  explicit CompileServer(const std::string& kind) {
    try {
      compiler_ = kind == "nvrtc" ? make_nvrtc_compiler() : make_system_compiler();
    } catch (const std::exception& error) {
      missing_ = error.what();
    }
  }

  json answer(const json& question) {
    try {
      if (!compiler_) return {{"no_compiler", missing_}};
      if (question.contains("describe")) return describe(member<kernels::Target>(question, "describe"));
      return compile(member<json>(question, "compile"));
    } catch (const std::exception& error) {
      return {{"error", error.what()}};
    }
  }

 private:
  json describe(const kernels::Target& target) const {
    try {
      compiler_->check(target);
    } catch (const HostFailure& error) {
      return {{"no_compiler", error.what()}};
    }
    return {{"version", compiler_->version()}, {"options", compile_options(target)}};
  }

  json compile(const json& job) {
    const auto source = member<kernels::KernelSource>(job, "source");
    const auto target = member<kernels::Target>(job, "target");
    const auto start = std::chrono::steady_clock::now();
    const CompileResult result = compiler_->compile(source, target);
    const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
    json reply = {{"compiled", result}, {"compile_ms", elapsed.count()}};
    if (result.ok) {
      const BinaryCache cache(member<std::string>(job, "cache_directory"));
      reply["path"] = cache.store(member<std::string>(job, "key"), source.kind, result).binary.path;
    }
    return reply;
  }

  std::unique_ptr<Compiler> compiler_;
  std::string missing_;
};

}  // namespace

int compile_main(const std::string& kind) {
  if (kind != "nvrtc" && kind != "system") {
    fmt::print(stderr, "unknown compiler '{}': use nvrtc or system\n", kind);
    return 2;
  }
  // A worker that verifies while others compile has the cores to itself: the device waits for it. A CPU's
  // doesn't run at the same time.
  constexpr int kLessUrgent = 10;
  if (kind == "nvrtc") [[maybe_unused]]
    const int niceness = ::nice(kLessUrgent);
  try {
    Channel channel(kChannelFd);
    std::signal(SIGTERM, end_process_group);
    CompileServer server(kind);
    while (const auto question = channel.receive()) channel.send(server.answer(*question));
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "compile process: {}\n", error.what());
    return 1;
  }
}

}  // namespace fcsa::runner
