#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <utility>

#include "runner/cuda/nvrtc_library.h"
#include "runner/cuda/ptxas_log.h"
#include "runner/device/compiler.h"
#include "runner/device/host_failure.h"
#include "runner/process/abandon.h"

namespace fcsa::runner {
namespace {

using cuda::NvrtcLibrary;

// An NVRTC program, destroyed at the end of its scope.
class Program {
 public:
  Program(const NvrtcLibrary& nvrtc, const std::string& text) : nvrtc_(nvrtc) {
    const nvrtcResult result =
        nvrtc_.create_program(&program_, text.c_str(), "kernel.cu", 0, nullptr, nullptr);
    check(result, "nvrtcCreateProgram");
  }
  ~Program() { nvrtc_.destroy_program(&program_); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  nvrtcProgram get() const { return program_; }

  void check(nvrtcResult result, const char* call) const {
    if (result == NVRTC_SUCCESS) return;
    throw std::runtime_error(fmt::format("{}: {}", call, nvrtc_.get_error_string(result)));
  }

  std::string log() const {
    std::size_t bytes = 0;
    check(nvrtc_.get_program_log_size(program_, &bytes), "nvrtcGetProgramLogSize");
    std::string log(bytes, '\0');
    check(nvrtc_.get_program_log(program_, log.data()), "nvrtcGetProgramLog");
    while (!log.empty() && log.back() == '\0') log.pop_back();
    return log;
  }

  std::string cubin() const {
    std::size_t bytes = 0;
    check(nvrtc_.get_cubin_size(program_, &bytes), "nvrtcGetCUBINSize");
    std::string cubin(bytes, '\0');
    check(nvrtc_.get_cubin(program_, cubin.data()), "nvrtcGetCUBIN");
    return cubin;
  }

  std::string lowered_name(const std::string& expression) const {
    const char* name = nullptr;
    check(nvrtc_.get_lowered_name(program_, expression.c_str(), &name), "nvrtcGetLoweredName");
    return name;
  }

 private:
  const NvrtcLibrary& nvrtc_;
  nvrtcProgram program_ = nullptr;
};

bool says_no_memory(const std::string& log) {
  return log.find("Memory allocation failure") != std::string::npos ||
         log.find("out of memory") != std::string::npos;
}

bool says_no_file(const std::string& log) {
  return log.find("No space left on device") != std::string::npos ||
         log.find("failed to open libnvrtc-builtins") != std::string::npos;
}

class NvrtcCompiler final : public Compiler {
 public:
  NvrtcCompiler(NvrtcLibrary nvrtc, std::chrono::milliseconds deadline)
      : nvrtc_(std::make_shared<const NvrtcLibrary>(std::move(nvrtc))), deadline_(deadline) {}

  std::string version() const override { return nvrtc_->version().text(); }

  // NVRTC can't be told to stop.
  CompileResult compile(const kernels::KernelSource& source, const kernels::Target& target) override {
    if (deadline_.count() == 0) return compile_by(*nvrtc_, source, target);
    const auto result = std::make_shared<CompileResult>();
    const auto work = [result, nvrtc = nvrtc_, source, target] {
      *result = compile_by(*nvrtc, source, target);
    };
    if (ends_within(deadline_, work)) return std::move(*result);
    constexpr const char* kHangs =
        "{} ({}) has not compiled a kernel in {:g} s: it hangs, or the machine is overloaded; it isn't asked "
        "again in this process; set FCSA_NVRTC to another libnvrtc.so; {}";
    throw CompilerHangs(fmt::format(kHangs, version(), nvrtc_->path(),
                                    static_cast<double>(deadline_.count()) / 1000, kHowToWaitLonger));
  }

 private:
  static CompileResult compile_by(const NvrtcLibrary& nvrtc, const kernels::KernelSource& source,
                                  const kernels::Target& target) {
    const Program program(nvrtc, source.text);
    for (const auto& entry : source.entries) {
      program.check(nvrtc.add_name_expression(program.get(), entry.c_str()), "nvrtcAddNameExpression");
    }
    const std::vector<std::string> texts = compile_options(target);
    std::vector<const char*> pointers;
    pointers.reserve(texts.size());
    for (const auto& text : texts) pointers.push_back(text.c_str());
    const nvrtcResult status =
        nvrtc.compile_program(program.get(), static_cast<int>(pointers.size()), pointers.data());
    CompileResult result;
    result.log = program.log();
    auto findings = cuda::parse_ptxas_log(result.log);
    result.resources = findings.resources;
    result.warnings = std::move(findings.warnings);
    if (status != NVRTC_SUCCESS) {
      result.message = failure_message(nvrtc, status, result.log, target);
      result.out_of_memory = status == NVRTC_ERROR_OUT_OF_MEMORY || says_no_memory(result.log);
      // A library of NVRTC's own is missing, or its temporary files can't be written.
      if (!result.out_of_memory &&
          (status == NVRTC_ERROR_BUILTIN_OPERATION_FAILURE || says_no_file(result.log)))
        throw HostFailure(
            fmt::format("{} can't do its work here: {}; install all of it (pip install "
                        "nvidia-cuda-nvrtc), free space, or set TMPDIR to a folder with room",
                        nvrtc.version().text(), result.message));
      return result;
    }
    for (const auto& entry : source.entries) result.symbols.push_back(program.lowered_name(entry));
    result.binary = program.cubin();
    result.ok = true;
    return result;
  }

  static std::string failure_message(const NvrtcLibrary& nvrtc, nvrtcResult status, const std::string& log,
                                     const kernels::Target& target) {
    const std::string line = first_error_line(log);
    if (status == NVRTC_ERROR_INVALID_OPTION) {
      return fmt::format("{} can't compile for {} ({})", nvrtc.version().text(), target.arch,
                         line.empty() ? nvrtc.get_error_string(status) : line);
    }
    return line.empty() ? nvrtc.get_error_string(status) : line;
  }

  std::shared_ptr<const NvrtcLibrary> nvrtc_;
  std::chrono::milliseconds deadline_;
};

}  // namespace

std::unique_ptr<Compiler> make_nvrtc_compiler(std::chrono::milliseconds deadline) {
  return std::make_unique<NvrtcCompiler>(NvrtcLibrary::find(cuda::default_nvrtc_search()), deadline);
}

}  // namespace fcsa::runner
