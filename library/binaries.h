// Kernels compiled in this process, or found in the cache on disk.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "library/notes.h"
#include "runner/compile/binary_cache.h"
#include "runner/process/temporary_directory.h"

namespace fcsa::library {

// Thread-safe. Looks for compilers and for the cache when something is to be compiled.
class Binaries {
 public:
  // `cache_directory` null: the default one. Where that can't be written to, kernels are kept until the
  // library is closed, which is noted.
  Binaries(const char* cache_directory, std::shared_ptr<Notes> notes);

  struct Compiled {
    runner::Binary binary;
    std::string compiler;  // "NVRTC 13.0"
  };
  // Throws Failure: there is no compiler, or it refuses the source.
  Compiled compile(const kernels::KernelSource& source, const kernels::Target& target);
  // Kernels that are built in run, for this reason; said once.
  void done_without(const std::string& why);

 private:
  runner::Compiler& compiler_for(kernels::DeviceKind kind);
  void refuse_if_it_hangs(kernels::DeviceKind kind) const;
  runner::CompileResult compiled(runner::Compiler& compiler, const kernels::KernelSource& source,
                                 const kernels::Target& target);
  const runner::BinaryCache& cache(kernels::DeviceKind kind);
  const runner::BinaryCache& temporary_cache(const std::string& why);
  runner::CachedBinary keep(const std::string& key, kernels::DeviceKind kind,
                            const runner::CompileResult& result);

  const std::optional<std::filesystem::path> directory_;
  const std::shared_ptr<Notes> notes_;
  std::mutex mutex_;  // of what follows
  std::unique_ptr<runner::Compiler> nvrtc_, system_;
  // What there is to say of a compiler that isn't asked again.
  std::map<kernels::DeviceKind, std::string> hangs_;
  std::unique_ptr<runner::TemporaryDirectory> temporary_;
  std::unique_ptr<const runner::BinaryCache> cache_, second_cache_;
  std::set<std::string> done_without_;
};

}  // namespace fcsa::library
