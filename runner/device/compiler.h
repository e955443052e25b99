// Source to binary. Runs in compile processes only (the parent never loads NVRTC).
#pragma once

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/family.h"
#include "tuner/trials/trial.h"

namespace fcsa::runner {

struct CompileResult {
  bool ok = false;
  std::string log;                   // the compiler's output, whole
  std::string message;               // first error line when not ok
  bool out_of_memory = false;        // when not ok: it says nothing about the source
  std::vector<std::string> symbols;  // lowered names, in the order of KernelSource::entries
  std::string binary;                // bytes of the cubin or of the shared object
  tuner::Resources resources;
  std::vector<std::string> warnings;  // ptxas findings that disqualify a candidate: C7508, C7512, C7517
};

class Compiler {
 public:
  virtual ~Compiler() = default;
  // "NVRTC 13.0", "g++ (Debian 12.2.0-14) 12.2.0": part of the cache key.
  virtual std::string version() const = 0;
  // Throws HostFailure that says what is missing when it can't compile anything.
  virtual void check(const kernels::Target& /*target*/) {}
  // Bad source is a result, not an exception. Throws HostFailure when something else than the source keeps it
  // from compiling.
  virtual CompileResult compile(const kernels::KernelSource& source, const kernels::Target& target) = 0;
};

// What the compiler for this kind of target is run with, without the file names: part of the cache key.
std::vector<std::string> compile_options(const kernels::Target& target);

// Of a compiler's output: the first line that reports an error, else the first that isn't empty, else empty.
std::string first_error_line(std::string_view log);

// How long a compiler may take to say its version, and to compile an empty function: 20 s, or the seconds of
// $FCSA_COMPILER_DEADLINE. Throws std::runtime_error when that isn't a number above 0.
std::chrono::milliseconds compiler_deadline();
// How long a kernel may take: six times as long.
std::chrono::milliseconds kernel_deadline();

inline constexpr const char* kHowToWaitLonger =
    "FCSA_COMPILER_DEADLINE=SECONDS gives a slow one more time (20 to say its version, six times as long for "
    "a kernel)";

// The compiler was asked for its version, or for a kernel, and has not answered in time: asking again would
// take as long.
class CompilerHangs : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throw std::runtime_error that says what is missing, where it was looked for and how to get it;
// CompilerHangs. With a deadline compile() throws CompilerHangs too; 0: it takes as long as it takes, in a
// process that somebody watches.
// runner/cuda/nvrtc_compiler.cpp; FCSA_NVRTC overrides the search. What hangs goes on in a thread of its own.
std::unique_ptr<Compiler> make_nvrtc_compiler(std::chrono::milliseconds deadline = {});
// runner/cpu/system_compiler.cpp; FCSA_CXX, CXX, c++, g++, clang++. What hangs is killed.
std::unique_ptr<Compiler> make_system_compiler(std::chrono::milliseconds deadline = {});

}  // namespace fcsa::runner
