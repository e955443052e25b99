// NVRTC, found and loaded at run time.
#pragma once

#include <nvrtc.h>

#include <string>
#include <vector>

#include "runner/process/dynamic_library.h"

namespace fcsa::runner::cuda {

struct NvrtcVersion {
  int major = 0;
  int minor = 0;
  std::string text() const;  // "NVRTC 13.0"
};

// Why this version can't be used with a driver that supports CUDA `driver_version` (12040 for 12.4; 0: no
// driver, any version will do); empty when it can. Binaries of the driver's major version load on it whatever
// the minor version.
std::string refusal(const NvrtcVersion& version, int driver_version);

struct NvrtcSearch {
  std::string override_path;         // FCSA_NVRTC, a file or a folder: if set, nothing else is tried
  std::vector<std::string> folders;  // searched in order; an empty name asks the loader's own search path
  int driver_version = 0;
};

// Beside the program, the loader's path, CUDA toolkits, pip's nvidia/* folders, and what the build
// downloaded.
NvrtcSearch default_nvrtc_search();

// The functions of NVRTC that are used, under the names they have there without the prefix.
class NvrtcLibrary {
 public:
  // One that is already in this process, else the first usable one of the search. Throws std::runtime_error
  // that lists what was found and why it was refused, where it was looked for, and how to get it.
  static NvrtcLibrary find(const NvrtcSearch& search);
  // Throws std::runtime_error when a function is missing.
  explicit NvrtcLibrary(DynamicLibrary library);

  const NvrtcVersion& version() const { return version_; }
  const std::string& path() const { return path_; }

  decltype(&::nvrtcCreateProgram) create_program = nullptr;
  decltype(&::nvrtcDestroyProgram) destroy_program = nullptr;
  decltype(&::nvrtcAddNameExpression) add_name_expression = nullptr;
  decltype(&::nvrtcCompileProgram) compile_program = nullptr;
  decltype(&::nvrtcGetProgramLogSize) get_program_log_size = nullptr;
  decltype(&::nvrtcGetProgramLog) get_program_log = nullptr;
  decltype(&::nvrtcGetLoweredName) get_lowered_name = nullptr;
  decltype(&::nvrtcGetCUBINSize) get_cubin_size = nullptr;
  decltype(&::nvrtcGetCUBIN) get_cubin = nullptr;
  decltype(&::nvrtcGetErrorString) get_error_string = nullptr;

 private:
  void load_builtins();

  DynamicLibrary library_;
  std::vector<DynamicLibrary> builtins_;
  NvrtcVersion version_;
  std::string path_;
};

}  // namespace fcsa::runner::cuda
