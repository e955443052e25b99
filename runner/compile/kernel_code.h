// Measurements whose kernels have other source now: which of them are valid still, because the machine code
// is what it was?
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "runner/compile/compile_all.h"
#include "tuner/trials/store.h"

namespace fcsa::runner {

// What a build makes of a kernel that trials were measured with.
struct KernelCode {
  // What these trials have in common.
  std::string problem_class;  // kernels::class_text
  std::string configuration;  // text form, as it was recorded
  std::string arch;           // "sm_90a"
  std::string measured_with;  // version of NVRTC
  std::string source_hash;
  // What the build has. Empty: it doesn't know the configuration.
  std::string build_hash;                       // the source hash that it would record, with measured_with
  std::string compiler;                         // version of the NVRTC that made the code
  std::string code;                             // machine_code_hash, empty where there is an error
  std::map<std::string, std::string> launches;  // of each problem (kernels::to_text): hash of its launch plan
  std::string error;

  bool measured() const { return source_hash == build_hash; }  // with this build's source
  auto identity() const { return std::tie(problem_class, configuration, arch, measured_with, source_hash); }
};

// Compiles the kernels of the successful trials on CUDA devices, each once, in the order of the trials.
// Throws NoCompiler.
std::vector<KernelCode> kernel_codes(std::span<const tuner::StoredTrial> trials,
                                     const CompileOnlyOptions& options);

// A JSON object in one line: "class", "configuration", "arch", "measured_with", "source_hash", "build_hash",
// "compiler", "code", "launches", "error"; those that are empty are left out.
std::string to_json(const KernelCode& code);
// Of such lines. Throws std::invalid_argument that says what can't be understood, and where.
std::vector<KernelCode> kernel_codes_from_json(std::string_view lines);

struct Restamping {
  std::vector<tuner::StoredTrial> trials;  // all of them, in order
  std::size_t valid = 0;                   // had this build's source hash already
  std::size_t restamped = 0;               // have it now
  struct Stale {
    std::string problem_class, configuration, reason;
    std::size_t trials = 0;
  };
  std::vector<Stale> stale;
};

// Gives this build's source hash to the trials that were measured with the source of the build that made
// `before`, where `now`, made by this build of the same trials, has the same code from the same version of
// NVRTC, launched in the same way. All others stay as they are.
Restamping restamp(std::vector<tuner::StoredTrial> trials, std::span<const KernelCode> before,
                   std::span<const KernelCode> now);

}  // namespace fcsa::runner
